"""Greedy evaluation on environments of its own, with fixed seeds."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from envs import Environments, Episode
from worldmodel.atomic_file import atomic_file, readable
from worldmodel.run_folder import EVALUATION, RunFolderError

STREAMS = 10  # at most; fixed, since the episodes depend on it
SEED = 7_777_777  # evaluation episodes are the same for every run, whatever its seed


class Plays(Protocol):
    """What can be evaluated: a Player, or anything that acts like one."""

    def initial(self, rows: int) -> Any:
        """Memory at the start."""

    def act(
        self, observation: Mapping[str, NDArray[Any]], is_first: NDArray[np.bool_], memory: Any, greedy: bool
    ) -> Any:
        """See observations [N, ...] and choose actions; both are in the new memory."""

    def action(self, memory: Any) -> NDArray[np.float32]:
        """The chosen actions as an array, float32 [N, A]."""


def evaluate(
    player: Plays,
    environments: Environments,
    episodes: int,
    between: Callable[[], None] = lambda: None,
    record: Callable[[np.ndarray], None] | None = None,
) -> list[Episode]:
    """Play `episodes` episodes greedily; returns them in the order of stream and number.

    Every stream plays its share, so that short episodes are not favoured. `between` is called after each step and may
    raise to break off. `record` gets the frames of the first stream.
    """
    quota = [episodes // environments.num + (i < episodes % environments.num) for i in range(environments.num)]
    played: list[list[Episode]] = [[] for _ in quota]
    current = environments.reset()
    memory = player.initial(environments.num)
    while any(len(done) < share for done, share in zip(played, quota, strict=True)):
        if record is not None and len(played[0]) < quota[0]:
            record(environments.render()[0])
        memory = player.act(current.observation, current.is_first, memory, greedy=True)
        step = environments.step(player.action(memory))
        for episode in step.episodes:
            if len(played[episode.stream]) < quota[episode.stream]:
                played[episode.stream].append(episode)
        current = step.current
        between()
    return [episode for stream in played for episode in stream]


def write_evaluation(
    folder: Path, played: list[Episode], step: int, checkpoint: Path, finished: int | None
) -> dict[str, Any]:
    """Write evaluation.json; returns what is in it.

    step: that the evaluated checkpoint is from; finished: the step at which training has ended, None before that.
    """
    returns = np.array([episode.ret for episode in played])
    result = {
        "returns": returns.tolist(),
        "mean": float(returns.mean()),
        "std": float(returns.std()),
        "episodes": len(played),
        "step": step,
        "checkpoint": str(checkpoint.relative_to(folder) if checkpoint.is_relative_to(folder) else checkpoint),
        "finished": finished or None,
    }
    with atomic_file(folder / EVALUATION) as file:
        file.write(json.dumps(result, indent=1).encode() + b"\n")
    return result


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """What the last evaluation wrote, None where there was none.

    Raises RunFolderError when it is damaged, and ReadError when it may not be read.
    """
    file = folder / EVALUATION
    try:
        with readable(file):
            result: dict[str, Any] = json.loads(file.read_bytes())
        return {**result, "mean": float(result["mean"]), "finished": int(result.get("finished") or 0)}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, AttributeError) as error:
        raise RunFolderError(f"logdir={folder}: its {EVALUATION} is damaged; remove it to evaluate again") from error


def finished(folder: Path, steps: int, continuable: bool) -> dict[str, Any] | None:
    """The evaluation of the run in a folder if that was trained for `steps` steps, None where there is more to do.

    Raises RunFolderError for a run that has ended before and is not `continuable`: its checkpoints are gone.
    """
    done = read_evaluation(folder)
    if not done or not done["finished"] or (done["finished"] < steps and continuable):
        return None
    if done["finished"] < steps:
        raise RunFolderError(
            f"logdir={folder}: its run has finished at step {done['finished']} and has no checkpoint to continue from; "
            "give another logdir"
        )
    return done
