import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum_sampler import ItemSet

CAPACITY = 7
operations = st.lists(
    st.tuples(st.booleans(), st.lists(st.integers(-3, 40), max_size=12)),
    max_size=25,
)


@settings(max_examples=120)
@given(operations)
def test_behaves_like_a_set_of_slots(steps: list[tuple[bool, list[int]]]) -> None:
    """Against a dict from slot to id: adding in growing order, the last one of a slot stays."""
    items, model, newest = ItemSet(CAPACITY), dict[int, int](), -1
    for adds, numbers in steps:
        if adds:
            ids = newest + 1 + np.unique(np.abs(numbers).astype(np.int64))
            newest = int(ids.max(initial=newest))
            shuffled = np.random.default_rng(len(numbers)).permutation(ids)
            before = set(model.values())
            for id in ids.tolist():
                model[id % CAPACITY] = id
            kept = items.add(shuffled)
            assert set(shuffled[kept].tolist()) == set(model.values()) - before
        else:
            gone = {id for id in numbers if model.get(id % CAPACITY) == id}
            slots = items.remove(np.array(numbers, np.int64))
            assert slots.tolist() == sorted(id % CAPACITY for id in gone)
            model = {slot: id for slot, id in model.items() if id not in gone}
        live = set(model.values())
        assert len(items) == len(model)
        assert set(items.ids.tolist()) == live
        np.testing.assert_array_equal(items.at(np.arange(len(items))), items.ids)
        queried = np.arange(-3, newest + 3)
        assert items.contains(queried).tolist() == [id in live for id in queried.tolist()]
        assert items.in_slots(np.array(sorted(model), np.int64)).tolist() == [model[slot] for slot in sorted(model)]
        restored = ItemSet(CAPACITY)
        restored.restore(items.ids)
        assert restored.ids.tolist() == items.ids.tolist()


@pytest.mark.parametrize("ids", [[4], [2], [11, 11], [-1], [13, 9]])
def test_an_id_is_never_used_again(ids: list[int]) -> None:
    items = ItemSet(CAPACITY)
    items.add(np.array([2, 4, 9]))  # 9 overwrites 2
    items.remove(np.array([4]))
    with pytest.raises(ValueError, match="never reused"):
        items.add(np.array(ids))
    assert items.ids.tolist() == [9]


def test_memory_is_16_bytes_an_item() -> None:
    items = ItemSet(1000)
    assert sum(array.nbytes for array in vars(items).values() if isinstance(array, np.ndarray)) == 16_000
