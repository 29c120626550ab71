"""The agent: world model, actor and critic, and their one joint update (DreamerV3, arXiv 2301.04104)."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from worldmodel.envs.spaces.spaces import ActionSpec, ObservationSpec
from worldmodel.model.actor_critic import ActorCritic
from worldmodel.model.batch import AnyState, Carry, Imagined, Losses, State, Windows
from worldmodel.model.config import BehaviorConfig, LossConfig
from worldmodel.model.diagnostics import effective_rank, spread
from worldmodel.model.factory import DEFAULT, Factory
from worldmodel.model.observer import Observer
from worldmodel.model.size import ModelSize
from worldmodel.model.world_model import WorldModel


class Kernels(Protocol):
    """What an agent may have compiled, see `worldmodel.kernels.for_agent`: each None where operators do it."""

    def act(
        self, observation: Mapping[str, Tensor], is_first: Tensor, carry: Carry, noise: Tensor
    ) -> tuple[AnyState, Tensor] | None:
        """The state after an observation [N], and what the actor's network gives for it. noise [N, S], uniform."""

    def imagine(self, start: AnyState, noise: Tensor, chance: Tensor) -> Imagined | None:
        """Rollouts from start [N]. noise [H, N, 1, S], uniform; chance [H, N, ...], as `Actor.noise` gives it."""


class Agent(nn.Module):
    """A DreamerV3-class agent. It knows nothing of environments, replay or optimisers.

    Shapes: T steps, B windows, N = T B imagined rollouts of H steps, A action width, F feature width.
    """

    compiled = True  # whether worldmodel.kernels may have its arithmetic
    kernels: Kernels | None = None

    def __init__(
        self,
        observations: Mapping[str, ObservationSpec],
        action: ActionSpec,
        size: ModelSize,
        loss: LossConfig,
        behavior: BehaviorConfig,
        parts: Factory = DEFAULT,
    ) -> None:
        super().__init__()
        self.observations, self.action = dict(observations), action
        self.world_model = WorldModel(observations, action.width, size, loss, behavior.discount, parts)
        self.actor_critic = ActorCritic(action, size, behavior, self.world_model.twohot, parts)
        self._drawing: list[Any] = [module for module in self.modules() if hasattr(module, "generator")]

    @property
    def parts(self) -> dict[str, Any]:
        """The parts that have a choice, by their places in the section `model`."""
        model, behavior = self.world_model, self.actor_critic
        heads = {"actor": behavior.actor.net, "critic": behavior.critic, "reward": model.reward}
        heads |= {"continuation": model.continuation, "prior": model.rssm.prior_net}
        return {
            "cell": model.rssm.cell,
            "memory": model.memory,
            **{f"heads.{name}": head for name, head in heads.items()},
        }

    @property
    def acts_by_circuits(self) -> bool:
        """Whether a part that acts has a circuit."""
        acting = (self.world_model.rssm.cell, self.actor_critic.actor)
        return any(module in self._drawing for part in acting for module in part.modules())

    def initial(self, rows: int) -> Carry:
        """What is carried at the start of an episode."""
        state: AnyState = self.world_model.memory.initial(self.world_model.rssm.initial(rows))
        return Carry(state, state.deter.new_zeros(rows, self.action.width))

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
        model, actor = self.world_model, self.actor_critic.actor
        self._draw_with(generator)
        noise = self.noise((1, len(is_first)), generator)
        done = self.kernels and self.kernels.act(observation, is_first, carry, noise.flatten(0, 2))
        if done:
            state, raw = done
            policy = actor.policy(raw)
        else:
            embed = model.encoder({key: value.unsqueeze(0) for key, value in observation.items()})
            before = (carry.action.unsqueeze(0), is_first.unsqueeze(0), carry.state)
            states, _ = model.rssm.observe(embed, *before, noise)
            first = State(states.deter[0], states.stoch[0])
            state = model.memory.seen(first, embed[0], is_first, carry.state)
            policy = actor(state.feature)
            if model.memory.width:
                state = model.memory.valued(state, model.twohot.mean(self.actor_critic.critic(state.feature)))
        return Carry(state, policy.mode() if greedy else policy.sample(actor.noise(is_first.shape, generator)))

    @torch.no_grad()
    def value(self, carry: Carry) -> Tensor:
        """The critic's value [N] of the state that is carried."""
        self._draw_with(self._own_generator())
        return self.world_model.twohot.mean(self.actor_critic.critic(carry.state.feature))

    @torch.no_grad()
    def diagnostics(self, state: AnyState) -> dict[str, Tensor]:
        """What tells why nothing is learned, of posterior states [T, B], as metrics []. It moves no random state."""
        self._draw_with(self._own_generator())
        policy = self.actor_critic.actor(state.feature.flatten(0, 1))
        rank = effective_rank(state.deter.flatten(0, 1))  # samples in stoch differ even where nothing else does
        return {"model/latent_rank": rank, **{f"behavior/{key}": value for key, value in spread(policy).items()}}

    def losses(self, windows: Windows, generator: torch.Generator | None = None) -> Losses:
        """All losses on one batch; a single backward pass through `total` trains every part."""
        behavior, steps = self.actor_critic, windows.reward.shape
        self._draw_with(generator)
        model_losses, state, model_metrics = self._model_losses(windows, generator)
        imagined = self.imagine(state, generator)
        *behavior_losses, first, metrics = behavior.imagined_losses(imagined)
        actor_loss, critic_loss, returns = (part.view(steps) for part in (*behavior_losses, first))
        replay_loss = behavior.replay_value_loss(windows, state.feature, returns)
        behavior_loss = actor_loss + critic_loss + behavior.config.replay_value * replay_loss  # [T, B]
        total = ((model_losses + behavior_loss) * windows.weight).mean()
        metrics |= model_metrics | {
            "loss/actor": actor_loss.mean(),
            "loss/critic": critic_loss.mean(),
            "loss/replay_value": replay_loss.mean(),
            "loss/model": model_losses.mean(),
        }
        for name, part, inputs in self._observers(state):
            losses, found = part.auxiliary(inputs)
            total = torch.stack([total, *losses.values()]).sum()
            metrics |= {f"loss/{name}/{key}": value for key, value in losses.items()}
            metrics |= {f"model/{name}/{key}": value for key, value in found.items()}
        return Losses(
            total, model_losses.detach().mean(0), state.detached(), {k: v.detach() for k, v in metrics.items()}
        )

    def schedule(self, progress: float) -> None:
        """Set what changes over a run, `progress` of which is done."""
        self.actor_critic.schedule(progress)

    @torch.no_grad()
    def updated(self, state: AnyState) -> None:
        """Move what no gradient trains, after an update. state [T, B]: its posterior states."""
        self.actor_critic.update_slow_critic()
        for _, part, inputs in self._observers(state):
            part.refit(inputs)
        self.actor_critic.copy_critic_buffers()

    def _observers(self, state: AnyState) -> Iterator[tuple[str, Observer, Tensor]]:
        """The parts that learn of replayed states beside their task, by name, with their inputs."""
        for place, part in self.parts.items():
            name = place.removeprefix("heads.")
            if part.observes:
                yield name, part, state.deter if name == "prior" else state.feature

    def model_loss(self, windows: Windows, generator: torch.Generator | None = None) -> Tensor:
        """The world model's loss of each window [B]."""
        self._draw_with(generator)
        return self._model_losses(windows, generator)[0].mean(0)

    def _own_generator(self) -> torch.Generator | None:
        """What circuits with shots draw from where the run's generators must stay as they are."""
        return torch.Generator(self.world_model.twohot.bins.device).manual_seed(0) if self._drawing else None

    def _draw_with(self, generator: torch.Generator | None) -> None:
        """Let circuits with shots or noise draw from this generator."""
        for module in self._drawing:
            module.generator = generator

    def _model_losses(
        self, windows: Windows, generator: torch.Generator | None
    ) -> tuple[Tensor, AnyState, dict[str, Tensor]]:
        return self.world_model.losses(windows, self.noise(windows.reward.shape, generator))

    def noise(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        """What the latents of states [...] are drawn with: uniform [..., 1, S]."""
        model = self.world_model
        noise = torch.empty(*shape, 1, model.rssm.size.stoch, device=model.twohot.bins.device)
        return noise.uniform_(generator=generator)

    def imagine(self, start: AnyState, generator: torch.Generator | None) -> Imagined:
        """Roll the prior out under the actor, from every state [T, B]; N = T B rows. The memory stays as it is."""
        model, behavior = self.world_model, self.actor_critic
        horizon, rows = behavior.config.horizon, start.deter.shape[:2].numel()
        noise, chance = self.noise((horizon, rows), generator), behavior.actor.noise((horizon, rows), generator)
        start = start.detached().flattened()
        if self.kernels and (done := self.kernels.imagine(start, noise, chance)):
            return done
        size = model.rssm.size.feature
        feature = start.deter.new_empty(horizon + 1, rows, size + model.memory.width)
        with torch.no_grad():
            feature[0], read = start.feature, model.memory.frozen(start)
            states, actions = [model.rssm.split(state) for state in feature], []
            for t in range(horizon):
                actions.append(behavior.actor(feature[t]).sample(chance[t]))
                model.rssm.step(states[t], actions[t], noise[t], out=states[t + 1])
                if read:
                    feature[t + 1, :, size:] = read(feature[t + 1, :, :size])
            reward = model.twohot.mean(model.reward(feature))
            slow = model.twohot.mean(behavior.slow_critic(feature[:-1]))
            live = model.continuation(feature).float().squeeze(-1).sigmoid()
        feature = model.memory.reread(feature, read)
        raw = behavior.actor.net(feature[:-1])
        return Imagined(feature, torch.stack(actions), reward, live, slow, behavior.critic(feature), raw)
