import numpy as np

from quantum_sampler import make_selector


def test_every_item_is_handed_out_once_oldest_first() -> None:
    selector = make_selector("fresh", 100, seed=0)
    handed: list[int] = []
    for first in range(0, 60, 6):
        selector.add(np.arange(first, first + 6))
        batch = selector.select(4)
        handed += batch.ids.tolist()
        np.testing.assert_array_equal(batch.inclusion, 1.0)
    assert handed == list(range(40))
    assert selector.metrics()["waiting"] == 20
    batch = selector.select(25)
    assert batch.ids[:20].tolist() == list(range(40, 60))
    np.testing.assert_allclose(batch.law(np.arange(60), 25), np.where(np.arange(60) < 40, 0.0, 1.0) + 5 / 60)
    assert selector.metrics()["waiting"] == 0


def test_waiting_items_that_go_are_skipped() -> None:
    selector = make_selector("fresh", 20, seed=0)
    selector.add(np.arange(20))
    selector.remove(np.arange(2, 17))
    selector.add([20])  # takes the slot of 0
    assert selector.metrics()["waiting"] == 5
    batch = selector.select(3)
    assert batch.ids.tolist() == [1, 17, 18]
    np.testing.assert_array_equal(batch.law(np.array([0, 1, 17, 18, 19, 20]), 4), [0, 1, 1, 1, 1, 0])
    assert selector.select(2).ids.tolist() == [19, 20]


def test_queue_stays_small() -> None:
    selector = make_selector("fresh", 50, seed=0)
    for first in range(0, 5000, 5):
        selector.add(np.arange(first, first + 5))  # never drawn from
    assert selector.metrics()["waiting"] == 50
    assert selector._queue.size <= 4 * 50  # type: ignore[attr-defined]
    assert selector.select(50).ids.tolist() == list(range(4950, 5000))


def test_one_of_several_overlapping_items() -> None:
    selector = make_selector("fresh", 100, seed=0, span=6, width=2)
    selector.add(np.arange(20))
    batch = selector.select(10)
    assert batch.ids[:8].tolist() == [0, 1, 6, 7, 12, 13, 18, 19]
    np.testing.assert_allclose(batch.law(np.arange(20), 10), (np.arange(20) % 6 < 2) + 2 / 20)
