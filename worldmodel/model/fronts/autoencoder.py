"""The code of an autoencoder of replayed features, which is trained beside the model."""

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from worldmodel.model.config import FrontOptions
from worldmodel.model.fronts.front import Front
from worldmodel.model.layers import MLP, Linear


class Autoencoder(Front):
    """An encoder and a decoder of one hidden layer each, trained by the squared error alone. Twin: `pca`.

    The task's gradient passes through the encoder to the feature, and does not change the encoder.
    """

    observes = True

    def __init__(self, inputs: int, outputs: int, options: FrontOptions) -> None:
        super().__init__()
        self.weight = options.weight
        self.encoder = nn.Sequential(MLP(inputs, options.units, 1), Linear(options.units, outputs))
        self.decoder = nn.Sequential(MLP(outputs, options.units, 1), Linear(options.units, inputs))

    def forward(self, x: Tensor) -> Tensor:
        held = {name: weight.detach() for name, weight in self.encoder.named_parameters()}
        y: Tensor = functional_call(self.encoder, held, (x,))
        return y

    def freeze(self) -> None:
        """Change nothing: the task trains nothing of it."""

    def auxiliary(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        x = x.detach()
        error = F.mse_loss(self.decoder(self.encoder(x)).float(), x)
        return {"autoencoder": self.weight * error}, {"reconstruction": error}
