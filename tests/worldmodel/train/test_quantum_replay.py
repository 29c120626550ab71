"""Whole runs whose replay is chosen by the quantum selectors: here, on a mock annealer, and on one that fails."""

from pathlib import Path
from typing import Any

import pytest

from hybrid_opt.backends.ledger.store import Ledger
from quantum_sampler import registry
from tests.hybrid_opt.flaky.client import NAME
from tests.worldmodel.train.runs import line_of, rows, train
from worldmodel.cli.compose import UsageError
from worldmodel.cli.schema import configs_folder
from worldmodel.search.config import train_config

SHORT = ("steps=300", "log.every=50", "replay.plans=4")
SELECTORS: dict[str, tuple[str, ...]] = {
    "annealed": ("replay.pool=16", *SHORT),
    "boltzmann": ("replay.every=4", "replay.bits=8", *SHORT),
    "markov": ("replay.bits=4", *SHORT),
    "novel": ("replay.inducing=16", *SHORT),
    "recall": ("replay.fit=16", "replay.fresh_every=20", "replay.fresh_queries=8", *SHORT[:2]),
}


def last(folder: Path, selector: str) -> dict[str, Any]:
    """The last row with figures of the replay, without their prefix."""
    prefix = f"replay/{selector}/"
    row = [row for row in rows(folder) if f"{prefix}share" in row][-1]
    return {key.removeprefix(prefix): value for key, value in row.items()}


@pytest.mark.slow
@pytest.mark.parametrize("selector", SELECTORS)
def test_it_trains_and_its_choice_takes_part(selector: str, tmp_path: Path) -> None:
    words = (*SELECTORS[selector], f"replay={selector}", "deterministic=true", f"logdir={tmp_path / 'run'}")
    assert train(*words) == 0
    figures = last(tmp_path / "run", selector)
    assert figures["share"] == pytest.approx(0.75)  # of batches of 4 one is of fresh data
    assert figures["fallback_rate"] < 0.7  # it begins with data that has no features yet
    assert (selector == "recall") == ("fresh_ratio" in figures)
    assert not (tmp_path / "run" / "ledger.sqlite").exists()


@pytest.mark.slow
@pytest.mark.parametrize("selector", ["annealed", "boltzmann"])
def test_it_runs_on_an_annealer_and_books_its_jobs(selector: str, tmp_path: Path) -> None:
    words = (*SELECTORS[selector], f"replay={selector}", "deterministic=true", "backend=dwave:mock")
    assert train(*words, f"logdir={tmp_path / 'run'}") == 0
    figures = last(tmp_path / "run", selector)
    assert figures["fallback_rate"] < 0.7 and figures["plan_failures"] == 0
    with Ledger(tmp_path / "run" / "ledger.sqlite") as ledger:
        assert ledger.spent.shots > 0


@pytest.mark.slow
def test_a_backend_that_fails_half_of_its_calls_does_not_stop_training(tmp_path: Path) -> None:
    rates = "refuse=0.3&lose=0.1&corrupt=0.1&call_timeout=1"
    flaky = f"{NAME}?inner=dwave:mock&{rates}&folder={tmp_path / 'vendor'}"
    words = (*SELECTORS["annealed"], "replay=annealed", f"backend='{flaky}'", f"logdir={tmp_path / 'run'}")
    assert train(*words) == 0
    figures = last(tmp_path / "run", "annealed")
    assert 0.0 < figures["fallback_rate"] <= 1.0
    assert (tmp_path / "run" / "ledger.sqlite").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("backend=quantum",), "backend=quantum: no such backend"),
        (("replay=annealed", "replay.engine=dpp", "backend=dwave:mock"), "replay.engine=dpp: runs on no backend"),
        (("replay=markov", "deterministic=true", "replay.inline=false"), "replay.inline=false: true is accepted with"),
        (("replay=annealed", "replay.pool=1"), "replay.pool=1: "),
        (("budget={shots: -1}",), "budget.shots=-1"),
    ],
)
def test_wrong_input(words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(*words, f"logdir={tmp_path / 'run'}") == 2
    assert message in line_of(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", [*registry.SELECTORS, "mixture"])
def test_a_mixture_takes_every_selector_as_a_component(name: str) -> None:
    options = "components:{curious:{share:1.0}}," if name == "mixture" else ""
    words = ["replay=mixture", f"replay.components.{name}={{{options}share:0.7}}"]
    config = train_config(words, configs_folder())
    assert config.selector_options["components"][name]["share"] == 0.7
    if name != "mixture":
        mine = f"replay.components={{mine:{{selector:{name},share:2}}}}"
        config = train_config(["replay=mixture", mine, "~replay.components.uniform"], configs_folder())
        assert [*config.selector_options["components"]] == ["prioritized", "mine"]
    wrong = f"replay.components.{name}={{{options}share:1.0,colour:red}}"
    with pytest.raises(UsageError, match=f"replay.components.{name}.colour: no such option"):
        train_config(["replay=mixture", wrong], configs_folder())


def test_a_mixture_of_planned_and_curious_batches_trains_and_continues(tmp_path: Path) -> None:
    part = "annealed:{share:0.5,pool:8,reads:8,plans:2,inline:true},curious:{share:0.5}"
    words = ("replay=mixture", f"replay.components={{{part}}}", "deterministic=true", f"logdir={tmp_path}")
    assert train(*words, "steps=60") == 0
    assert train(*words, "steps=80") == 0
    assert [row for row in rows(tmp_path) if "replay/mixture/share" in row]
