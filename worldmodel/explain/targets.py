"""What is explained of an agent: two numbers, as smooth functions of the observation at a fixed recurrent state."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.explain.inputs import Inputs
from worldmodel.model.actor import Categoricals, Normals
from worldmodel.model.agent import Agent
from worldmodel.model.batch import Slots
from worldmodel.model.categorical import UNIMIX
from worldmodel.model.control.agent import ControlAgent
from worldmodel.model.control.policies import Ascent
from worldmodel.model.layers import NormAct, symlog

NAMES = ("policy", "value")
Part = TypeVar("Part", bound=nn.Module)
Function = Callable[[Tensor, Tensor], Tensor]  # rows [M, P] of the states with indices [M] -> [M]


class Targets(nn.Module):
    """The way from an observation to the chance of the action that was taken, and to its value.

    Shapes: M rows, P numbers of an observation, A action width, C what a state keeps whatever is seen (`carried`).
    """

    said: Mapping[str, str]  # what each target is, in a sentence
    inputs: Inputs

    def policy(self, rows: Tensor, kept: Tensor, action: Tensor) -> Tensor:
        """[M, P], [M, C], [M, A] -> [M]."""
        raise NotImplementedError

    def value(self, rows: Tensor, kept: Tensor, action: Tensor) -> Tensor:
        """[M, P], [M, C], [M, A] -> [M]."""
        raise NotImplementedError

    def chosen(self, rows: Tensor, kept: Tensor) -> Tensor:
        """Return the greedy actions [M, A]."""
        raise NotImplementedError

    def head(self, name: str) -> nn.Module:
        """Return the last part on the way to a target."""
        raise NotImplementedError

    def function(self, name: str, kept: Tensor, action: Tensor) -> Function:
        """Return a target of states, where what they keep [N, C] and the action [N, A] stay as they were."""
        target: Callable[[Tensor, Tensor, Tensor], Tensor] = getattr(self, name)
        return lambda rows, states: target(rows, kept[states], action[states])

    def redrawn(self, name: str | None, seed: int) -> "Targets":
        """Return a copy in which the entries of each weight have changed places at random.

        So every weight keeps its distribution, whatever layer it is of. name: of one target's head alone.
        """
        other = deepcopy(self)
        generator = torch.Generator().manual_seed(seed)
        for weight in (other if name is None else other.head(name)).parameters():
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.data = weight.data.flatten()[order].view_as(weight)
        return other


class DreamerTargets(Targets):
    """Through encoder and posterior. The posterior's probabilities stand for the sample that the agent draws."""

    said = {  # noqa: RUF012 - never changed
        "policy": "log pi(a|s): the log-probability (or log-density) of the action that was taken",
        "value": "V(s): the critic's value of the state",
    }

    def __init__(self, agent: Agent, inputs: Inputs) -> None:
        super().__init__()
        model, behavior = agent.world_model, agent.actor_critic
        _drawless(agent)
        self.inputs, self.encoder = inputs, model.encoder
        self.posterior, self.actor = _double(model.rssm.posterior), _double(behavior.actor)
        self.critic, self.memory = _double(behavior.critic), _double(model.memory)
        self.width = model.rssm.size.deter
        self.bins = model.twohot.bins.double()[model.twohot.place.argsort()]  # as the logits have them

    def policy(self, rows: Tensor, kept: Tensor, action: Tensor) -> Tensor:
        policy: Categoricals | Normals = self.actor(self.feature(rows, kept))
        return policy.log_prob(action)

    def value(self, rows: Tensor, kept: Tensor, action: Tensor) -> Tensor:
        probs: Tensor = self.critic(self.feature(rows, kept)).softmax(-1)
        return (probs * self.bins).sum(-1).float()

    def chosen(self, rows: Tensor, kept: Tensor) -> Tensor:
        policy: Categoricals | Normals = self.actor(self.feature(rows, kept))
        return policy.mode()

    def head(self, name: str) -> nn.Module:
        return self.actor if name == "policy" else self.critic

    def feature(self, rows: Tensor, kept: Tensor) -> Tensor:
        """Return what actor and critic see, [M, F], float64. Numbers stand in the place of categories.

        A memory has the slots that it had, with what was written of the observation itself; the query follows it.
        """
        inputs, embed = self.inputs, []
        flat = [(spec.kind, inputs.part(rows, key)) for key, spec in self.encoder.flat.items()]
        if flat:
            parts = [symlog(part) if kind == "vector" else part for kind, part in flat]
            embed.append(self.encoder.mlp(torch.cat(parts, -1)))
        for key, cnn in zip(self.encoder.images, self.encoder.cnns, strict=True):
            embed.append(cnn(inputs.part(rows, key).movedim(-1, 1) / 255 - 0.5).flatten(1))
        deter, slots = kept.tensor_split([self.width], -1)
        posterior, deter = self.posterior, deter.double()
        hidden = posterior.norm(posterior.seen(torch.cat(embed, -1).double()) + F.linear(deter, posterior.deter.weight))
        probs = posterior.out(hidden).unflatten(-1, posterior.shape).softmax(-2)  # [M, K, S]
        mixed = probs * (1 - UNIMIX) + UNIMIX / posterior.shape[0]
        feature = torch.cat([deter, mixed.flatten(-2)], -1)
        if not self.memory.asks:  # then what was read stays, if anything was
            return torch.cat([feature, slots.double()], -1)
        memory: Any = self.memory
        sums = Slots(slots.unflatten(-1, (memory.options.slots, -1)))
        return torch.cat([feature, memory.read(memory.asked(feature), sums).double()], -1)


class ControlTargets(Targets):
    """Through the latent model of the agent `control`. It keeps no recurrent state."""

    def __init__(self, agent: ControlAgent, inputs: Inputs) -> None:
        super().__init__()
        _drawless(agent)
        self.inputs, self.norm, self.model = inputs, agent.norm, agent.seen
        self.actor, self.critics, self.scale = agent.policy, agent.critics, agent.scale
        self.continuous, self.noise = isinstance(agent.policy, Ascent), agent.config.noise or 0.2
        density = f"log-density of the action that was taken, under the policy with its noise of {self.noise:g}"
        gap = "advantage of the action that was taken: its value less the mean of all actions"
        self.said = {"policy": density if self.continuous else gap, "value": "Q(s, a) of the action that was taken"}

    def policy(self, rows: Tensor, kept: Tensor, action: Tensor) -> Tensor:
        if isinstance(self.actor, Ascent):
            mean = self.actor.best(self._latent(rows), self.model, self.critics)
            return Normals(mean, torch.full_like(mean, self.noise)).log_prob(action)
        values = torch.stack([self.value(rows, kept, each.expand(len(rows), -1)) for each in self.actor.choices])
        return self.value(rows, kept, action) - values.mean(0)

    def value(self, rows: Tensor, kept: Tensor, action: Tensor) -> Tensor:
        value: Tensor = self.critics(self.model.feature(self._latent(rows), action)).mean(0) * self.scale
        return value

    def chosen(self, rows: Tensor, kept: Tensor) -> Tensor:
        action: Tensor = self.actor.best(self._latent(rows), self.model, self.critics)
        return action

    def head(self, name: str) -> nn.Module:
        return self.actor if name == "policy" and self.continuous else self.critics

    def _latent(self, rows: Tensor) -> Tensor:
        parts = [self.inputs.part(rows, key) for key in self.inputs.specs]
        latent: Tensor = self.model.encode(self.norm(torch.cat(parts, -1)))
        return latent


def make_targets(agent: Any, inputs: Inputs) -> Targets:
    """Return the targets of an agent."""
    kind: Any = ControlTargets if isinstance(agent, ControlAgent) else DreamerTargets
    made: Targets = kind(agent, inputs)
    return made


def _drawless(agent: nn.Module) -> None:
    """Take back the generators that circuits draw with: exact ones draw nothing, and no copy has one."""
    for module in agent.modules():
        if hasattr(module, "generator"):
            module.generator = None  # type: ignore[assignment]


def _double(part: Part) -> Part:
    """Return a copy in float64: the outer bins of the critic would make noise of what float32 rounds."""
    made = deepcopy(part).double()
    for module in made.modules():
        if isinstance(module, NormAct):
            module.passes = norm_silu_double
    return made


def norm_silu_double(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """SiLU(x / rms(x) * weight) in the precision of x."""
    return F.silu(F.rms_norm(x, weight.shape, weight, eps))
