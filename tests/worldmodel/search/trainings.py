"""A stand-in for `worldmodel.train` that starts in milliseconds, for tests of what searches do around it."""

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optuna
from pydantic import TypeAdapter

from worldmodel.search import worker
from worldmodel.search.trial import Work

TRAIN = """
import json, os, signal, sys, time
words = dict(word.split("=", 1) for word in sys.argv[1:])
x, folder = float(words.get("x", 0)), words["logdir"]
if words.get("crash") and x > float(words["crash"]):
    sys.stderr.write("a line\\nerror: the wheel fell off\\n\\n")
    sys.exit(1)
if words.get("killed"):
    os.kill(os.getpid(), signal.SIGKILL)
def stop(number, frame):
    open(folder + "/saved", "w").write(str(step))
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
pause = 0 if x > float(words.get("quick", 1)) else float(words.get("pause", 0))
begin = int(open(folder + "/saved").read()) if os.path.exists(folder + "/saved") else 0
print("from", begin, flush=True)
with open(folder + "/metrics.jsonl", "a") as rows:
    for step in range(begin + 1, 11):
        rows.write(json.dumps({"step": step, "episode/return": x, "time/seconds": 3.0 * step}) + "\\n")
        rows.flush()
        time.sleep(pause)
if not words.get("mute"):
    json.dump({"mean": x}, open(folder + "/evaluation.json", "w"))
"""

PARAMETER = {"type": "float", "low": 0.0, "high": 1.0}


def stand_in(folder: Path) -> tuple[str, ...]:
    """The words that start it in the place of worldmodel.search.trial.TRAIN."""
    script = folder / "train.py"
    script.write_text(TRAIN)
    return ("-S", "-E", str(script))


def work(folder: Path, /, **changes: Any) -> Work:
    """Two trials of one parameter x, whose value is x."""
    values: dict[str, Any] = {
        "storage": f"sqlite:///{folder / 'study.db'}",
        "study": "study",
        "folder": str(folder / "search"),
        "owner": "here",
        "worker": "first",
        "entropy": [0, 0],
        "trials": 2,
        "heartbeat": 60,
        "words": [],
        "space": {"x": PARAMETER},
        "sampler": {"name": "random", "seed": 0},
        "pruner": {"name": "none"},
        "objective": "final_return",
        "curve": "episode/return",
        "interval": 1,
        "points": 10,
    }
    return TypeAdapter(Work).validate_python({**values, **changes})


def study(given: Work) -> optuna.Study:
    """The study of a worker."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    return optuna.load_study(study_name=given.study, storage=given.storage)


def side_by_side(works: Iterable[Work]) -> None:
    """Run workers at the same time, each to its end."""
    threads = [threading.Thread(target=worker.run, args=(given, threading.Event())) for given in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
