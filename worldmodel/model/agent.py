"""The agent: world model, actor and critic, and their one joint update (DreamerV3, arXiv 2301.04104)."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.envs.spaces.spaces import ActionSpec, ObservationSpec
from worldmodel.model.actor import Actor
from worldmodel.model.decoder import Decoder
from worldmodel.model.encoder import Encoder, flat_inputs
from worldmodel.model.layers import REGISTER, WIDEST, Head, fits_kernels
from worldmodel.model.returns import BehaviorConfig, Imagined, ReturnScale, Scale, lambda_return
from worldmodel.model.rssm import RSSM, ModelSize, State, kl
from worldmodel.model.twohot import TwoHot

if TYPE_CHECKING:
    from worldmodel.kernels.act import Acting


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class LossConfig:
    """Weights of the world model's losses."""

    reconstruction: Scale
    vectors: Scale
    reward: Scale
    continuation: Scale
    dynamics: Scale
    representation: Scale
    free_nats: Scale


class Memory(NamedTuple):
    """What the agent remembers between two steps of a stream: its model state and its last action [N, A]."""

    state: State
    action: Tensor


class Windows(NamedTuple):
    """A batch of replayed windows, time first.

    observation: keys [T, B, ...]; action [T, B, A], taken after each observation; reward [T, B], got on arrival;
    is_first, terminated, truncated bool [T, B]; before: the stored state and action of the step before the
    window [B]; weight [B], of each window in the loss.
    """

    observation: dict[str, Tensor]
    action: Tensor
    reward: Tensor
    is_first: Tensor
    terminated: Tensor
    truncated: Tensor
    before: Memory
    weight: Tensor


class Losses(NamedTuple):
    """total []: to minimise; item [B]: the model loss of each window; state [T, B]: posteriors; metrics: means []."""

    total: Tensor
    item: Tensor
    state: State
    metrics: dict[str, Tensor]


class Agent(nn.Module):
    """A DreamerV3-class agent. It knows nothing of environments, replay or optimisers.

    Shapes: T steps, B windows, N = T B imagined rollouts of H steps, A action width, F feature width.
    """

    entropy: Tensor  # its weight in the actor's loss; a tensor, so that a captured graph sees it change

    def __init__(
        self,
        observations: Mapping[str, ObservationSpec],
        action: ActionSpec,
        size: ModelSize,
        loss: LossConfig,
        behavior: BehaviorConfig,
    ) -> None:
        super().__init__()
        self.observations, self.action = dict(observations), action
        self.loss, self.behavior = loss, behavior
        self.twohot = TwoHot()
        bins = len(self.twohot.bins)
        self.encoder = Encoder(observations, size)
        self.rssm = RSSM(size, self.encoder.width, action.width)
        self.decoder = Decoder(observations, size)
        self.reward = Head(size.feature, size.units, 1, bins, scale=0.0)
        self.continuation = Head(size.feature, size.units, 1, 1)
        self.actor = Actor(size.feature, size.units, action)
        self.critic = Head(size.feature, size.units, 3, bins, scale=0.0)
        self.slow_critic = Head(size.feature, size.units, 3, bins, scale=0.0).requires_grad_(False)
        self.slow_critic.load_state_dict(self.critic.state_dict())
        self.return_scale = ReturnScale(behavior.return_rate)
        self.register_buffer("entropy", torch.tensor(behavior.entropy), persistent=False)

    @property
    def small(self) -> bool:
        """Whether compiled kernels do most of its work on the CPU."""
        return self.rssm.size.deter <= WIDEST and all(spec.kind != "image" for spec in self.observations.values())

    @torch.no_grad()
    def schedule(self, progress: float) -> None:
        """Set what changes linearly over a run, `progress` of which is done: the weight of the policy's entropy."""
        self.entropy.fill_(self.behavior.entropy + progress * (self.behavior.final_entropy - self.behavior.entropy))

    def initial(self, rows: int) -> Memory:
        """Memory at the start of an episode."""
        state = self.rssm.initial(rows)
        return Memory(state, state.deter.new_zeros(rows, self.action.width))

    @torch.no_grad()
    def act(
        self,
        observation: Mapping[str, Tensor],
        is_first: Tensor,
        memory: Memory,
        generator: torch.Generator | None = None,
        greedy: bool = False,
    ) -> Memory:
        """See one observation of each of N streams [N, ...] and choose an action: the new memory's `action` [N, A]."""
        noise = self.noise((1, len(is_first)), generator)
        if self.small and fits_kernels(memory.state.deter):
            keep, inputs = (~is_first).unsqueeze(-1).float(), flat_inputs(observation, self.encoder.flat)
            state, raw = self._acting(inputs, keep, memory.action, memory.state, noise.flatten(0, 2))
            policy = self.actor.policy(raw)
        else:
            embed = self.encoder({key: value.unsqueeze(0) for key, value in observation.items()})
            states, _ = self.rssm.observe(embed, memory.action.unsqueeze(0), is_first.unsqueeze(0), memory.state, noise)
            state = State(states.deter[0], states.stoch[0])
            policy = self.actor(state.feature)
        return Memory(state, policy.mode() if greedy else policy.sample(self.actor.noise(is_first.shape, generator)))

    @cached_property
    def _acting(self) -> "Acting":
        from worldmodel.kernels.act import Acting  # with a compiler, which takes its time to start

        return Acting(self.encoder.mlp, self.rssm, self.actor)

    def losses(self, windows: Windows, generator: torch.Generator | None = None) -> Losses:
        """All losses on one batch; a single backward pass through `total` trains every part."""
        weight = windows.weight
        model_losses, state, model_metrics = self._model_losses(windows, generator)
        actor_loss, critic_loss, returns, metrics = self._imagined_losses(state, generator)
        replay_loss = self._replay_value_loss(windows, state.feature, returns)
        behavior_loss = actor_loss + critic_loss + self.behavior.replay_value * replay_loss  # [T, B]
        total = ((model_losses + behavior_loss) * weight).mean()
        metrics |= model_metrics | {
            "loss/actor": actor_loss.mean(),
            "loss/critic": critic_loss.mean(),
            "loss/replay_value": replay_loss.mean(),
            "loss/model": model_losses.mean(),
        }
        detached = State(state.deter.detach(), state.stoch.detach())
        return Losses(total, model_losses.detach().mean(0), detached, {k: v.detach() for k, v in metrics.items()})

    def model_loss(self, windows: Windows, generator: torch.Generator | None = None) -> Tensor:
        """The world model's loss of each window [B]."""
        return self._model_losses(windows, generator)[0].mean(0)

    @torch.no_grad()
    def update_slow_critic(self) -> None:
        """Move the slow critic towards the critic, once per update."""
        slow, fast = tuple(self.slow_critic.parameters()), tuple(self.critic.parameters())
        torch._foreach_lerp_(slow, fast, self.behavior.slow_rate)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        """What the latents of states [...] are drawn with: uniform [..., 1, S]."""
        noise = torch.empty(*shape, 1, self.rssm.size.stoch, device=self.twohot.bins.device)
        return noise.uniform_(generator=generator)

    def _model_losses(
        self, windows: Windows, generator: torch.Generator | None
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """World-model loss [T, B], posterior states [T, B], metrics."""
        scale = self.loss
        embed = self.encoder(windows.observation)
        previous = torch.cat([windows.before.action.unsqueeze(0), windows.action[:-1]])
        noise = self.noise(windows.reward.shape, generator)
        state, post = self.rssm.observe(embed, previous, windows.is_first, windows.before.state, noise)
        prior = self.rssm.prior(state.deter)
        feature = state.feature
        reconstruction = self.decoder.losses(self.decoder(state), windows.observation)
        weighted = [
            scale.vectors * loss if self.observations[key].kind == "vector" else loss
            for key, loss in reconstruction.items()
        ]
        alive = (~windows.terminated).float() * self.behavior.discount
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
        return total, state, metrics

    def _imagined_losses(
        self, start: State, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Actor and critic loss [T, B] of rollouts from every state, their first returns [T, B], metrics."""
        config, steps = self.behavior, start.deter.shape[:2]
        _, action, reward, live, slow, logits, raw = self._imagine(start, generator)
        policy = self.actor.policy(raw)
        with torch.no_grad():
            value = self.twohot.mean(logits)
            returns = lambda_return(reward, value, live, config.return_lambda)  # [H, N]
            reach = live[:-1].cumprod(0)  # the discounted chance that a state is reached; 0 from a terminal start
            scale = self.return_scale(returns)
            advantage = (returns - value[:-1]) / scale
            if config.center_advantages:
                advantage -= (reach * advantage).sum() / reach.sum().clamp(min=1e-8)
        entropy = policy.entropy()
        actor_loss = -reach * (policy.log_prob(action) * advantage + self.entropy * entropy)
        critic_loss = reach * self.twohot.loss(logits[:-1], (returns, 1.0), (slow, config.slow_regularizer))
        metrics = {
            "behavior/return": returns.mean(),
            "behavior/return_scale": scale,
            "behavior/value": value.mean(),
            "behavior/reward": reward.mean(),
            "behavior/continue": live.mean(),
            "behavior/entropy": entropy.mean(),
            "behavior/advantage": advantage.abs().mean(),
        }
        return actor_loss.mean(0).view(steps), critic_loss.mean(0).view(steps), returns[0].view(steps), metrics

    def _imagine(self, start: State, generator: torch.Generator | None) -> Imagined:
        """Roll the prior out under the actor, from every state [T, B]; N = T B rows."""
        horizon, rows = self.behavior.horizon, start.deter.shape[:2].numel()
        noise, chance = self.noise((horizon, rows), generator), self.actor.noise((horizon, rows), generator)
        start = State(start.deter.detach().flatten(0, 1), start.stoch.detach().flatten(0, 1))
        if fits_kernels(start.deter) and self.rssm.size.units >= REGISTER:
            from worldmodel.kernels import imagine as rollout  # with a compiler, which takes its time to start

            heads = (self.reward, self.continuation, self.slow_critic)
            return rollout.imagine(self.rssm, self.actor, self.critic, heads, self.twohot, start, noise, chance)
        feature = start.deter.new_empty(horizon + 1, rows, self.rssm.size.feature)
        with torch.no_grad():
            torch.cat([start.deter, start.stoch.flatten(1)], -1, out=feature[0])
            states, actions = [self.rssm.split(state) for state in feature], []
            for t in range(horizon):
                actions.append(self.actor(feature[t]).sample(chance[t]))
                self.rssm.step(states[t], actions[t], noise[t], out=states[t + 1])
            reward, slow = self.twohot.mean(self.reward(feature)), self.twohot.mean(self.slow_critic(feature[:-1]))
            live = self.continuation(feature).float().squeeze(-1).sigmoid()
        raw = self.actor.net(feature[:-1])
        return Imagined(feature, torch.stack(actions), reward, live, slow, self.critic(feature), raw)

    def _replay_value_loss(self, windows: Windows, feature: Tensor, returns: Tensor) -> Tensor:
        """Critic loss on replayed states [T, B], bootstrapped from imagined returns; none on a window's last step.

        Its mean over T is the mean over the T - 1 steps that have one, as in the reference.

        A terminated step ends the return; a truncated one cuts the trace and bootstraps. Nothing is learned on
        the step after which the episode ended, since what follows it in the window is another episode.
        """
        config = self.behavior
        last = windows.terminated | windows.truncated
        logits = self.critic(feature)
        with torch.no_grad():
            slow = self.twohot.mean(self.slow_critic(feature))
            live = (~windows.terminated).float() * config.discount
            mix = (~last).float() * config.return_lambda
            target = lambda_return(windows.reward, returns, live, mix)  # [T - 1, B]
        loss = self.twohot.loss(logits[:-1], (target, 1.0), (slow[:-1], config.slow_regularizer))
        counted = (~last[:-1]).float() * (len(last) / (len(last) - 1))
        return F.pad(loss * counted, (0, 0, 0, 1))
