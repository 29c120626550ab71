"""Every parameter of every part changes in an update of a whole agent, and angles at a rate of their own."""

from typing import Any

import pytest
import torch

from hybrid_opt.layers.config import CircuitConfig
from tests.worldmodel.model.agents import generator, make_agent, make_windows
from worldmodel.kernels.supported import has_kernels
from worldmodel.model.cells import CELLS
from worldmodel.model.config import HeadsConfig, ModelConfig, RouterOptions
from worldmodel.model.factory import Factory
from worldmodel.model.heads import HEADS
from worldmodel.model.memories import MEMORIES
from worldmodel.model.routers import ROUTERS
from worldmodel.train.hybrid import make_optimizer
from worldmodel.train.optimizers import HybridConfig, LaPropConfig
from worldmodel.train.parameter_groups import angular
from worldmodel.train.update import Update

CIRCUIT = CircuitConfig(qubits=2, layers=2)
LAPROP = LaPropConfig(name="laprop", warmup=0)
PLACES = ("actor", "critic", "reward", "continuation", "prior")
BORN = RouterOptions(readout="probabilities")
CASES: dict[str, tuple[str, dict[str, Any]]] = {  # the part, and the model
    **{f"{place}-{kind}": (f"heads.{place}", {"heads": {place: kind}}) for place in PLACES for kind in sorted(HEADS)},
    **{f"router-{kind}": ("heads.prior", {"router": kind}) for kind in sorted({*ROUTERS, *HEADS})},
    **{f"expert-{kind}": ("heads.prior", {"router": "linear", "expert": kind}) for kind in ("circuit", "product")},
    **{f"born-{kind}": ("heads.prior", {"router": kind, "router_options": BORN}) for kind in ("circuit", "product")},
    **{f"front-{kind}": ("heads.reward", {"heads": {"reward": "circuit"}, "front": kind}) for kind in ("none", "pca")},
    "front-autoencoder": ("heads.critic", {"heads": {"critic": "circuit"}, "front": "autoencoder"}),
    "frozen-autoencoder": ("heads.critic", {"heads": {"critic": "frozen"}, "front": "autoencoder"}),
    **{f"cell-{kind}": ("cell", {"cell": kind}) for kind in sorted(CELLS)},
    **{f"memory-{kind}": ("memory", {"memory": kind}) for kind in sorted(MEMORIES)},
}


def agent_of(heads: dict[str, str] | None = None, circuit: CircuitConfig = CIRCUIT, **model: Any) -> Any:
    parts = Factory(ModelConfig(heads=HeadsConfig(**heads or {}), **model), circuit)
    return make_agent(parts=parts, free_nats=0.0)  # with them the prior would not learn at first


def update_of(agent: Any, config: LaPropConfig | HybridConfig = LAPROP) -> Update:
    return Update(agent, make_optimizer(config, agent, torch.float32, 0, True, dict), torch.float32, generator())


@pytest.mark.parametrize(("place", "model"), [pytest.param(*case, id=name) for name, case in CASES.items()])
def test_every_parameter_changes_in_an_update(place: str, model: dict[str, Any]) -> None:
    """In the second one: in the first nothing before an output that starts at zero has a gradient."""
    agent = agent_of(**model)
    part, update, windows = agent.parts[place], update_of(agent), make_windows(agent)
    update(windows)
    before = {name: parameter.detach().clone() for name, parameter in part.named_parameters()}
    losses = update(windows)
    assert losses.total.isfinite()
    for name, parameter in part.named_parameters():
        assert torch.equal(before[name], parameter) != parameter.requires_grad, name
    assert all(p.requires_grad for p in part.parameters()) != ("frozen" in str(model))
    assert has_kernels(agent) == agent.world_model.rssm.cell.compiled


def test_angles_learn_at_a_rate_of_their_own() -> None:
    agent = agent_of({"actor": "circuit", "reward": "fourier"}, cell="circuit")
    names = {name for name, parameter in agent.named_parameters() if parameter in angular(agent)}
    actor, reward = "actor_critic.actor.net.", "world_model.reward."
    assert {f"{actor}angles.body.weights", f"{actor}angles.body.scale", f"{actor}gain.weight"} <= names
    assert {f"{reward}angles.body.scale", f"{reward}angles.body.shift", f"{reward}gain.weight"} <= names
    assert not any(name.endswith(("out.weight", "map.weight")) for name in names)
    slow, fast = update_of(agent, LaPropConfig(name="laprop", lr=1e-3, angles=7.0)).optimizer.param_groups
    assert (slow["lr"], fast["lr"]) == (1e-3, pytest.approx(7e-3))
    trained = sum(p.requires_grad for p in agent.parameters())
    assert len(slow["params"]) + len(fast["params"]) == trained


def test_without_angles_there_is_one_group_and_the_rate_falls_for_each() -> None:
    assert len(update_of(make_agent()).optimizer.param_groups) == 1
    agent = agent_of({"actor": "circuit"})
    optimizer = make_optimizer(LAPROP, agent, torch.float32, 0, True, dict)
    update = Update(agent, optimizer, torch.float32, generator(), final_rate=0.5)
    update(make_windows(agent), progress=1.0)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([2e-4, 2e-3])


def test_the_hybrid_optimiser_moves_models_with_angles() -> None:
    """And its state continues."""
    config = HybridConfig(name="hybrid", solver="exact", backend="statevector", every=1, blocks=2, warmup=0)
    agent = agent_of({"reward": "circuit", "prior": "fourier"}, front="autoencoder")
    update = update_of(agent, config)
    for _ in range(3):
        update(make_windows(agent))
    assert update.optimizer.metrics()["choices"] > 0  # type: ignore[attr-defined]
    again = update_of(agent, config)
    again.optimizer.load_state_dict(update.optimizer.state_dict())
    assert [len(group["params"]) for group in again.optimizer.param_groups][1] == 6


def test_the_slow_critic_has_the_components_of_the_critic() -> None:
    agent = agent_of({"critic": "circuit"}, front="pca")
    critic, slow = agent.actor_critic.critic, agent.actor_critic.slow_critic
    metrics = [update_of(agent)(make_windows(agent)).metrics for _ in range(2)][1]
    assert critic.angles.front.mean.any() and torch.equal(critic.angles.front.components, slow.angles.front.components)
    assert 0.2 < metrics["model/critic/explained_variance"] <= 1


def test_a_mixture_reports_its_routing() -> None:
    agent = agent_of(router="circuit")
    metrics = update_of(agent)(make_windows(agent)).metrics
    assert {"loss/prior/balance", "model/prior/routing_entropy", "model/prior/dead_experts"} <= metrics.keys()


@pytest.mark.parametrize("seed", [0, 1])
def test_shots_and_noise_draw_from_the_generator_of_the_agent(seed: int) -> None:
    agent = agent_of({"actor": "circuit"}, CircuitConfig(qubits=2, layers=2, shots=20, noise=0.1))
    windows, actions = make_windows(agent), []
    for _ in range(2):
        torch.rand(1)  # the global generator has no say
        random = generator(seed)
        losses = agent.losses(windows, random)
        carry = agent.act(
            {"observation": torch.ones(64, 3)}, torch.ones(64, dtype=torch.bool), agent.initial(64), random
        )
        actions.append((losses.total.item(), carry.action))
    assert actions[0][0] == actions[1][0] and torch.equal(actions[0][1], actions[1][1])
