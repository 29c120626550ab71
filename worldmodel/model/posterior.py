"""The posterior of the RSSM: the latents given the deterministic state and the embedded observation."""

from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.model.categorical import unimix
from worldmodel.model.layers import Linear, NormAct


class Posterior(nn.Module):
    """Shapes: N rows, D deter, E embedding, H hidden, S latents of K classes, Z = K S."""

    def __init__(self, deter: int, embed: int, hidden: int, classes: int, latents: int) -> None:
        super().__init__()
        self.shape = (classes, latents)
        self.deter = Linear(deter, hidden, fan_in=deter + embed)
        self.embed = Linear(embed, hidden, fan_in=deter + embed, bias=False)
        self.norm, self.out = NormAct(hidden), Linear(hidden, classes * latents)

    def seen(self, embed: Tensor) -> Tensor:
        """What embeddings [..., E] add to the hidden layer [..., H]: it does not depend on the recurrent state."""
        y: Tensor = self.embed(embed) + self.deter.bias
        return y

    def forward(self, deter: Tensor, seen: Tensor) -> Tensor:
        """Probabilities [N, K, S]. deter [N, D], seen [N, H]."""
        hidden = self.norm(seen + F.linear(deter, self.deter.weight))
        return unimix(self.out(hidden).unflatten(-1, self.shape), -2)

    def weights(self) -> dict[str, Tensor]:
        """Matrices [inputs, outputs], biases and the norm's scale."""
        return {
            "post_deter": self.deter.weight.t(),
            "post_scale": self.norm.weight,
            "post_out": self.out.weight.t(),
            "post_bias": self.out.bias,
        }
