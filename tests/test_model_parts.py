"""docs/model-parts.md: its examples run, and its tables name all there is."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from hybrid_opt import CircuitLayer
from hybrid_opt.circuits.ansatz.registry import ANSATZE
from hybrid_opt.circuits.encodings.registry import ENCODINGS
from worldmodel.model.fronts import FRONTS
from worldmodel.model.heads import HEADS
from worldmodel.model.routers import ROUTERS

PAGE = (Path(__file__).parent.parent / "docs" / "model-parts.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One after the other, as a reader would paste them."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in EXAMPLES:
        exec(code, names)
    layer = names["circuit"]
    assert isinstance(layer, CircuitLayer) and all(p.grad is not None and p.grad.all() for p in layer.parameters())
    assert len(EXAMPLES[0].splitlines()) <= 11 and "q_5" in capsys.readouterr().out
    assert (tmp_path / "ledger.sqlite").exists()


@pytest.mark.parametrize(("heading", "parts"), [("Encodings", ENCODINGS), ("Ansatz", ANSATZE)])
def test_tables_name_all_parts(heading: str, parts: Mapping[str, object]) -> None:
    section = PAGE.partition(f"### {heading}\n")[2].partition("\n### ")[0]
    assert sorted(re.findall(r"^\| (\w+) \|", section, re.MULTILINE)[1:]) == sorted(parts)


def test_heads_routers_and_fronts_are_named() -> None:
    """By their words in the table of keys, and each front by a row."""
    keys = PAGE[: PAGE.index("### Kinds of heads")]
    words = dict(re.findall(r"^\| `(model\.[\w.]+)` \| ([^|]+) \|", keys, re.MULTILINE))
    assert set(words["model.heads.PLACE"].split(", ")) == set(HEADS)
    assert set(words["model.router"].split(", ")) == {"none", *ROUTERS, *HEADS}
    assert set(words["model.front"].split(", ")) == set(FRONTS)
    assert all(f"\n| {name} | " in PAGE for name in FRONTS)
