"""A row of measures for a circuit head and for each of its twins."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.layer import CircuitLayer
from hybrid_opt.layers.measures.dimension import effective_dimension, of_bits, of_classes
from hybrid_opt.layers.measures.entanglement import entanglement
from hybrid_opt.layers.measures.expressibility import expressibility
from hybrid_opt.layers.measures.functions import lipschitz_bound, spectrum, steepest
from hybrid_opt.layers.measures.states import States
from worldmodel.model.circuits import circuit_layer
from worldmodel.model.config import HeadsConfig, ModelConfig
from worldmodel.model.factory import Factory
from worldmodel.model.heads.base.readout import ReadoutHead
from worldmodel.model.heads.fourier import Fourier
from worldmodel.probe.circuit.config import ProbeCircuitConfig

TWINS = ("circuit", "product", "frozen", "fourier", "narrow", "mlp")
UNITS = 64  # of the MLP, which has two hidden layers
BATCH = 1024  # rows whose pass is timed
DRAWS = 32  # parameters, and inputs of each, over which Fisher matrices are taken


@dataclass(frozen=True, kw_only=True)
class Row:
    """Measures of one kind of head; None: it has no such thing, or none that is known."""

    kind: str
    parameters: int
    """that are trained"""
    milliseconds: float
    """of a forward and backward pass of `BATCH` rows"""
    gradient: float
    """variance of the gradient of the first output, over parameters and inputs: the median of all that it depends on"""
    dimension: float
    """effective, of softmax(outputs), a share of the parameters"""
    frequency: float
    """mean, each weighed by its share of the variance"""
    frequencies: tuple[float, ...]
    """shares of the variance at 1, 2, ..., 8"""
    slope: float
    """largest of the first output that was met"""
    bits: float | None = None
    """effective dimension of the measured bits, a share of the angles"""
    complex_divergence: float | None = None
    """of fidelities from those of random states, in nats"""
    real_divergence: float | None = None
    """the same for random real states"""
    entanglement: float | None = None
    """mean Q of Meyer and Wallach"""
    entanglement_std: float | None = None
    bound: float | None = None
    """on that slope, for any inputs: the largest of all draws"""


def row(kind: str, config: ProbeCircuitConfig) -> Row:
    """Measure one kind of head, with as many inputs and outputs as the circuit has."""
    generator = torch.Generator().manual_seed(config.seed)
    factory = Factory(ModelConfig(heads=HeadsConfig(actor=kind), front="none"), config.circuit)
    layer = circuit_layer(config.circuit)
    inputs = torch.randn(config.inputs, layer.inputs, generator=generator)
    heads = []
    for draw in range(config.draws):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(config.seed + draw)
            heads.append(factory.head("actor", layer.inputs, UNITS, 2, layer.outputs))
    first = zip(heads, inputs.repeat(config.draws, 1), strict=False)
    slopes = torch.stack([_slopes(head(x[None])[0, 0], _trained(head)) for head, x in first])
    variances = slopes.var(0)
    shares = torch.stack([spectrum(head, inputs[:8]) for head in heads]).mean(0)
    scores = torch.stack([_scores(head, inputs[:DRAWS]) for head in heads[:DRAWS]])
    circuit = next((part for part in heads[0].modules() if isinstance(part, CircuitLayer)), None)
    return Row(
        kind=kind,
        parameters=slopes.shape[1],
        milliseconds=_milliseconds(heads[0], layer.inputs, generator),
        gradient=float(variances[variances > 0].median()),
        dimension=effective_dimension(scores, config.data) / slopes.shape[1],
        frequency=float((shares * torch.arange(1, len(shares) + 1)).sum()),
        frequencies=tuple(shares[:8].tolist()),
        slope=max(steepest(head, inputs) for head in heads),
        bound=max(bounds) if (bounds := [b for head in heads if (b := _bound(head)) is not None]) else None,
        **({} if circuit is None else _of_states(circuit, inputs, config, generator)),
    )


def _of_states(
    circuit: CircuitLayer, inputs: Tensor, config: ProbeCircuitConfig, generator: torch.Generator
) -> dict[str, float | None]:
    states = States(circuit.structure)
    weights = states.random(config.draws, generator)
    with torch.no_grad():
        data = circuit.angles(inputs)[:, : len(circuit.structure.data)]
    scores = torch.stack([of_bits(states, row, data[:DRAWS]) for row in weights[:DRAWS]])
    divergences = expressibility(states, config.pairs, generator)
    mean, std = entanglement(states, 8 * config.draws, generator)
    return {
        "bits": effective_dimension(scores, config.data) / len(weights[0]) if circuit.weights.requires_grad else None,
        "complex_divergence": divergences[0],
        "real_divergence": divergences[1],
        "entanglement": mean,
        "entanglement_std": std,
    }


def _bound(head: Any) -> float | None:
    """On the slope of the first output: that of what is read out, times the weights of the read-out."""
    if not isinstance(head, ReadoutHead):
        return None  # RMS normalisation has no bound but that of its epsilon
    body, weights = head.angles.body, (head.out.weight[0] * head.gain.weight).detach().abs()
    if isinstance(body, Fourier):
        cos, sin = weights.view(2, *body.scale.shape)
        return float((cos.hypot(sin) * body.scale.detach().abs()).sum(0).norm())
    try:
        return lipschitz_bound(body) * float(weights.sum())
    except ProblemError:
        return None


def _slopes(output: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The gradient of one output in all trained parameters, [D]."""
    found = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
    pairs = zip(parameters, found, strict=True)
    return torch.cat([torch.zeros_like(p).flatten() if slope is None else slope.flatten() for p, slope in pairs])


def _scores(head: Any, inputs: Tensor) -> Tensor:
    """Of softmax(outputs), in all D trained parameters, [X K, D]."""
    logits, parameters = head(inputs), _trained(head)
    slopes = torch.stack([_slopes(output, parameters) for output in logits.flatten()])
    return of_classes(logits.detach(), slopes.view(*logits.shape, -1))


def _trained(head: Any) -> list[Tensor]:
    return [p for p in head.parameters() if p.requires_grad]


def _milliseconds(head: Any, width: int, generator: torch.Generator) -> float:
    """Median of a forward and backward pass of `BATCH` rows, after one that warms up."""
    x, times = torch.randn(BATCH, width, generator=generator), []
    for _ in range(12):
        begin = time.perf_counter()
        head(x).sum().backward()
        times.append(1e3 * (time.perf_counter() - begin))
    return sorted(times[1:])[5]
