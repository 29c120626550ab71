"""Folders that are not ours, damaged or unreadable files, lost checkpoints: told in one line, and nothing is lost."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from tests.worldmodel.train.runs import Starter, evaluate, line_of, rows, train
from worldmodel.cli.command import command
from worldmodel.runs import folder as run_folder
from worldmodel.runs.atomic_file import ReadError
from worldmodel.runs.checkpoint import checkpoints
from worldmodel.runs.metrics import MetricsWriter
from worldmodel.runs.saved_state import load_state
from worldmodel.runs.yaml import read_yaml

WORDS = ("steps=60", "eval.every=30", "eval.episodes=1", "eval.final_episodes=1")
MORE = (*WORDS, "steps=80")
EVENTS = "events.out.tfevents.1700000000.host.7.0"  # as others name them


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended, with two checkpoints."""
    path = tmp_path_factory.mktemp("runs") / "run"
    assert train(*WORDS, f"logdir={path}", "steps=50") == 0
    assert train(*WORDS, f"logdir={path}") == 0
    return path


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def flip(path: Path, place: bytes | None = None) -> None:
    """Flip a bit in the middle of a file, or behind the last of these bytes."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else data.rindex(place) + 1] ^= 1
    path.write_bytes(data)


FOREIGN = {
    "metrics.jsonl": b'{"loss": 1}\n',
    EVENTS: b"events",
    "evaluation.json": b'{"mean": 3.0, "finished": 1000000}',
    "replay/0.bin": b"precious",
    "checkpoints/step-000000000010-000000/state.pt": b"weights",
    "policy.npz": b"a policy",
    "best.yaml": b"lr: 1",
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("how", ["train", "tune", "baseline", "search"])
def test_a_folder_with_files_of_others_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, how: str
) -> None:
    file = tmp_path / "run" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(FOREIGN[name])
    before = content(tmp_path)
    words = [f"logdir={tmp_path / 'run'}", "device=cpu", "threads=1"]
    if how == "train":
        code = train(*WORDS, words[0], "replay.storage=disk")
    elif how == "search":
        space = "space.optimizer.lr={type:float,low:1e-4,high:1e-2}"
        code = command("search", "worldmodel.search.run:run", [*words, "sampler=random", "trials=1", space])
    elif how == "tune":
        code = command("tune", "worldmodel.tune.run:run", [*words, "steps=10", "agent=ppo"])
    else:
        code = command("baseline", "worldmodel.baseline.run:run", [*words, "steps=10"])
    line = line_of(capsys.readouterr().err)
    assert code == 2 and f"{tmp_path / 'run'}: holds {Path(name).parts[0]}, and no config.yaml that says" in line
    assert content(tmp_path) == before


@pytest.mark.slow
def test_a_comparison_does_not_write_over_the_files_of_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("report.html", "results.json", "failures.json"):
        (tmp_path / name).write_text("{}")
    words = [f"logdir={tmp_path}", "suite=replay", "execute=false"]
    assert command("compare", "worldmodel.compare.run:run", words) == 2
    line = line_of(capsys.readouterr().err)
    assert "holds failures.json, report.html, results.json, and no plan.json that says whose they are" in line
    assert set(content(tmp_path).values()) == {b"{}"}


@pytest.mark.parametrize("module", ["train", "tune", "compare", "search", "baseline"])
def test_an_empty_logdir_is_not_the_current_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["sampler=random", "space.optimizer.lr={type:float,low:1e-4,high:1e-2}"] if module == "search" else []
    assert command(module, f"worldmodel.{module}.run:run", ["logdir=", *words]) == 2
    assert line_of(capsys.readouterr().err).startswith("logdir=: is empty; ")
    assert list(tmp_path.iterdir()) == []


def test_events_of_others_in_the_folder_of_a_run_are_left_alone(copy: Path) -> None:
    (copy / EVENTS).write_bytes(b"events")
    assert train(*MORE, f"logdir={copy}") == 0
    assert (copy / EVENTS).read_bytes() == b"events"


@pytest.mark.parametrize("line", ["steps: many", "steps: 0", "  fan_in: 7"])
def test_a_configuration_with_a_value_that_never_was(copy: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    key = line.partition(":")[0]
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(re.sub(f"^{key}: .*", line, text, flags=re.M))
    before = content(copy)
    assert train(*MORE, f"logdir={copy}") == 2
    assert f"its config.yaml is not one of this version ({'size.' * (key != 'steps')}{key.strip()}=" in line_of(
        capsys.readouterr().err
    )
    assert content(copy) == before


def test_a_finished_run_without_checkpoints_stays_finished(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy / "checkpoints")
    before = content(copy)
    assert train(*WORDS, f"logdir={copy}") == 0
    assert "finished with return" in capsys.readouterr().out
    assert train(*MORE, f"logdir={copy}") == 2
    assert "has finished at step 60 and has no checkpoint to continue from" in line_of(capsys.readouterr().err)
    assert content(copy) == before


def test_what_a_run_without_checkpoints_left_is_set_aside(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "evaluation.json").unlink()  # as if it had been killed
    for path in checkpoints(copy / "checkpoints"):
        shutil.rmtree(path)
    before = {name: data for name, data in content(copy).items() if name != "config.yaml"}
    (copy / "aside-1").mkdir()  # taken
    assert train(*WORDS, f"logdir={copy}") == 0
    assert "the run begins anew, what was there is in aside-2\n" in capsys.readouterr().out
    assert content(copy / "aside-2") == before
    assert rows(copy)[-1]["step"] == 60


def test_a_run_that_fails_before_it_measures_anything_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worldmodel.train.run.Trainer", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(*WORDS, f"logdir={tmp_path / 'run'}", "replay.storage=disk")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["state.pt", "latents.npz"])
def test_a_damaged_checkpoint_costs_nothing_and_the_advice_is_true(
    copy: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    """One flipped bit: metrics and events are as they were, and what the line says to do helps."""
    older, newest = checkpoints(copy / "checkpoints")
    flip(newest / file)
    before = content(copy)
    assert train(*MORE, f"logdir={copy}") == 2
    line = line_of(capsys.readouterr().err)
    assert f"{newest / file}: cannot be read" in line
    assert f"move {newest.name} out of {newest.parent}, and the run continues from {older.name}" in line
    assert content(copy) == before
    newest.rename(copy.parent / "moved")
    assert train(*MORE, f"logdir={copy}") == 0
    assert f"continuing at step {int(older.name.split('-')[1])}\n" in capsys.readouterr().out


def test_a_damaged_chunk_that_all_checkpoints_need(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest = checkpoints(copy / "checkpoints")[-1]
    shared = load_state(checkpoints(copy / "checkpoints")[0] / "state.pt")["files"][0]
    flip(copy / "checkpoints" / "replay" / shared)
    before = content(copy)
    for _ in range(2):
        assert train(*MORE, f"logdir={copy}") == 2
        line = line_of(capsys.readouterr().err)
        assert f"{shared}: cannot be read" in line and "move" not in line
        assert f"no checkpoint can be continued from; init={newest} with another logdir begins a run" in line
    assert content(copy) == before
    assert train(*WORDS, f"init={newest}", f"logdir={copy.parent / 'other'}") == 0


def test_a_checkpoint_of_another_optimizer_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each would be taken in part: the state of one is within that of the other."""
    hybrid, words = copy.parent / "hybrid", ("optimizer=hybrid", "solver=exact", "optimizer.every=4")
    assert train(*WORDS, *words, f"logdir={hybrid}") == 0
    (copy / "checkpoints").rename(copy.parent / "kept")
    (hybrid / "checkpoints").rename(copy / "checkpoints")
    (copy.parent / "kept").rename(hybrid / "checkpoints")
    for run, more, names in ((copy, (), ("hybrid", "laprop")), (hybrid, words, ("laprop", "hybrid"))):
        before = content(run)
        capsys.readouterr()
        assert train(*MORE, *more, f"logdir={run}") == 2
        there, here = (f"optimizer={name}" for name in names)
        newest = checkpoints(run / "checkpoints")[-1]
        line = f"{newest}: is of a run with {there}; this run has {here}; give another logdir"
        assert line_of(capsys.readouterr().err) == line
        assert content(run) == before


def test_a_damaged_best_is_set_aside(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(copy / "checkpoints" / "best.pt")
    damaged = (copy / "checkpoints" / "best.pt").read_bytes()
    assert train(*MORE, f"logdir={copy}") == 0
    out = capsys.readouterr().out
    assert "best.pt: cannot be read" in out and "it is damaged-best.pt now" in out
    assert (copy / "checkpoints" / "damaged-best.pt").read_bytes() == damaged
    assert load_state(copy / "checkpoints" / "best.pt")["step"] > 50
    assert evaluate(f"logdir={copy}", "checkpoint=best", "episodes=1") == 0


@pytest.mark.parametrize("name", ["metrics.jsonl", "events"])
def test_damage_of_the_same_size_is_noticed(copy: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (file,) = copy.glob("metrics.jsonl") if name == "metrics.jsonl" else sorted(copy.glob("events*"))[:1]
    assert train(*MORE, f"logdir={copy}", "steps=70") == 0
    assert "it was changed since" not in capsys.readouterr().out
    flip(file)
    assert train(*MORE, f"logdir={copy}") == 0
    assert f"{file}: is not what it was at the checkpoint; it was changed since\n" in capsys.readouterr().out


@contextmanager
def another_user(folder: Path) -> Iterator[None]:
    """Be a user who owns a folder and all in it, and has no privileges."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 12345, 12345)
    for above in takewhile(lambda above: above != Path(tempfile.gettempdir()), folder.parents):
        above.chmod(0o755)
    os.setegid(12345)
    os.seteuid(12345)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(
    "name",
    ["checkpoints", "newest/state.pt", "newest/latents.npz", "evaluation.json", "best.pt", "metrics.jsonl"],
)
def test_what_may_not_be_read_is_not_told_as_damage(copy: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    denied = {
        "checkpoints": copy / name,
        "evaluation.json": copy / name,
        "metrics.jsonl": copy / name,
        "best.pt": copy / "checkpoints" / name,
    }.get(name, checkpoints(copy / "checkpoints")[-1] / Path(name).name)
    before = content(copy)
    with another_user(copy):
        denied.chmod(0)
        code = train(*MORE, f"logdir={copy}")
    line = line_of(capsys.readouterr().err)
    assert code == 2 and line == f"{denied}: cannot be read: Permission denied; nothing was changed"
    assert content(copy) == before


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_metrics_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b"{}\n")
    with another_user(tmp_path), run_folder.RunFolder(tmp_path) as folder:
        (tmp_path / "metrics.jsonl").chmod(0)
        with pytest.raises(ReadError, match=r"metrics.jsonl: cannot be read: Permission denied"):
            folder.cut_back({"metrics.jsonl": 3}, {"metrics.jsonl": 0})
        (tmp_path / "metrics.jsonl").chmod(0o444)
        with pytest.raises(run_folder.RunFolderError, match=r"its metrics.jsonl may not be written; change its perm"):
            folder.cut_back({"metrics.jsonl": 1})
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"{}\n"


def test_unreadable_folders_and_files_at_unit_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied")

    assert checkpoints(tmp_path / "absent") == []
    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(ReadError, match="checkpoints: cannot be read: Permission denied; nothing was changed"):
        checkpoints(tmp_path / "checkpoints")


@pytest.mark.parametrize(
    "text",
    [
        '{"mean": 1, "finished": Infinity}',
        '{"mean": 1, "finished": ' + "9" * 5000 + "}",
        "[" * 100_000,
        "[1]",
        '{"mean": []}',
        '{"mean": 1, "finished": 60}',
        '{"mean": null, "returns": [1.0], "finished": 60}',
    ],
)
def test_a_damaged_evaluation(copy: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (copy / "evaluation.json").write_text(text)
    before = content(copy)
    assert train(*MORE, f"logdir={copy}") == 2
    assert "its evaluation.json is damaged; remove it to evaluate again" in line_of(capsys.readouterr().err)
    assert content(copy) == before


def test_metrics_that_are_a_folder_or_end_within_a_row(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = copy / "metrics.jsonl"
    metrics.rename(copy / "kept")
    metrics.mkdir()
    before = content(copy)
    assert train(*MORE, f"logdir={copy}") == 2
    assert line_of(capsys.readouterr().err) == f"logdir={copy}: its metrics.jsonl is no file; move it away"
    assert content(copy) == before
    metrics.rmdir()
    (copy / "kept").rename(metrics)
    whole = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(whole[0] + whole[1][:9])
    assert train(*MORE, f"logdir={copy}") == 0
    assert f"{metrics}: is not what it was at the checkpoint; it was changed since\n" in capsys.readouterr().out
    assert rows(copy)[-1]["step"] == 80


def test_links_in_the_place_of_files_are_not_followed(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = copy.parent / "precious"
    target.write_text("precious")
    for name in ("metrics.jsonl", sorted(path.name for path in copy.glob("events*"))[0]):
        (copy / name).rename(copy / "kept")
        (copy / name).symlink_to(target)
        assert train(*MORE, f"logdir={copy}") == 2
        assert f"its {name} is a link, which is not followed" in line_of(capsys.readouterr().err)
        (copy / "kept").replace(copy / name)
    (copy / "lock").symlink_to(target)
    assert train(*MORE, f"logdir={copy}") == 2
    assert "its lock is not a run's; give another logdir" in line_of(capsys.readouterr().err)
    (copy / "lock").unlink()
    (copy / ".evaluation.json.tmp").symlink_to(target)
    (copy / "checkpoints" / ".best.pt.tmp").symlink_to(target)
    assert train(*MORE, f"logdir={copy}") == 0
    assert target.read_text() == "precious"


def test_a_lock_of_others_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lock").write_text("a lock of apt")
    assert train(*WORDS, f"logdir={tmp_path}") == 2
    assert "its lock is not a run's" in line_of(capsys.readouterr().err)
    assert content(tmp_path) == {"lock": b"a lock of apt"}
    (tmp_path / "lock").write_text(json.dumps({"pid": 1, "host": "there", "since": "2020"}))  # of a killed run
    run_folder.RunFolder(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


@contextmanager
def at_row(count: int, happens: Callable[[], object]) -> Iterator[None]:
    """Something happens before a row of metrics is written."""
    write, rows_so_far = MetricsWriter.write, [0]

    def counting(self: MetricsWriter, step: int, values: Any) -> None:
        rows_so_far[0] += 1
        if rows_so_far[0] == count:
            happens()
        write(self, step, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetricsWriter, "write", counting)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["memory", "disk"])
@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
def test_a_folder_that_is_moved_or_removed_meanwhile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, storage: str
) -> None:
    words = (*WORDS, "steps=120", "optimizer.final_rate=1", "log.every=10", f"replay.storage={storage}")
    run, now = tmp_path / "run", tmp_path / "runs" / "now" if how == "moved" else tmp_path / "run"

    def happens() -> None:
        now.parent.mkdir(exist_ok=True)
        if how == "moved":
            run.rename(now)
            return
        shutil.rmtree(run)
        if how == "replaced":
            run.mkdir()
            (run / "lock").write_text("of another")

    assert train(*words, f"logdir={run}", "steps=60") == 0
    with at_row(3, happens):
        code = train(*words, f"logdir={run}")
    line = line_of(capsys.readouterr().err)
    if how == "replaced":
        assert code == 2 and line == f"logdir={run}: was replaced while the run used it; nothing is saved"
        assert content(run) == {"lock": b"of another"}
        return
    what = f"was moved to {now}" if how == "moved" else "was removed"
    assert code == 1 and line.startswith(f"logdir={run}: {what} while the run used it; saved at step ")
    assert line.endswith(f"; logdir={now} continues it") and run.exists() == (now == run)
    assert train(*words, f"logdir={now}") == 0
    assert "continuing at step " in capsys.readouterr().out
    assert run.exists() == (now == run) and rows(now)[-1]["step"] == 120


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
YAML = {
    "a number of thousands of digits": "steps: " + "9" * 5000,
    "a date": "steps: 2020-01-01",
    "a key that is no text": "2020-01-01: 1",
    "nesting": "a: " + "[" * 50_000,
    "aliases": BOMB,
}


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_a_damaged_config(copy: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(f"{config}\nother: 1\n{text}\n")
    assert train(*MORE, f"logdir={copy}") == 2
    assert "its config.yaml is damaged, or not a run's; give another logdir" in line_of(capsys.readouterr().err)


@pytest.mark.parametrize("name", ["a number of thousands of digits", "nesting", "aliases"])
def test_a_file_of_words_that_no_parser_should_see(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "words.yaml").write_text(YAML[name])
    assert train(f"@{tmp_path / 'words.yaml'}") == 2
    assert line_of(capsys.readouterr().err) == f"@{tmp_path / 'words.yaml'}: keys with values are accepted, as YAML"


def test_aliases_that_stay_small_are_read() -> None:
    assert read_yaml("a: &x {b: [1, 2]}\nc: [*x, *x]") == {"a": {"b": [1, 2]}, "c": [{"b": [1, 2]}] * 2}


def test_an_environment_that_ends_the_process_as_if_all_were_done(tmp_path: Path, forks: Starter) -> None:
    (flag := tmp_path / "flag").touch()
    environment = ("env.id=tests.worldmodel.worlds:Fragile-v0", f"env.kwargs={{flag:{flag},how:leave}}")
    code, _, err = forks.run(tmp_path / "run", *WORDS, *environment).finish()
    assert code == 1
    assert line_of(err) == "os._exit(0) was called in this process, by an environment or a library of it"
