"""Writes to a memory: merging, eviction and resets against lists of what every slot was given."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from worldmodel.model.batch import Slots
from worldmodel.model.memories.base.writing import (
    FIDELITY,
    STEP,
    USES,
    amplitudes,
    empty,
    keys_of,
    rebuilt,
    rewritten,
    values_of,
    write,
)

WIDTH, VALUES = 4, 2
LIKE = torch.zeros(1, dtype=torch.float64)


def items(steps: int, rows: int, seed: int, kinds: int = 6) -> Tensor:
    """Items [T, N, W] of a few kinds, with a little noise, so that some of them are alike."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(kinds, WIDTH - 1, generator=random, dtype=torch.float64)
    chosen = torch.randint(kinds, (steps, rows), generator=random)
    noise = 0.1 * torch.randn(steps, rows, WIDTH - 1, generator=random, dtype=torch.float64)
    value = torch.randn(steps, rows, VALUES, generator=random, dtype=torch.float64)
    return torch.cat([amplitudes(centres[chosen] + noise), value, torch.ones(steps, rows, 1).double()], -1)


def begin(rows: int, slots: int) -> Slots:
    return empty(rows, slots, WIDTH + VALUES + 1, LIKE)


runs = given(st.integers(1, 30), st.integers(1, 8), st.floats(0.3, 1.0), st.integers(0, 10_000))


@runs
@settings(max_examples=60, deadline=None)
def test_slots_are_means_of_what_they_were_given(steps: int, slots: int, merge: float, seed: int) -> None:
    """Oracle: lists. Fidelities decide merging; a full memory gives up the least used slot and nothing else."""
    given, kept = items(steps, 1, seed), begin(1, slots)
    lists: list[list[np.ndarray]] = [[] for _ in range(slots)]
    for step, item in enumerate(given):
        before = kept
        kept = write(kept, item, torch.tensor([step == 0]), WIDTH, merge)
        assert kept.code is not None and kept.facts is not None and before.facts is not None
        key, place = item[0, :WIDTH].numpy(), abs(int(kept.code)) - 1
        fidelities = [float(np.dot(_unit(held), key) ** 2) if held else -1.0 for held in lists]
        merges = max(fidelities) >= merge
        assert (int(kept.code) > 0) == merges
        if merges:
            assert fidelities[place] >= max(fidelities) - 1e-12
        else:
            uses = before.facts[0, :, USES] if step else torch.zeros(slots)
            assert float(uses[place]) == float(uses.min())
            if any(not held for held in lists):
                assert not lists[place]
            lists[place] = []
        lists[place].append(item[0].numpy())
        for held, sums in zip(lists, kept.sums[0], strict=True):
            np.testing.assert_allclose(sums.numpy(), np.sum(held, 0) if held else 0.0, atol=1e-9)
    values, keys = values_of(kept.sums, WIDTH)[0], keys_of(kept.sums, WIDTH)[0]
    for held, value, key in zip(lists, values.numpy(), keys.numpy(), strict=True):
        if held:
            np.testing.assert_allclose(value, np.mean([item[WIDTH:-1] for item in held], 0), atol=1e-9)
            np.testing.assert_allclose(key, _unit(held), atol=1e-9)
    assert kept.facts is not None
    np.testing.assert_allclose(kept.facts[0, :, USES], [len(held) for held in lists])  # nothing was read
    assert ((kept.facts[0, :, FIDELITY] <= 1 + 1e-9) & (kept.facts[0, :, STEP] < steps)).all()


def _unit(held: list[np.ndarray]) -> np.ndarray:
    total = np.sum([item[:WIDTH] for item in held], 0)
    return total / np.linalg.norm(total)


@given(st.integers(1, 25), st.integers(1, 6), st.integers(0, 10_000), st.integers(0, 25))
@settings(max_examples=60, deadline=None)
def test_what_is_rebuilt_is_what_was_written(steps: int, slots: int, seed: int, cut: int) -> None:
    """The slots before any step, and after each step from there, of several streams with episodes of their own."""
    rows, rng = 3, np.random.default_rng(seed)
    given, first = items(steps, rows, seed), torch.from_numpy(rng.random((steps, rows)) < 0.2)
    first[0], cut = True, min(cut, steps)
    kept, sums, codes = begin(rows, slots), [begin(rows, slots).sums], []
    for item, first_t in zip(given, first, strict=True):
        kept = write(kept, item, first_t, WIDTH, 0.9)
        sums.append(kept.sums)
        codes.append(kept.code)
    code = torch.stack(codes)  # type: ignore[arg-type]
    parts, owners, places = [], [], []
    for row in range(rows):
        since = max((t for t in range(cut) if first[t, row]), default=0)
        parts.append(given[since:cut, row])
        places.append(code[since:cut, row])
        owners.append(torch.full((cut - since,), row))
    again = rebuilt(torch.cat(parts), torch.cat(places), torch.cat(owners), rows, slots)
    torch.testing.assert_close(again, sums[cut])
    if cut < steps:
        torch.testing.assert_close(rewritten(again, given[cut:], first[cut:], code[cut:]), torch.stack(sums[cut + 1 :]))


def test_nothing_is_written_where_the_code_is_0() -> None:
    """As of the last observation of an episode, after which the agent does not act."""
    given, kept = items(2, 1, 0), write(begin(1, 3), items(1, 1, 1)[0], torch.tensor([True]), WIDTH, 0.9)
    nothing, no = torch.zeros(2, 1, dtype=torch.int16), torch.zeros(2, 1, dtype=torch.bool)
    torch.testing.assert_close(rewritten(kept.sums, given, no, nothing), kept.sums.expand(2, -1, -1, -1))
    none = rebuilt(given[:, 0], nothing[:, 0], torch.zeros(2, dtype=torch.long), 1, 3)
    assert not none.any()


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_keys_tell_a_vector_from_its_negative(seed: int) -> None:
    """Amplitudes alone do not: the constant does. Orthogonal vectors have fidelity 1/4."""
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=7))
    key, negative = amplitudes(x), amplitudes(-x)
    assert float(key @ key) == 1.0 or abs(float(key @ key) - 1) < 1e-12
    assert abs(float(key @ negative)) < 1e-12
    y = torch.zeros(7).double()
    y[0], y[1] = x[1], -x[0]
    assert abs(float(key @ amplitudes(y)) ** 2 - 0.25) < 1e-12
