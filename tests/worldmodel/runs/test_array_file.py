"""Files of arrays: exact, checked, and never through pickle."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from worldmodel.runs.array_file import CorruptFile, read_arrays, write_arrays

ARRAYS = {
    "observation/state/position": np.linspace(-1, 1, 7, dtype=np.float32),
    "image": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "flag": np.array([True, False]),
    "deter": np.array([[1, -2]], np.int16),
    "nothing": np.zeros((0, 3), np.int32),
    "0/12/stoch.npy": np.array(5, np.uint8),
}


def write(path: Path) -> None:
    write_arrays(path, ARRAYS.items())


def read(path: Path) -> dict[str, np.ndarray]:
    return dict(read_arrays(path))


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype and np.array_equal(one[key], other[key]) for key in one
    )


def test_round_trip(tmp_path: Path) -> None:
    write(tmp_path / "a.npz")
    assert equal(read(tmp_path / "a.npz"), ARRAYS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz"]


def test_numpy_reads_them(tmp_path: Path) -> None:
    write(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        assert equal({key: file[key] for key in ARRAYS}, ARRAYS)


def test_views_that_are_not_contiguous(tmp_path: Path) -> None:
    array = np.arange(60).reshape(3, 4, 5)[:, ::2].transpose(2, 0, 1)
    write_arrays(tmp_path / "a.npz", [("x", array)])
    assert np.array_equal(read(tmp_path / "a.npz")["x"], array)


def one_line(path: Path) -> str:
    with pytest.raises(CorruptFile) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text and caught.value.exit_code == 2
    return text


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        one_line(path)


def test_a_damaged_byte_is_never_read_as_data(tmp_path: Path) -> None:
    """Every byte of a file turned over: the arrays come back as they were, or the file is refused."""
    path = tmp_path / "a.npz"
    write_arrays(path, [("x", ARRAYS["deter"]), ("y", ARRAYS["flag"])])
    whole, expected = path.read_bytes(), read(path)
    refused = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            found = read(path)
        except CorruptFile as error:
            refused += "\n" not in str(error)
        else:
            assert equal(found, expected), at
    assert refused > 0.5 * len(whole)


def test_no_file(tmp_path: Path) -> None:
    one_line(tmp_path / "a.npz")
    (tmp_path / "b.npz").mkdir()
    one_line(tmp_path / "b.npz")


def test_pickles_are_refused(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (ran,)

    np.savez(tmp_path / "a.npz", x=np.array([Payload()], dtype=object))
    one_line(tmp_path / "a.npz")
    assert not ran.exists()
    with pytest.raises(ValueError, match="pickle|object"):
        write_arrays(tmp_path / "b.npz", [("x", np.array([None], dtype=object))])
    assert not (tmp_path / "b.npz").exists()


def test_a_failure_while_writing_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write(path)

    def failing():  # type: ignore[no-untyped-def]
        yield "x", np.ones(3)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_arrays(path, failing())
    assert equal(read(path), ARRAYS)
    assert list(tmp_path.iterdir()) == [path]


def test_one_array_in_memory_at_a_time(tmp_path: Path) -> None:
    alive = 0

    class Tracked(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    seen = []

    def arrays():  # type: ignore[no-untyped-def]
        nonlocal alive
        for i in range(5):
            alive += 1
            seen.append(alive)
            yield str(i), np.ones(10).view(Tracked)

    write_arrays(tmp_path / "a.npz", arrays())
    assert max(seen) <= 2


def test_stored_without_compression(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", [("x", np.zeros(100_000, np.uint8))])
    assert 100_000 < (tmp_path / "a.npz").stat().st_size < 101_000
    with zipfile.ZipFile(io.BytesIO((tmp_path / "a.npz").read_bytes())) as archive:
        assert [info.compress_type for info in archive.infolist()] == [zipfile.ZIP_STORED]
