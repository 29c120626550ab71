"""The agent for control: model, critics and policy, and their one joint update (MR.Q, arXiv 2501.16142)."""

from collections.abc import Mapping
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.envs.spaces.spaces import ActionSpec, ObservationSpec
from worldmodel.model.batch import Carry, Losses, State, Windows
from worldmodel.model.config import LossConfig
from worldmodel.model.control.config import ControlConfig
from worldmodel.model.control.critics import Critics
from worldmodel.model.control.latent_model import LatentModel
from worldmodel.model.control.normalizer import RunningNorm
from worldmodel.model.control.policies import Ascent, Choice
from worldmodel.model.diagnostics import CERTAIN, effective_rank
from worldmodel.model.encoder import flat_inputs
from worldmodel.model.size import ModelSize
from worldmodel.model.twohot import TwoHot

Module = TypeVar("Module", bound=nn.Module)


class ControlAgent(nn.Module):
    """Learns values of replayed actions, and a policy that ascends them, on latents of a model without a decoder.

    The model predicts next latents, rewards and ends over the whole window. Critics and actor see the latents of a copy
    that is renewed every `period` updates, so that they do not move under them. The critics' targets see those of the
    copy before, which their slow copies were trained on.

    Shapes: T steps, B windows, H = T - 1 transitions, D latent, A action width, E critics.
    """

    compiled = False  # worldmodel.kernels has nothing for it
    scale: Tensor
    scale_target: Tensor
    reward_square: Tensor
    updates: Tensor

    def __init__(
        self,
        observations: Mapping[str, ObservationSpec],
        action: ActionSpec,
        size: ModelSize,
        loss: LossConfig,
        control: ControlConfig,
        discount: float,
    ) -> None:
        super().__init__()
        self.observations, self.action, self.size = dict(observations), action, size
        self.loss, self.config, self.discount = loss, control, discount
        self.twohot = TwoHot()
        inputs = sum(sum(spec.classes) or spec.shape[0] for spec in observations.values())
        self.norm = RunningNorm(inputs)
        self.world_model = LatentModel(inputs, action.width, size, len(self.twohot.bins))
        kind: type[Ascent | Choice] = Ascent if action.kind == "continuous" else Choice
        self.policy = kind(size, action, control)
        self.critics = Critics(control.critics, size.deter, size.deter)
        self.seen, self.seen_before = _frozen(self.world_model), _frozen(self.world_model)
        self.slow_policy, self.slow_critics = _frozen(self.policy), _frozen(self.critics)
        for name, value in (("scale", 1.0), ("scale_target", 0.0), ("reward_square", 0.0), ("updates", 0.0)):
            self.register_buffer(name, torch.tensor(value))

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Those that have a choice: none."""
        return {}

    @property
    def acts_by_circuits(self) -> bool:
        """Whether a part that acts has a circuit."""
        return False

    def initial(self, rows: int) -> Carry:
        """What is carried at the start of an episode."""
        like = self.scale
        state = State(like.new_zeros(rows, self.size.deter), like.new_zeros(rows, self.size.classes, self.size.stoch))
        return Carry(state, like.new_zeros(rows, self.action.width))

    @torch.no_grad()
    def act(
        self,
        observation: Mapping[str, Tensor],
        is_first: Tensor,
        carry: Carry,
        generator: torch.Generator | None = None,
        greedy: bool = False,
    ) -> Carry:
        """See one observation of each of N streams [N, ...] and choose an action: the new carry's `action` [N, A]."""
        latent = self.seen.encode(self._inputs(observation))
        if not greedy and self.updates == 0:
            chance = latent.new_empty(len(is_first)).uniform_(generator=generator)
            held = ~is_first & (chance > 1 / self.config.hold)
            action = torch.where(held[:, None], carry.action, self.policy.random(len(is_first), generator))
        else:
            action = self.policy.best(latent, self.seen, self.critics)
            action = action if greedy else self.policy.explore(action, generator)
        return Carry(State(latent, carry.state.stoch), action)

    def _inputs(self, observation: Mapping[str, Tensor], learn: bool = False) -> Tensor:
        """Vectors and one-hots side by side, normalised: [..., O]. learn: take them in first."""
        inputs = flat_inputs(observation, self.observations, lambda vector: vector)
        if learn:
            self.norm.update(inputs)
        normed: Tensor = self.norm(inputs)
        return normed

    @torch.no_grad()
    def value(self, carry: Carry) -> Tensor:
        """The value [N] of the state that is carried, under the best action: the critics' mean."""
        latent = carry.state.deter
        action = self.policy.best(latent, self.seen, self.critics)
        value: Tensor = self.critics(self.seen.feature(latent, action)).mean(0) * self.scale
        return value

    @torch.no_grad()
    def diagnostics(self, state: State) -> dict[str, Tensor]:
        """What tells why nothing is learned, of latents [T, B], as metrics []. It moves no random state."""
        latents = state.deter.flatten(0, 1)
        action = self.policy.best(latents, self.seen, self.critics)
        spread = action.var(0, unbiased=False).mean().sqrt()
        decided = (action.abs() > CERTAIN).float().mean() if self.action.kind == "continuous" else torch.ones(())
        metrics = {"behavior/action_spread": spread, "behavior/decided": decided}
        return {"model/latent_rank": effective_rank(latents), **metrics}

    def losses(self, windows: Windows, generator: torch.Generator | None = None) -> Losses:
        """All losses on one batch; a single backward pass through `total` trains every part."""
        inputs = self._inputs(windows.observation, learn=True)  # [T, B, O]
        live = (~windows.is_first[1:]).float().cumprod(0)  # [H, B]: whether a transition is of the first episode
        ended = windows.terminated[1:].float()
        with torch.no_grad():
            latents = self.seen.encode(inputs)  # [T, B, D]
            self.reward_square.lerp_(windows.reward.square().mean(), 1 / (self.updates + 1).clamp(max=1000))
        model_loss, metrics = self._model_loss(windows, inputs[0], latents, live, ended)
        feature = self.seen.feature(latents[0], windows.action[0])  # [B, D]
        target = self._target(windows, inputs, live, ended, generator)
        value = self.critics(feature)  # [E, B]
        critic_loss = F.smooth_l1_loss(value, target.expand_as(value), reduction="none").sum(0) * live[0]
        actor_loss, actor_metrics = self.policy.loss(latents[0], self.seen, self.critics)
        total = ((model_loss + critic_loss + actor_loss) * windows.weight).mean()
        metrics |= {
            "loss/model": model_loss.mean(),
            "loss/critic": critic_loss.mean(),
            "behavior/value": (value.mean() * self.scale),
            "behavior/reward_scale": self.scale,
        } | actor_metrics
        state = State(latents, windows.before.state.stoch.expand(len(latents), *windows.before.state.stoch.shape))
        return Losses(total, model_loss.detach(), state, {key: value.detach() for key, value in metrics.items()})

    def model_loss(self, windows: Windows, generator: torch.Generator | None = None) -> Tensor:
        """The model's loss of each window [B]."""
        inputs = self._inputs(windows.observation)
        live, ended = (~windows.is_first[1:]).float().cumprod(0), windows.terminated[1:].float()
        return self._model_loss(windows, inputs[0], self.seen.encode(inputs), live, ended)[0]

    def _model_loss(
        self, windows: Windows, first: Tensor, latents: Tensor, live: Tensor, ended: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss [B] of predictions from the first observation [B, O] alone, by the actions taken."""
        ahead, reward, end = self.world_model.rollout(self.world_model.encode(first), windows.action[:-1])
        losses = (
            (ahead - latents[1:]).square().mean(-1),
            self.twohot.loss(reward, (windows.reward[1:], 1.0)),
            (end.sigmoid() - ended).square(),
        )
        dynamics, reward, end = ((loss * live).sum(0) for loss in losses)  # [B] each
        scale = self.loss
        total = scale.dynamics * dynamics + scale.reward * reward + scale.continuation * end
        return total, {"loss/dynamics": dynamics.mean(), "loss/reward": reward.mean(), "loss/continue": end.mean()}

    @torch.no_grad()
    def _target(
        self, windows: Windows, inputs: Tensor, live: Tensor, ended: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """The critics' targets [B], in units of the reward scale: some replayed rewards, then the least slow value."""
        steps = min(self.config.returns, len(live))
        returns, discount = torch.zeros_like(live[0]), torch.ones_like(live[0])
        for t in range(steps):
            returns += discount * live[t] * windows.reward[t + 1]
            discount = torch.where(live[t] > 0, self.discount * discount * (1 - ended[t]), discount)
        last = live[:steps].sum(0).long().clamp(min=1)  # the step that is bootstrapped from
        latent = self.seen_before.encode(inputs[last, torch.arange(inputs.shape[1], device=inputs.device)])
        action = self.slow_policy.target(latent, self.seen_before, self.slow_critics, generator)
        value = self.slow_critics(self.seen_before.feature(latent, action)).min(0).values
        target: Tensor = (returns + discount * value * self.scale_target) / self.scale
        return target

    def schedule(self, progress: float) -> None:
        """Nothing changes over a run."""

    @torch.no_grad()
    def updated(self, state: State) -> None:
        """Renew the slow copies where it is time to."""
        if self.updates % self.config.period == 0:
            pairs = ((self.seen, self.seen_before), (self.world_model, self.seen))
            for fast, slow in (*pairs, (self.policy, self.slow_policy), (self.critics, self.slow_critics)):
                slow.load_state_dict(fast.state_dict())
            self.scale_target.copy_(self.scale * (self.updates > 0))  # at first slow values count nothing
            self.scale.copy_(torch.where(self.reward_square > 0, self.reward_square.sqrt(), 1.0))
        self.updates += 1


def _frozen(part: Module) -> Module:
    """Return a copy that no gradient trains."""
    return deepcopy(part).requires_grad_(False)
