"""The configuration of a search: that of training, which its trials share, and its own keys."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.layers.config import CircuitConfig
from worldmodel.cli.compose import UsageError, configured, is_group, parsed
from worldmodel.cli.overrides import word
from worldmodel.cli.schema import Catalogue, catalogue
from worldmodel.launch.launcher import LauncherChoice
from worldmodel.model.config import ModelConfig
from worldmodel.runs.later_keys import ADDED, REMOVED
from worldmodel.runs.parts import defaults, part_config
from worldmodel.search.objective import Objective
from worldmodel.search.samplers import Pruner, Sampler, within
from worldmodel.search.space import Parameter, Section, parameters
from worldmodel.search.storage import shown
from worldmodel.train.config import TrainConfig

KERNEL = ("similarity", "kernel_options")
MAY_CHANGE = (  # when a search is continued
    *("trials", "workers", "logdir", "launcher", "heartbeat"),
    *("device", "threads", "log", "checkpoint", "env.vectorization"),
)
_WRITTEN_LATER = {  # options of solvers that earlier versions did not write into a search's identity
    "exact": "samples shuffle",
    "greedy": "evaluations shuffle",
    "annealing": "beta_range penalty descent shuffle options constraints",
    "path_integral": "beta_range penalty descent shuffle options",
    "qaoa": "training_shots mixer penalty warm_start rounding descent precision device threads",
    "grover": "queries growth oracle precision shuffle",
    "vqe": "parameters penalty descent shuffle",
}
CURVE_POINTS = 20  # of a curve of episodes, over the whole run
Positive = Annotated[int, Field(ge=1)]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True), kw_only=True)
class SearchConfig(TrainConfig):
    """A search: the keys of training are those that every trial has in common."""

    trials: Positive = 50
    """trials of the whole search, those that are pruned or fail included"""
    workers: Positive = 1
    """trials that run at once"""
    objective: Objective = "final_return"
    """what is maximised: final_return, return_area (under the curve) or return_per_minute"""
    curve: Literal["auto", "eval/return", "episode/return"] = "auto"
    """what pruners and return_area look at: eval/return, episode/return, or auto: eval/return where eval.every is
    shorter than the run"""
    storage: str = "auto"
    """any Optuna URL, such as postgresql://USER@HOST/DATABASE for many machines; auto: a SQLite file in the search's
    folder"""
    study: str = "auto"
    """name of the study in the storage; auto: the name of the folder"""
    heartbeat: Positive = 60
    """seconds between a running trial's signs of life in the storage; after five of them without, it is tried again"""
    logdir: str = "auto"
    """the search's folder, with a run's folder for each trial; auto: one under runs/ that the same command finds
    again"""
    space: Section = field(default_factory=dict)
    sampler: Sampler
    pruner: Pruner
    launcher: LauncherChoice

    @model_validator(mode="after")
    def _objective_exists(self) -> Self:
        if self.objective != "return_area" and not self.eval.final_episodes:
            raise ValueError(f"eval.final_episodes=0: objective={self.objective} needs them; return_area is accepted")
        if self.curve == "eval/return" and not 0 < self.eval.every <= self.steps:
            raise ValueError(
                f"curve=eval/return: needs evaluations during training; eval.every={self.eval.every} of"
                f" steps={self.steps} gives none; curve=episode/return is accepted"
            )
        return self

    @property
    def metric(self) -> str:
        """The metric of the curve."""
        if self.curve != "auto":
            return self.curve
        return "eval/return" if 0 < self.eval.every < self.steps else "episode/return"

    @property
    def interval(self) -> int:
        """Steps between points of the curve."""
        return self.eval.every if self.metric == "eval/return" else max(1, self.steps // CURVE_POINTS)

    @property
    def proposer(self) -> Sampler:
        """The sampler, whose simulated circuits have the noise of the run."""
        return within(self.sampler, self.noise)

    def identity(self) -> dict[str, Any]:
        """What makes the search what it is: the configuration without what may change, and without passwords."""
        storage = self.storage if self.storage == "auto" else shown(self.storage)
        values = {**self.as_dict(), "storage": storage}
        plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
        usual = {"eval.environments": ADDED["eval.environments"], "optimizer.angles": ADDED["optimizer.angles"]}
        for name, value in {**usual, "size.fan_in": "all"}.items():
            section, _, key = name.partition(".")
            if plain[section][key] == value:  # logdir=auto finds an earlier search again
                del plain[section][key]
        if plain["replay"]["selector"] in ("boltzmann", "markov"):  # likewise
            plain["replay"] |= REMOVED
        if plain["replay"].get("similarity") in ("cosine", "codes"):  # as before kernels could be given
            plain["replay"] = {key: plain["replay"][key] for key in plain["replay"] if key not in KERNEL}
        for name, default in (("model", ModelConfig()), ("circuit", CircuitConfig())):
            if getattr(self, name) == default:  # as of searches that had no such section
                del plain[name]
        if plain["noise"] == {"name": "none"}:
            del plain["noise"]
        plain["solver"] = _as_earlier(plain["solver"])
        if isinstance(plain["optimizer"].get("solver"), dict):
            plain["optimizer"]["solver"] = _as_earlier(plain["optimizer"]["solver"])
        return {key: value for key, value in plain.items() if key not in MAY_CHANGE}

    def folder(self) -> str:
        """The search's folder: for `auto` one that the same command finds again."""
        if self.logdir != "auto":
            return self.logdir
        name = self.env.id.replace("/", "-").replace(":", "-")
        digest = hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()
        return f"runs/search-{name}-{digest[:8]}"


def _as_earlier(solver: Mapping[str, Any]) -> dict[str, Any]:
    """A solver without those options at their defaults that earlier versions did not write."""
    schema = part_config("solver", solver.get("name"))
    later = _WRITTEN_LATER.get(str(solver.get("name")), "").split()
    usual = {key: value for key, value in (defaults(schema) if schema else {}).items() if key in later}
    return {key: value for key, value in solver.items() if key not in usual or value != usual[key]}


def training_words(words: Sequence[str], configs: Path) -> list[str]:
    """The words of a search that are for training."""
    search, train = (catalogue(configs, name) for name in ("search", "train"))
    own = _roots(search) - _roots(train) | {"logdir"}
    return [word for word in words if str(parsed(word).key_or_group).partition(".")[0] not in own]


def searched(space: Section, words: Sequence[str], configs: Path) -> dict[str, Parameter]:
    """The parameters of a space, without those that the words of training give. Raises UsageError.

    Every parameter is a key of training, and training takes its lowest, its highest and each of several values.
    """
    training = catalogue(configs, "train")
    overrides = [parsed(word) for word in words]
    given = [(str(override.key_or_group), is_group(override, training)) for override in overrides]
    found = {
        key: parameter
        for key, parameter in parameters(space).items()
        if not any(key == name or (not group and key.startswith(f"{name}.")) for name, group in given)
    }
    if not found:
        given_keys = f" but {', '.join(names)}, given on the command line" if (names := list(parameters(space))) else ""
        raise UsageError(f"space: holds no key{given_keys}; 'space.KEY={{type:float,low:1e-4,high:1e-2}}' is accepted")
    if "logdir" in found:
        raise UsageError("space.logdir: cannot be searched; every trial has a folder of its own")
    corners = {key: parameter.corners() for key, parameter in found.items()}
    for number in range(max(map(len, corners.values()))):
        chosen = {key: values[min(number, len(values) - 1)] for key, values in corners.items()}
        try:
            train_config([*words, *(word(key, value) for key, value in chosen.items())], configs)
        except UsageError as error:
            raise UsageError(f"space: {error}") from None
    return found


def train_config(words: Sequence[str], configs: Path) -> TrainConfig:
    """What `worldmodel.train` makes of words. Raises UsageError."""
    return configured("train", TrainConfig, words, configs)


def as_mapping(words: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Words and, in the place of those of the same keys, values, as @FILE takes them."""
    mapping: dict[str, Any] = {}
    for override in map(parsed, words):
        key = f"~{override.key_or_group}" if override.is_delete() else str(override.input_line).partition("=")[0]
        mapping[key] = None if override.is_delete() else override.value()
    return {**{key: value for key, value in mapping.items() if key not in values}, **values}


def _roots(catalogue: Catalogue) -> set[str]:
    return {key.partition(".")[0].partition("@")[0] for key in (*catalogue.keys, *catalogue.groups)}
