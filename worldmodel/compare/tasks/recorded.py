"""A run folder whose run begins anew where it was stopped, and is not made again once it has finished."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worldmodel.runs.evaluation import read_evaluation
from worldmodel.runs.folder import RunFolder
from worldmodel.runs.metrics import MetricsWriter


@contextmanager
def recorded(config: Mapping[str, Any], name: str) -> Iterator[tuple[Path, MetricsWriter | None]]:
    """The folder of a run and its metrics, which are None where it has finished before.

    config: by key; its logdir `auto` is runs/NAME. Raises RunFolderError for the folder of another configuration.
    """
    with RunFolder(f"runs/{name}" if config["logdir"] == "auto" else config["logdir"]) as folder:
        folder.compare(dict(config), ("logdir",))
        done = read_evaluation(folder.path)
        if done and done["finished"]:
            print(f"{folder.path}: finished with loss {-done['mean']:.4g}")
            yield folder.path, None
            return
        folder.begin(dict(config))
        with MetricsWriter(folder.path) as writer:
            yield folder.path, writer
