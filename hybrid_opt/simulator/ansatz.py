"""The RY-CZ ansatz: its state, the CVaR of a cost in it, and the gradient, in real arithmetic.

The state of n qubits is RY(a[L]) CZ ... RY(a[1]) CZ RY(a[0]) |0>, with a layer of RY on all qubits and CZ between
neighbours i, i + 1. All its amplitudes are real. Without CZ it is a product state: the twin of the same angles.

Shapes: L layers of CZ, angles float64 [L + 1, n], states float64 [2^n] in basis order (bit i of k is (k >> i) & 1).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.simd.registers import cached

Floats = NDArray[np.float64]


class Ranking(NamedTuple):
    """A cost diagonal float64 [2^n], and its states by rising cost, int64 [2^n]."""

    diagonal: Floats
    order: NDArray[np.int64]


def ranked(diagonal: Floats) -> Ranking:
    """Sort a diagonal once, for the CVaR of many states."""
    return Ranking(diagonal, np.argsort(diagonal, kind="stable"))


def memory(n: int) -> int:
    """Bytes that training on n qubits needs: two states, the diagonal, its order, and the mask of signs."""
    return (4 * 8 + 1) << n


def signs(n: int, entangle: bool) -> NDArray[np.int8]:
    """The diagonal of CZ on all neighbours, int8 [2^n]; [0] without them."""
    return _signs(n) if entangle and n > 1 else np.empty(0, np.int8)


def state(angles: Floats, sign: NDArray[np.int8]) -> Floats:
    """The state of angles [L + 1, n], with `sign` from `signs`."""
    psi: Floats = _state(np.asarray(angles, np.float64), sign)
    return psi


def cvar(probabilities: Floats, ranking: Ranking, alpha: float) -> float:
    """Conditional value at risk: the mean cost of the lowest `alpha` of the probability (Barkoutsos et al. 2020)."""
    return float(_tail(probabilities, *ranking, alpha)[0])


def cvar_gradient(angles: Floats, sign: NDArray[np.int8], ranking: Ranking, alpha: float) -> tuple[float, Floats]:
    """CVaR of the state and its gradient [L + 1, n], by the adjoint method: two states of memory.

    The quantile is held fixed, which leaves the gradient exact wherever it exists.
    """
    value, gradient = _cvar_gradient(np.asarray(angles, np.float64), sign, *ranking, alpha)
    return float(value), gradient


@cached(error_model="python")
def _signs(n: int) -> Any:
    sign = np.ones(1 << n, np.int8)
    for q in range(1, n):  # states below 2^(q + 1) by doubling: bit q is set in the upper half
        half, quarter = 1 << q, 1 << (q - 1)
        for k in range(half):
            sign[half + k] = -sign[k] if k >= quarter else sign[k]
    return sign


@cached(error_model="python", fastmath=True)
def _product(angles: Floats) -> Any:
    """RY on |0>, by doubling."""
    psi = np.empty(1 << angles.size)
    psi[0] = 1.0
    for q in range(angles.size):
        c, s, half = np.cos(angles[q] / 2), np.sin(angles[q] / 2), 1 << q
        for k in range(half):
            psi[half + k] = s * psi[k]
            psi[k] *= c
    return psi


@cached(error_model="python", fastmath=True)
def _rotate(psi: Floats, q: int, angle: float) -> None:
    c, s, half = np.cos(angle / 2), np.sin(angle / 2), 1 << q
    for base in range(0, psi.size, 2 * half):
        for k in range(base, base + half):
            low, high = psi[k], psi[k + half]
            psi[k] = c * low - s * high
            psi[k + half] = s * low + c * high


@cached(error_model="python", fastmath=True)
def _rotate_pair(psi: Floats, dual: Floats, q: int, angle: float) -> float:
    """Rotate both; the sum of dual_1 psi_0 - dual_0 psi_1, which the rotation leaves as it is."""
    c, s, half, total = np.cos(angle / 2), np.sin(angle / 2), 1 << q, 0.0
    for base in range(0, psi.size, 2 * half):
        for k in range(base, base + half):
            low, high = psi[k], psi[k + half]
            dual_low, dual_high = dual[k], dual[k + half]
            total += dual_high * low - dual_low * high
            psi[k] = c * low - s * high
            psi[k + half] = s * low + c * high
            dual[k] = c * dual_low - s * dual_high
            dual[k + half] = s * dual_low + c * dual_high
    return total


@cached(error_model="python")
def _flip(psi: Floats, sign: NDArray[np.int8]) -> None:
    for k in range(sign.size):
        psi[k] *= sign[k]


@cached(error_model="python")
def _state(angles: Floats, sign: NDArray[np.int8]) -> Any:
    psi = _product(angles[0])
    for layer in range(1, angles.shape[0]):
        _flip(psi, sign)
        for q in range(angles.shape[1]):
            _rotate(psi, q, angles[layer, q])
    return psi


@cached(error_model="python")
def _tail(probabilities: Floats, diagonal: Floats, order: NDArray[np.int64], alpha: float) -> Any:
    """CVaR, the states that are wholly in the tail (their number in `order`), and the quantile."""
    mass, total, count = 0.0, 0.0, 0
    while count < order.size - 1:
        k = order[count]
        if mass + probabilities[k] >= alpha:
            break
        mass += probabilities[k]
        total += probabilities[k] * diagonal[k]
        count += 1
    quantile = diagonal[order[count]]
    return (total + (alpha - mass) * quantile) / alpha, count, quantile


@cached(error_model="python")
def _cvar_gradient(
    angles: Floats, sign: NDArray[np.int8], diagonal: Floats, order: NDArray[np.int64], alpha: float
) -> Any:
    layers, n = angles.shape
    psi = _state(angles, sign)
    dual = psi * psi
    value, count, quantile = _tail(dual, diagonal, order, alpha)
    dual[:] = 0.0
    for i in range(count):
        k = order[i]
        dual[k] = (diagonal[k] - quantile) / alpha * psi[k]
    gradient = np.empty_like(angles)
    for back in range(layers):
        layer = layers - 1 - back
        for q in range(n):
            gradient[layer, q] = _rotate_pair(psi, dual, q, -angles[layer, q])
        if layer:
            _flip(psi, sign)
            _flip(dual, sign)
    return value, gradient
