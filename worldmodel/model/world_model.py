"""The world model: encoder, RSSM, decoder, and the heads of reward and continuation (DreamerV3, arXiv 2301.04104)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.envs.spaces.spaces import ObservationSpec
from worldmodel.model.batch import AnyState, Windows
from worldmodel.model.categorical import kl
from worldmodel.model.config import LossConfig
from worldmodel.model.decoder import Decoder
from worldmodel.model.encoder import Encoder
from worldmodel.model.factory import DEFAULT, Factory
from worldmodel.model.rssm import RSSM
from worldmodel.model.size import ModelSize
from worldmodel.model.twohot import TwoHot


class WorldModel(nn.Module):
    """What is learned of the environment. Shapes: T steps, B windows, F feature width."""

    def __init__(
        self,
        observations: Mapping[str, ObservationSpec],
        action: int,
        size: ModelSize,
        loss: LossConfig,
        discount: float,
        parts: Factory = DEFAULT,
    ) -> None:
        super().__init__()
        self.loss, self.discount = loss, discount
        self.vectors = frozenset(key for key, spec in observations.items() if spec.kind == "vector")
        self.twohot = TwoHot()
        self.encoder = Encoder(observations, size)
        self.rssm = RSSM(size, self.encoder.width, action, parts)
        self.decoder = Decoder(observations, size)
        self.memory = parts.memory(size.feature, self.encoder.width)
        feature = size.feature + self.memory.width
        self.reward = parts.head("reward", feature, size.units, 1, len(self.twohot.bins), scale=0.0)
        self.continuation = parts.head("continuation", feature, size.units, 1, 1)

    def losses(self, windows: Windows, noise: Tensor) -> tuple[Tensor, AnyState, dict[str, Tensor]]:
        """The loss [T, B], posterior states [T, B], metrics. noise [T, B, 1, S], uniform."""
        scale = self.loss
        embed = self.encoder(windows.observation)
        previous = torch.cat([windows.before.action.unsqueeze(0), windows.action[:-1]])
        state, post = self.rssm.observe(embed, previous, windows.is_first, windows.before.state, noise)
        prior = self.rssm.prior(state.deter)
        reconstruction = self.decoder.losses(self.decoder(state), windows.observation)
        recalled: AnyState = self.memory.replayed(state, embed, windows)
        feature = recalled.feature
        weighted = [scale.vectors * loss if key in self.vectors else loss for key, loss in reconstruction.items()]
        alive = (~windows.terminated).float() * self.discount
        losses = {
            "reward": self.twohot.loss(self.reward(feature), (windows.reward, 1.0)),
            "continue": F.binary_cross_entropy_with_logits(
                self.continuation(feature).float().squeeze(-1), alive, reduction="none"
            ),
            "dynamics": kl(post.detach(), prior),
            "representation": kl(post, prior.detach()),
        }
        total = (
            scale.reconstruction * torch.stack(weighted).sum(0)
            + scale.reward * losses["reward"]
            + scale.continuation * losses["continue"]
            + scale.dynamics * losses["dynamics"].clamp(min=scale.free_nats)
            + scale.representation * losses["representation"].clamp(min=scale.free_nats)
        )
        metrics = {f"loss/{key}": value.mean() for key, value in losses.items() if key != "representation"}
        metrics |= {f"loss/reconstruction/{key}": value.mean() for key, value in reconstruction.items()}
        metrics["loss/posterior_entropy"] = -(post * post.log()).sum((-2, -1)).mean()
        metrics |= {f"model/{key}": value for key, value in self.memory.metrics(recalled).items()}
        return total, recalled, metrics
