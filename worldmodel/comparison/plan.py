"""The plan of a comparison: what is compared and how it is judged, fixed before the first run."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

import yaml

from worldmodel.atomic_file import atomic_file
from worldmodel.catalogue import Catalogue
from worldmodel.command import configs_folder
from worldmodel.comparison.config import ArmConfig, CompareConfig, TaskConfig
from worldmodel.comparison.running import Run
from worldmodel.composition import UsageError, composed
from worldmodel.run_folder import RunFolderError, differences
from worldmodel.validation import validated

PLAN = "plan.json"
ALPHA = 0.05
CLAIM_SEEDS = 10  # fewer give no verdict
TESTS = {
    "statistic": "difference of the interquartile means of the scores, (return - low) / (high - low)",
    "test": "two-sided permutation test within environments, 10,000 permutations",
    "correction": "Holm, over arms against the reference, and over arms against their controls",
    "interval": "95 %, stratified bootstrap, 10,000 resamples",
    "alpha": ALPHA,
    "seeds for a verdict": CLAIM_SEEDS,
    "failed runs": "count as the lowest return of all runs of the environment, or as low where that is less",
    "random seed": 0,
}


@dataclass(frozen=True)
class Arm:
    """An arm of a plan. role: reference, arm, or control, which is there for the sake of others."""

    name: str
    role: str
    config: ArmConfig
    configs: Mapping[str, Mapping[str, Any]]  # environment -> the complete configuration of its runs, but for the seed
    words: Mapping[str, tuple[str, ...]]  # environment -> words of its runs, but for the seed


@dataclass(frozen=True)
class Plan:
    """What is compared, the runs that it takes, and how it is judged."""

    suite: str
    question: str
    metric: str
    budget: str
    seeds: int
    effects: tuple[float, ...]
    reference: str
    tasks: Mapping[str, TaskConfig]
    arms: Mapping[str, Arm]

    @property
    def claims(self) -> list[tuple[str, str]]:
        """The arms that are asked about, each with the reference."""
        return [(name, self.reference) for name, arm in self.arms.items() if arm.role == "arm"]

    @property
    def ablations(self) -> list[tuple[str, str]]:
        """The arms that are asked about, each with every one of its controls that takes part."""
        return [
            (name, control)
            for name, arm in self.arms.items()
            if arm.role != "control"
            for control in arm.config.controls
            if control in self.arms and (name, control) not in self.claims
        ]

    def run(self, task: str, arm: str, seed: int) -> Run:
        """One run."""
        module = "worldmodel.train" if self.arms[arm].config.algorithm is None else "worldmodel.baseline"
        return Run(f"{task}/{arm}/seed-{seed}", module, (*self.arms[arm].words[task], f"seed={seed}"))

    @property
    def runs(self) -> list[Run]:
        """All runs, those of a seed one after the other, so that a part of them is a comparison too."""
        return [self.run(task, arm, seed) for seed in range(self.seeds) for task in self.tasks for arm in self.arms]

    def as_dict(self) -> dict[str, Any]:
        """All of it, as it is written and hashed."""
        arms = {
            name: {"role": arm.role, **asdict(arm.config), "configs": arm.configs} for name, arm in self.arms.items()
        }
        values = {
            "suite": self.suite,
            "question": self.question,
            "metric": self.metric,
            "budget": self.budget,
            "seeds": self.seeds,
            "effects": list(self.effects),
            "reference": self.reference,
            "tests": TESTS,
            "environments": {name: asdict(task) for name, task in self.tasks.items()},
            "arms": arms,
            "commands": {run.name: [run.module, *run.words] for run in self.runs},
        }
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    @property
    def hash(self) -> str:
        """SHA-256 of the plan."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write the plan, or make sure that it is the one in the folder. Raises RunFolderError where it is another."""
        path, now = folder / PLAN, self.as_dict()
        if path.exists():
            try:
                before = json.loads(path.read_bytes())
                differing = differences(before, now, ("commands",)) or differences(before, now, ())
            except (ValueError, AttributeError):
                raise RunFolderError(f"logdir={folder}: its {PLAN} is damaged; give another logdir") from None
            if differing:
                more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
                raise RunFolderError(
                    f"logdir={folder}: holds a comparison by another plan: {'; '.join(differing[:3])}{more}; "
                    "give the same or another logdir"
                )
            return
        with atomic_file(path) as file:
            file.write(json.dumps(now, indent=1).encode() + b"\n")


def planned(config: CompareConfig, configs: Path | None = None) -> Plan:
    """The plan of a comparison, every run's configuration composed and validated. Raises UsageError."""
    configs = configs or configs_folder()
    suite = config.suite
    tasks = {name: suite.environments[name] for name in config.environments or suite.environments}
    for name, task in tasks.items():
        key = {"seconds": task.seconds, "updates": task.updates}.get(suite.budget, True)
        if key is None:
            raise UsageError(f"suite.budget={suite.budget}: suite.environments.{name}.{suite.budget} must be given")
    arms: dict[str, ArmConfig] = {name: _arm(name, config, configs) for name in config.arms}
    if config.controls:
        for name, arm in list(arms.items()):
            for control in arm.controls:
                arms.setdefault(control, _arm(control, config, configs, f" (a control of {name})"))
    trials = {name: arm.trials for name, arm in arms.items()}
    if suite.budget == "trials" and len(set(trials.values())) > 1:
        raise UsageError(f"suite.budget=trials: arms with as many tuning trials each are accepted, not {trials}")
    catalogues = {name: Catalogue(configs, name) for name in ("train", "baseline")}
    complete: dict[str, Arm] = {}
    for name, arm in arms.items():
        role = "reference" if name == config.reference else "arm" if name in config.arms else "control"
        complete[name] = _complete(name, role, arm, tasks, config, configs, catalogues)
    return Plan(
        suite=suite.name,
        question=suite.question,
        metric=suite.metric,
        budget=suite.budget,
        seeds=config.seeds,
        effects=tuple(suite.effects),
        reference=config.reference,
        tasks=tasks,
        arms=complete,
    )


def _arm(name: str, config: CompareConfig, configs: Path, of: str = "") -> ArmConfig:
    """An arm by its name: the user's own, or that of configs/arm. Raises UsageError."""
    known = sorted({*config.arm, *(path.stem for path in (configs / "arm").glob("*.yaml"))})
    if name not in known:
        raise UsageError(f"arms: unknown arm {name}{of}; accepted are {', '.join(known)}, and your own as arm.NAME")
    values = config.arm.get(name)
    if values is None:
        values = yaml.safe_load((configs / "arm" / f"{name}.yaml").read_text(encoding="utf-8"))
    if not isinstance(values, Mapping):
        raise UsageError(f"arm.{name}={values}: keys such as {{words: [...], controls: [...]}} are accepted")
    try:
        return validated(ArmConfig, values, {})
    except UsageError as error:
        raise UsageError(f"arm.{name}: {error}") from None


def _complete(
    name: str,
    role: str,
    arm: ArmConfig,
    tasks: Mapping[str, TaskConfig],
    config: CompareConfig,
    configs: Path,
    catalogues: Mapping[str, Catalogue],
) -> Arm:
    """The arm with the words and the configuration of its runs in every environment. Raises UsageError."""
    found, words = {}, {}
    for label, task in tasks.items():
        given = [*task.words, *config.suite.words, *config.words, *arm.words, *task.arms.get(name, ())]
        given += [f"deterministic={str(config.deterministic).lower()}", f"steps={task.steps}"]
        if config.suite.budget == "seconds":
            given.append(f"seconds={task.seconds}")
        try:
            if arm.algorithm is None:
                if config.suite.budget == "updates":
                    given[-1] = f"steps={_steps_of(given, task.updates or 0, catalogues['train'], configs)}"
                values = _train(given, catalogues["train"], configs)
            else:
                given, values = _baseline(given, arm.algorithm, config, catalogues["baseline"], configs)
        except UsageError as error:
            raise UsageError(f"arm {name}, environment {label}: {error}") from None
        found[label], words[label] = values, tuple(given)
    return Arm(name, role, arm, found, words)


def _train(words: Sequence[str], catalogue: Catalogue, configs: Path) -> dict[str, Any]:
    from worldmodel.config import TrainConfig

    composition = composed(catalogue, configs, "train", words)
    config = validated(TrainConfig, composition.values(), composition.texts)
    _check_environment(config.env)
    values = config.as_dict()
    return {key: value for key, value in values.items() if key not in ("seed", "logdir")}


def _steps_of(words: Sequence[str], updates: int, catalogue: Catalogue, configs: Path) -> int:
    """The steps after which a run has made so many gradient updates."""
    values = _train(words, catalogue, configs)
    replayed = updates * values["batch_size"] * values["batch_length"]
    steps = values["prefill"] + ceil(replayed / values["train_ratio"] - 1e-9)
    streams = values["env"]["num"]
    return int(ceil(steps / streams) * streams * values["env"]["action_repeat"])


def _baseline(
    words: Sequence[str], algorithm: str, config: CompareConfig, catalogue: Catalogue, configs: Path
) -> tuple[list[str], dict[str, Any]]:
    """The words of a model-free baseline with its algorithm, and its configuration."""
    from worldmodel.baseline_config import BaselineConfig

    if config.suite.budget == "updates":
        raise UsageError("suite.budget=updates: model-free baselines count other updates; steps or seconds is accepted")
    for choice in ("dqn", "sac") if algorithm == "off_policy" else (algorithm,):
        given = [*words, f"algorithm={choice}"]
        composition = composed(catalogue, configs, "baseline", given)
        baseline = validated(BaselineConfig, composition.values(), composition.texts)
        kind = _check_environment(baseline.env)
        if baseline.fits(kind):
            values = baseline.as_dict()
            return given, {key: value for key, value in values.items() if key not in ("seed", "logdir")}
    raise UsageError(f"algorithm={algorithm}: the actions of {baseline.env.id} are {kind}; {baseline.accepted(kind)}")


def _check_environment(config: Any) -> str:
    """Make the environment once; returns what its actions are. Raises UsageError where it cannot be made."""
    from envs import EnvironmentFault, EnvironmentRefused, make_env
    from envs.spaces import action_spec

    try:
        env = make_env(config)
    except (EnvironmentRefused, EnvironmentFault) as error:
        raise UsageError(str(error)) from None
    try:
        spec = action_spec(env.action_space)
    finally:
        env.close()
    return spec.kind if spec.kind == "continuous" or len(spec.sizes) == 1 else "multi-discrete"
