"""The run folder: ownership through kills and forks, config.yaml, cutting back, files that a full disk cannot halve."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import worldmodel
from tests.worldmodel.train.runs import full_disk
from worldmodel.runs import provenance
from worldmodel.runs.atomic_file import WriteError, atomic_file
from worldmodel.runs.folder import RunFolder, RunFolderError, read_config

ROOT = Path(worldmodel.__file__).parent.parent
CONFIG: dict[str, Any] = {
    "steps": 100,
    "logdir": "runs/x",
    "env": {"id": "CartPole-v1", "kwargs": {}, "resize": (64, 64)},
    "log": {"every": 10.0, "tags": ["a"]},
    "rate": 1e-5,
}


FIRST, SECOND = (f"events.out.tfevents.{number:017d}.host.1" for number in (1, 2))


@contextmanager
def owner(path: Path, then: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that owns the folder, and a line that it printed."""
    code = "import os, sys, time\nfrom worldmodel.runs.folder import RunFolder\n"
    code += f"folder = RunFolder({str(path)!r})\n{then}\n"
    code += "print(os.getpid(), flush=True)\ntime.sleep(60)\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_one_process_at_a_time_owns_it(tmp_path: Path) -> None:
    with owner(tmp_path / "run") as (process, _):
        with pytest.raises(
            RunFolderError, match=rf"logdir=.*run: in use by process {process.pid} on .+ since 20"
        ) as caught:
            RunFolder(tmp_path / "run")
        assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with RunFolder(tmp_path / "run"), pytest.raises(RunFolderError, match=f"process {os.getpid()} "):
            RunFolder(tmp_path / "run")
        with RunFolder(tmp_path / "run"):
            pass


def test_a_forked_worker_that_outlives_its_parent_does_not_own_it(tmp_path: Path) -> None:
    fork = "if (child := os.fork()) == 0:\n    time.sleep(60); os._exit(0)\nos.getpid = lambda: child"
    with owner(tmp_path / "run", then=fork) as (process, child):
        try:
            process.send_signal(signal.SIGKILL)
            process.wait()
            os.kill(int(child), 0)  # it lives
            deadline = time.monotonic() + 5  # the child may still be on its way to drop the lock
            while True:
                try:
                    RunFolder(tmp_path / "run").close()
                    break
                except RunFolderError:
                    assert time.monotonic() < deadline
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_a_child_that_closes_it_does_not_give_it_up(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        child = os.fork()
        if child == 0:
            folder.close()
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(RunFolderError, match="in use"):
            RunFolder(folder.path)


def test_unused_folder_leaves_nothing(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run").close()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").mkdir()
    RunFolder(tmp_path / "old").close()
    assert list((tmp_path / "old").iterdir()) == []


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for path, text in (
        (tmp_path / "file", "is a file; a folder is accepted"),
        (tmp_path / "file/run", "Not a directory"),
        (Path("/proc/run"), "cannot be used"),
    ):
        with pytest.raises(RunFolderError, match=text) as caught:
            RunFolder(path)
        assert caught.value.exit_code == 2 and f"logdir={path}: " in str(caught.value)
    assert (tmp_path / "file").read_text() == "precious"


def test_config_says_what_ran_where(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        assert folder.config() is None
        folder.write_config(CONFIG)
        written = yaml.safe_load((folder.path / "config.yaml").read_text())
        assert written["steps"] == 100 and written["env"]["resize"] == [64, 64] and written["rate"] == 1e-5
        assert written["versions"].keys() == {"worldmodel", "python", "torch", "gymnasium", "numpy"}
        assert written["versions"]["torch"] == str(torch.__version__).partition("+")[0] or str(torch.__version__)
        assert written["hardware"].keys() == {"cpu", "cores", "memory_gib", "gpu"} and written["hardware"]["cores"] >= 1
        assert written["commit"] is None or len(written["commit"].removesuffix("-dirty")) == 40
        assert folder.config() == read_config(folder.path) == {**CONFIG, "env": {**CONFIG["env"], "resize": [64, 64]}}


def test_the_commit_is_read_without_writing_to_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file := tmp_path / "worldmodel/runs/provenance.py").parent.mkdir(parents=True)
    file.write_text("1")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=me", "-c", "user.email=me@here"]
    for words in (["init"], ["add", "."], ["commit", "-m", "first"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    monkeypatch.setattr(provenance, "__file__", str(file))
    os.utime(file, (0, 0))  # git looks into the file, and would note in its index that it is the same
    index = (tmp_path / ".git/index").stat().st_ino
    with full_disk(0):
        assert provenance.provenance()["commit"] == commit
    assert (tmp_path / ".git/index").stat().st_ino == index and not (tmp_path / ".git/index.lock").exists()
    file.write_text("2")
    assert provenance.provenance()["commit"] == f"{commit}-dirty"


def test_continuing_may_change_only_what_may_change(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        folder.compare(CONFIG, ())
        folder.write_config(CONFIG)
        folder.compare(CONFIG, ())
        changed = {**CONFIG, "steps": 200, "log": {"every": 1.0, "tags": []}, "logdir": "moved"}
        folder.compare(changed, ("steps", "log", "logdir"))
        env = {"id": "Acrobot-v1", "kwargs": {"a": 1}}
        with pytest.raises(RunFolderError) as caught:
            folder.compare({**changed, "env": env}, ("steps", "log.every", "logdir"))
        assert caught.value.exit_code == 2
        assert str(caught.value) == (
            f"logdir={folder.path}: holds a run of another configuration: env.id was CartPole-v1, is Acrobot-v1; "
            'env.kwargs.a was absent, is 1; log.tags was ["a"], is []; env.resize was [64, 64], is absent; '
            "give the same or another logdir"
        )


def test_continuing_takes_a_nan_and_a_key_that_earlier_versions_did_not_have(tmp_path: Path) -> None:
    before = {**CONFIG, "env": {**CONFIG["env"], "kwargs": {"x": float("nan")}}}  # type: ignore[dict-item]
    with RunFolder(tmp_path / "run") as folder:
        folder.write_config(before)
        folder.compare({**before, "eval": {"environments": "own"}}, ())
        with pytest.raises(RunFolderError, match=r"eval\.environments was own, is shared"):
            folder.compare({**before, "eval": {"environments": "shared"}}, ())
        for fan_in in ("block", "all"):  # what was drawn before the key was there stays as it is
            folder.compare({**before, "size": {"fan_in": fan_in}}, ())


def test_a_removed_key_that_says_what_is_done_still_is_read_over(tmp_path: Path) -> None:
    before = {**CONFIG, "replay": {"selector": "markov", "pool": 9}}
    with RunFolder(tmp_path / "run") as folder:
        folder.write_config(
            {**before, "replay": {**before["replay"], "normaliser": "pool", "normaliser_queries": 1024}}
        )
        assert folder.config()["replay"] == before["replay"]  # type: ignore[index]
        folder.compare(before, ())
        folder.write_config({**before, "replay": {**before["replay"], "normaliser": "amplitude"}})
        with pytest.raises(RunFolderError, match=r"replay\.normaliser was amplitude, is pool"):
            folder.compare(before, ())


def test_config_cut_short_anywhere_is_refused_or_still_complete(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        folder.write_config(CONFIG)
        whole, config = (folder.path / "config.yaml").read_bytes(), folder.config()
        for size in range(len(whole)):
            (folder.path / "config.yaml").write_bytes(whole[:size])
            try:
                assert folder.config() == config and size > whole.index(b"hardware:")
            except RunFolderError as error:
                assert "config.yaml is" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("content", [b"a: [1,\n", b"\xff\xfe\xfa", b"services:\n  web: {}\n", b"3", b"\0"])
def test_foreign_config(tmp_path: Path, content: bytes) -> None:
    with RunFolder(tmp_path / "run") as folder:
        (folder.path / "config.yaml").write_bytes(content)
        with pytest.raises(RunFolderError, match="its config.yaml is damaged, or not a run's; give another logdir"):
            folder.compare(CONFIG, ())


def test_no_run_to_read(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no run: it has no config.yaml"):
        read_config(tmp_path / "absent")


def test_cut_back(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        metrics, first, second = (folder.path / name for name in ("metrics.jsonl", FIRST, SECOND))
        metrics.write_text("one\n")
        first.write_text("event")
        marks = folder.marks()
        assert marks == {"metrics.jsonl": 4, FIRST: 5}
        metrics.write_text("one\ntwo\nthr")
        first.write_text("event event")
        second.write_text("event")
        (folder.path / "evaluation.json").write_text("{}")
        assert folder.cut_back(marks) == []
        assert metrics.read_text() == "one\n" and first.read_text() == "event" and not second.exists()
        assert (folder.path / "evaluation.json").exists()
        first.write_text("ev")
        metrics.unlink()
        assert sorted(folder.cut_back(marks)) == [FIRST, "metrics.jsonl"]
        assert folder.cut_back({}) == [] and folder.marks() == {}


@pytest.mark.parametrize(
    ("text", "left", "changed"),
    [
        ('{"step": 1}\n{"step": 2}', '{"step": 1}\n{"step": 2}\n', []),
        ('{"step": 1}\n{"ste', '{"step": 1}\n', ["metrics.jsonl"]),
        ('{"ste', "", ["metrics.jsonl"]),
        ("", "", ["metrics.jsonl"]),
        ('{"step": 1}\n{"step": 2}\n{"step', '{"step": 1}\n{"step": 2}\n', []),
    ],
)
def test_the_next_row_begins_a_line(tmp_path: Path, text: str, left: str, changed: list[str]) -> None:
    """Metrics that end within a row, or that an editor has saved without the last line's end."""
    with RunFolder(tmp_path / "run") as folder:
        metrics = folder.path / "metrics.jsonl"
        metrics.write_text('{"step": 1}\n{"step": 2}\n')
        marks, sums = folder.marks(), folder.sums()
        metrics.write_text(text)
        assert folder.cut_back(marks, sums) == changed
        assert metrics.read_text() == left


def test_nothing_is_cut_back_beside_what_is_no_file(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        first, metrics = folder.path / FIRST, folder.path / "metrics.jsonl"
        first.write_text("event event")
        for make in (metrics.mkdir, lambda: os.mkfifo(metrics)):
            make()
            with pytest.raises(RunFolderError, match=r"^logdir=.*: its metrics.jsonl is no file; move it away$"):
                folder.cut_back({FIRST: 5, "metrics.jsonl": 7})
            assert first.read_text() == "event event"
            metrics.rmdir() if metrics.is_dir() else metrics.unlink()


def test_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "latest.pt"
    path.write_bytes(b"old")
    with full_disk(1_000_000):
        for size in (10_000, 300_000, 1_000_000):  # within the buffer, at the end, in the middle
            full = pytest.raises(WriteError, match=r"latest.pt: cannot be written: File too large")
            with full as caught, atomic_file(path) as file:
                file.write(b"x" * 999_000)
                torch.save({"weight": torch.zeros(size)}, file)
            assert caught.value.exit_code == 1
            assert [child.name for child in tmp_path.iterdir()] == ["latest.pt"] and path.read_bytes() == b"old"
    with pytest.raises(WriteError, match="No such file or directory"), atomic_file(tmp_path / "absent/x"):
        pass


def test_full_disk_does_not_halve_the_config(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        folder.write_config(CONFIG)
        with full_disk(64), pytest.raises(WriteError, match="config.yaml: cannot be written"):
            folder.write_config({**CONFIG, "steps": 200})
        config = folder.config()
        assert config and config["steps"] == 100


def test_a_fault_of_the_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_file(path) as file:
        file.write(b"old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as file:
        file.write(b"new")
        _ = 1 / 0
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_killed_while_writing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import os, pathlib, signal\nfrom worldmodel.runs.atomic_file import atomic_file\n"
        f"with atomic_file(pathlib.Path({str(path)!r})) as file:\n"
        "    file.write(b'new' * 1_000_000)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == -signal.SIGKILL and path.read_bytes() == b"old"
    with atomic_file(path) as file:
        file.write(b"newer")
    assert path.read_bytes() == b"newer" and list(tmp_path.iterdir()) == [path]
