"""Reports of made-up runs: their figures against scipy, failures, costs, and the page in a real browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from hybrid_opt import Qubo
from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import AnnealProgram
from tests.worldmodel.compare.comparisons import fill, plan, report, write_run
from worldmodel.compare.costs import QuantumCost, quantum_cost
from worldmodel.compare.document import Code, Document, Picture, Section, Table
from worldmodel.compare.execution import Failures
from worldmodel.compare.plan import Plan
from worldmodel.compare.report import write
from worldmodel.compare.results import collected
from worldmodel.compare.tensorboard import FILE, write_layout

TWO = ["suite=smoke", "controls=false", "arms=[classical,annealed,prioritized]", "seeds=10"]
MEANS = {"classical": 200.0, "annealed": 350.0, "prioritized": 205.0}


def drawn(task: str, arm: str, seed: int) -> float:
    return float(np.random.default_rng([len(arm), seed]).normal(MEANS[arm], 30))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    folder = tmp_path_factory.mktemp("comparison")
    made = plan(*TWO)
    fill(made, folder, drawn)
    write(report(made, folder), folder)
    write_layout(folder, made, collected(made, folder, Failures(folder)))
    return made, folder


@pytest.mark.slow
def test_the_figures_are_scipys(written: tuple[Plan, Path]) -> None:
    found = json.loads((written[1] / "results.json").read_text())
    values = {arm: np.array([drawn("cartpole", arm, seed) for seed in range(10)]) for arm in MEANS}
    scores = {arm: (value - 10) / 490 for arm, value in values.items()}
    for arm in MEANS:
        assert found["scores"][arm]["value"] == pytest.approx(stats.trim_mean(scores[arm], 0.25))
        np.testing.assert_allclose(found["returns"][arm]["cartpole"], values[arm])
    tests = {test["arm"]: test for test in found["tests"] if test["against"] == "classical"}
    assert [tests[arm]["verdict"] for arm in ("annealed", "prioritized")] == ["helps", "no difference seen"]
    for arm, test in tests.items():
        u = stats.mannwhitneyu(scores[arm], scores["classical"]).statistic
        assert test["improvement"]["value"] == pytest.approx(u / 100)
        p = stats.permutation_test(
            (scores[arm], scores["classical"]),
            lambda x, y, axis: np.abs(stats.trim_mean(x, 0.25, axis) - stats.trim_mean(y, 0.25, axis)),
            alternative="greater",
            n_resamples=5000,
            vectorized=True,
            rng=np.random.default_rng(0),
        ).pvalue
        assert test["p"] == pytest.approx(p, abs=0.025)
    assert tests["annealed"]["holm"] == pytest.approx(2 * tests["annealed"]["p"])


def test_the_verdict_comes_first_in_plain_words(written: tuple[Plan, Path]) -> None:
    made, folder = written
    text = (folder / "report.md").read_text()
    lead = (
        "Against classical at equal environment steps: annealed helps; prioritized shows no difference at this power."
    )
    assert text.split("\n")[2] == f"**{lead}**"
    assert re.search(r"10 seeds see a true difference of 0\.\d+ with a power of 80 %", text)
    assert "annealed against its control prioritized: helps." in text
    assert made.hash in text and "python -m worldmodel.compare suite=smoke" in text
    for name in ("scores", "curves-cartpole", "profiles", "improvement"):
        assert f"(figures/{name}.png)" in text
        assert (folder / "figures" / f"{name}.png").stat().st_size < 60_000
    for column in text.split("\n\n"):  # every row of a table has as many cells as its head
        rows = [line.replace("\\|", "") for line in column.split("\n") if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1


@pytest.mark.slow
def test_many_arms_are_drawn_in_panels_of_those_that_belong_together(tmp_path: Path) -> None:
    made = plan("suite=cartpole", "seeds=10", "arms=[classical,annealed,boltzmann]", "controls=[ppo,annealed_pivotal]")
    assert made.groups == [list(made.arms)]  # few
    made = plan("suite=cartpole", "seeds=10", "arms=[classical,annealed,boltzmann]")
    fill(made, tmp_path, lambda task, arm, seed: None if arm == "ppo" else 100.0 + len(arm) + seed)
    pictures = {block.name: block for section in report(made, tmp_path).document().sections for block in section.blocks
                if isinstance(block, Picture)}  # fmt: skip
    panels = [
        ["classical", "ppo", "off_policy"],
        ["classical", "annealed", "annealed_pivotal", "annealed_shuffled", "prioritized"],
        ["classical", "boltzmann", "boltzmann_rbm", "boltzmann_shuffled", "prioritized"],
    ]
    assert made.groups == panels
    for name in ("curves-cartpole", "profiles"):
        seen = [axes.get_legend_handles_labels()[1] for axes in pictures[name].figure.axes]
        assert seen == [["classical", "off_policy"], *panels[1:]]  # what has not ended is left out


@pytest.mark.slow
def test_a_control_that_does_as_well_takes_the_credit(tmp_path: Path) -> None:
    made = plan("suite=smoke", "seeds=10", "arms=[classical,annealed]")
    good = {"annealed", "annealed_pivotal"}
    fill(made, tmp_path, lambda task, arm, seed: (400.0 if arm in good else 100.0) + (7 * seed + len(arm)) % 10)
    text = "\n".join(str(block) for block in report(made, tmp_path)._verdict())
    assert "annealed against classical: helps" in text
    assert "annealed against its control annealed_pivotal: no difference seen" in text
    assert "annealed against its control prioritized: helps" in text
    assert "What helps need not be the quantum part: nothing shows it better than annealed_pivotal." in text


@pytest.mark.slow
def test_failed_runs_count_as_the_lowest(tmp_path: Path) -> None:
    made = plan(*TWO)
    fill(made, tmp_path, lambda task, arm, seed: None if (arm, seed) == ("annealed", 3) else 5.0 + seed)
    failures = Failures(tmp_path)
    for _ in range(2):
        failures.add("cartpole/annealed/seed-3", "exit code 1: it | broke")
    found = report(made, tmp_path)
    assert found.returns["annealed"]["cartpole"][3] == 5.0  # the lowest of all, less than what counts as 0
    assert found.figures()["failed"] == ["cartpole/annealed/seed-3"] and not found.lead.startswith("No verdict")
    write(found, tmp_path)
    assert "exit code 1: it \\| broke; exit code 1" in (tmp_path / "report.md").read_text()


def test_unfinished_comparisons_have_no_verdict(tmp_path: Path) -> None:
    made = plan(*TWO)
    fill(made, tmp_path, lambda task, arm, seed: None if arm == "annealed" or seed > 7 else drawn(task, arm, seed))
    found = report(made, tmp_path)
    assert found.lead == "No verdict: 14 of 30 runs have not ended."
    assert {test.verdict for test in found.claims} == {"no verdict"}
    write(found, tmp_path)


def test_the_area_is_the_mean_of_the_evaluations(tmp_path: Path) -> None:
    made = plan(*TWO, "suite.metric=area")
    fill(made, tmp_path, lambda task, arm, seed: 100.0)
    assert report(made, tmp_path).returns["classical"]["cartpole"] == [75.0] * 10  # of 50 and 100


def test_quantum_costs_are_those_of_the_ledger(tmp_path: Path) -> None:
    made = plan("suite=smoke", "seeds=1", "controls=false", "arms=[classical,annealed]")
    fill(made, tmp_path, lambda task, arm, seed: 1.0)
    ledger = tmp_path / made.run("cartpole", "annealed", 0).name / "ledger.sqlite"
    backend = open_backend("dwave:mock", ledger=ledger)
    qubos = (Qubo(np.diag([1.0, -1.0])), Qubo(np.diag([-1.0, 1.0])))
    for number in range(3):
        backend.submit(AnnealProgram(qubos, reads=50), f"key-{number}", seed=number).result()
    backend.close()
    results = collected(made, tmp_path, Failures(tmp_path), "dwave")
    cost = results["cartpole", "annealed"][0].quantum
    assert (cost.jobs, cost.circuits, cost.shots, cost.dollars, cost.unfit) == (3, 6, 300, 0.0, 0)
    assert cost.estimated_seconds == pytest.approx(6 * 0.015 + 300 * (20e-6 + 150e-6))
    assert cost.estimated_dollars == pytest.approx(0.56 * cost.estimated_seconds)
    assert results["cartpole", "classical"][0].quantum.jobs == 0
    assert collected(made, tmp_path, Failures(tmp_path), "ibm")["cartpole", "annealed"][0].quantum.unfit == 3
    write(report(made, tmp_path, "dwave"), tmp_path)
    assert "| annealed | 3 | 6 | 300 | 0 | 0 | 0.141 | 0.0790 |" in (tmp_path / "report.md").read_text()


def test_a_list_is_one_job_with_all_its_circuits(tmp_path: Path) -> None:
    backend = open_backend("dwave:mock", ledger=tmp_path / "ledger.sqlite")
    qubo = Qubo(np.diag([1.0, -1.0]))
    backend.submit([AnnealProgram((qubo,) * count, reads=10) for count in (1, 2)], "key").result()
    backend.close()
    cost = quantum_cost(tmp_path / "ledger.sqlite", [], "dwave")
    assert (cost.jobs, cost.circuits, cost.shots, cost.unfit) == (1, 3, 30, 0)


def test_what_was_simulated_is_counted_once(tmp_path: Path) -> None:
    """Counts under quantum/ are of the whole run so far; queries of selectors are those of the logged batches."""
    rows = [
        {"step": 1, "quantum/shots": 64.0, "quantum/circuits": 2.0, "quantum/queries": 5.0, "replay/queries": 7.0},
        {"step": 2, "quantum/shots": 128.0, "quantum/circuits": 4.0, "quantum/queries": 9.0, "replay/queries": 8.0},
    ]
    cost = quantum_cost(tmp_path / "ledger.sqlite", rows, None)
    assert (cost.simulated_shots, cost.simulated_circuits, cost.queries) == (128, 4, 9 + 7 + 8)
    assert quantum_cost(tmp_path / "ledger.sqlite", [], None) == QuantumCost()


@pytest.mark.slow
def test_left_out_controls_are_told(tmp_path: Path) -> None:
    made = plan("suite=smoke", "seeds=10", "controls=[annealed_pivotal]")
    fill(made, tmp_path, lambda task, arm, seed: 1.0 + seed)
    write(report(made, tmp_path), tmp_path)
    told = "Controls of annealed that did not take part: annealed_uncoupled, annealed_shuffled and prioritized."
    assert told in (tmp_path / "report.md").read_text()


def test_a_suite_of_samplers_speaks_of_trials(tmp_path: Path) -> None:
    made = plan("suite=search", "environments=[mlp_wine]", "arms=[tpe,gp]", "controls=false")
    fill(made, tmp_path, lambda task, arm, seed: -0.04 - seed / 1000 * (arm == "gp"))
    found = report(made, tmp_path)
    assert found.lead.startswith("Against tpe at equal trials: gp ")
    write(found, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "final: minus the least loss of all trials" in text and "environment steps" not in text
    assert "Trials until so many runs have once reached the threshold" in text


def test_tensorboard_shows_arms_side_by_side(written: tuple[Plan, Path]) -> None:
    events = EventAccumulator(str(written[1] / FILE))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {f"compare/cartpole/annealed/{name}" for name in ("iqm", "low", "high")} <= set(tags)
    final = events.Scalars("compare/cartpole/annealed/iqm")[-1]
    values = [drawn("cartpole", "annealed", seed) for seed in range(10)]
    assert final.step == 600 and final.value == pytest.approx(stats.trim_mean(values, 0.25), rel=1e-5)
    (event,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["cartpole", "runs"]
    series = [chart.margin.series[0] for chart in layout.category[0].chart]
    assert {tag for one in series for tag in (one.value, one.lower, one.upper)} == set(tags)


PROBE = """<script>
window.problems = [];
window.addEventListener("error", (event) => problems.push(String(event.message)));
window.addEventListener("securitypolicyviolation", (event) => problems.push(event.blockedURI));
</script>"""
LOOK = """<script>
const said = { problems: window.problems };
const column = (table, place) => Array.from(table.tBodies[0].rows, (row) => row.cells[place].textContent);
const table = Array.from(document.querySelectorAll("#tests table, #results table"))[0];
const heads = Array.from(table.querySelectorAll("th"), (head) => head.textContent);
const place = heads.indexOf("IQM of returns");
said.before = column(table, place);
const button = table.querySelectorAll("th button")[place];
button.click(); said.rising = column(table, place); said.first = button.parentElement.getAttribute("aria-sort");
button.click(); said.falling = column(table, place); said.second = button.parentElement.getAttribute("aria-sort");
table.querySelectorAll("th button")[1].click(); said.names = column(table, 1);
said.pictures = Array.from(document.querySelectorAll("figure svg"), (svg) => {
  const box = svg.getBoundingClientRect();
  return [svg.getAttribute("aria-label"), box.width, box.height, svg.querySelectorAll("path").length];
});
said.width = document.documentElement.scrollWidth; said.window = window.innerWidth;
said.paper = getComputedStyle(document.body).backgroundColor; said.ink = getComputedStyle(document.body).color;
said.lead = document.querySelector(".lead").textContent;
said.ids = Array.from(document.querySelectorAll("[id]"), (element) => element.id);
said.resources = performance.getEntriesByType("resource").map((entry) => entry.name);
document.body.textContent = JSON.stringify(said);
</script>"""
SOURCES = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
POLICY = f'<meta http-equiv="Content-Security-Policy" content="{SOURCES}">'


def browse(page: str, folder: Path, *flags: str) -> dict[str, Any]:
    """What the page is like in a headless Chromium, with everything outside of it forbidden."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    page = page.replace('<meta charset="utf-8">', f'<meta charset="utf-8">{POLICY}{PROBE}').replace(
        "</body>", f"{LOOK}</body>"
    )
    (folder / "page.html").write_text(page)
    line = [
        *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={folder / 'profile'}", *flags, "--dump-dom", (folder / "page.html").as_uri()),
    ]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    body = re.search(r"<body>(.*?)</body>", done.stdout, re.DOTALL)
    assert body, done.stderr
    found: dict[str, Any] = json.loads(body[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    return found


@pytest.mark.slow
def test_the_page_in_a_browser(written: tuple[Plan, Path], tmp_path: Path) -> None:
    page = (written[1] / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!#|data:)""", page.replace("xlink:href", "href"))
    (tmp_path / "light").mkdir()
    (tmp_path / "dark").mkdir()
    wide = browse(page, tmp_path / "light", "--window-size=1200,900")
    assert wide["problems"] == [] and wide["resources"] == []
    numbers = [float(text.replace(",", "")) for text in wide["before"]]
    assert [float(text) for text in wide["rising"]] == sorted(numbers) != numbers
    assert [float(text) for text in wide["falling"]] == sorted(numbers, reverse=True)
    assert (wide["first"], wide["second"]) == ("ascending", "descending")
    assert wide["names"] == sorted(MEANS)
    assert len(wide["pictures"]) == 4
    for label, width, height, paths in wide["pictures"]:
        assert label and width > 300 and height > 50 and paths > 5
    assert len(set(wide["ids"])) == len(wide["ids"])
    assert "annealed helps" in wide["lead"]
    dark = browse(page, tmp_path / "dark", "--window-size=500,900", "--blink-settings=preferredColorScheme=0")
    assert dark["width"] <= dark["window"] and dark["problems"] == []  # narrow as a phone: nothing hangs over
    assert (wide["paper"], wide["ink"]) == ("rgb(255, 255, 255)", "rgb(27, 31, 36)")
    assert (dark["paper"], dark["ink"]) == ("rgb(20, 23, 27)", "rgb(230, 233, 237)")


@pytest.mark.slow
def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    made = plan(*TWO, "suite.question='<script>alert(1)</script> & \"so\"'")
    fill(made, tmp_path, lambda task, arm, seed: 1.0 + seed)
    write(report(made, tmp_path), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page


@pytest.mark.slow
def test_reports_are_the_same_twice(written: tuple[Plan, Path], tmp_path: Path) -> None:
    made = written[0]
    fill(made, tmp_path, drawn)
    write(report(made, tmp_path), tmp_path)
    names = [
        "report.html",
        "report.md",
        "results.json",
        *(f"figures/{path.name}" for path in (tmp_path / "figures").iterdir()),
    ]
    for name in names:
        assert (tmp_path / name).read_bytes() == (written[1] / name).read_bytes()


def test_a_damaged_run_is_named(tmp_path: Path) -> None:
    made = plan(*TWO)
    write_run(tmp_path / made.runs[0].name, 1.0, 10, {})
    (tmp_path / made.runs[0].name / "metrics.jsonl").write_text('{"step"\n')
    with pytest.raises(Exception, match="metrics.jsonl: is damaged"):
        report(made, tmp_path)


def test_markdown_holds_no_html_of_others(tmp_path: Path) -> None:
    """Names, captions and errors come from outside; in code they are as they are."""
    evil, code = "<script>alert(1)</script> p < 0.05 `<b>`", "```\n<img onerror=x>\n```"
    table = Table((evil, "b"), ((evil, "</td>"),), caption=evil)
    Document(evil, evil, [Section("s", evil, [evil, [evil], table, Code(code, summary=evil)])]).write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "<script" not in text and "</td" not in text and "p < 0.05 `<b>`" in text
    assert f"````\n{code}\n````" in text
