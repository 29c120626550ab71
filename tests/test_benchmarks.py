"""The harness of the benchmarks: what their command lines accept, and what they print and write."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness import Option, Table, mean, parse, share, slope, write


def given(monkeypatch: pytest.MonkeyPatch, *words: str, overrides: bool = False) -> dict[str, object]:
    monkeypatch.setattr("sys.argv", ["benchmark", *words])
    sizes = Option(kind=int, nargs="+")
    options = parse(
        "Doc.", ["a", "b"], ["a"], overrides=overrides, seeds=3, turns=([1, 2], "of"), sizes=sizes, fast=False
    )
    write(options, {"x": 1})
    return vars(options)


def test_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = given(monkeypatch)
    expected = {
        "parts": ["a"],
        "seeds": 3,
        "turns": [1, 2],
        "sizes": None,
        "fast": False,
        "overrides": [],
        "json": None,
    }
    assert found == expected
    assert "OMP_NUM_THREADS" in capsys.readouterr().out
    words = ["b", "--seeds", "5", "--turns", "7", "--sizes", "4", "6", "--fast", "--json", str(tmp_path / "f"), "k=v"]
    found = given(monkeypatch, *words, overrides=True)
    assert [found[key] for key in ("parts", "seeds", "turns", "sizes", "fast")] == [["b"], 5, [7], [4, 6], True]
    written = json.loads((tmp_path / "f").read_text())
    assert written["figures"] == {"x": 1} and written["options"]["overrides"] == ["k=v"]


@pytest.mark.parametrize("words", [["c"], ["--seed", "x"], ["k=v"], ["--unknown", "1"]])
def test_refusals(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    with pytest.raises(SystemExit):
        given(monkeypatch, *words)


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("title", "mean gap:>10.3f", "95 %:12", "n:6,", label="label", width=8)
    table.row("one", 0.25, "0.1..0.4", 1200)
    table.row(2, "-", None, 3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["", "title", "label     mean gap        95 %     n"]
    assert lines[3:] == ["one          0.250    0.1..0.4 1,200", "       2         -                 3"]


def test_figures() -> None:
    assert share([True] * 5 + [False] * 5)["interval"] == pytest.approx([0.2366, 0.7634], abs=1e-4)  # Wilson
    values = np.random.default_rng(0).normal(size=400)
    low, high = mean(values.tolist())["interval"]
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert slope([1, 2, 4], [1, 4, 16]) == pytest.approx(2)
