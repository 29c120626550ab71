"""Making a plan: environments and arms by their names, the configuration of every run composed and validated."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

from worldmodel.cli.compose import UsageError
from worldmodel.cli.errors import validated
from worldmodel.cli.schema import configs_folder
from worldmodel.cli.suggestion import near_choices
from worldmodel.compare.anchor import read_anchors
from worldmodel.compare.config import ArmConfig, CompareConfig, TaskConfig
from worldmodel.compare.plan import Arm, Plan
from worldmodel.compare.run_types import BASELINE, KINDS
from worldmodel.runs.folder import differences
from worldmodel.runs.yaml import read_yaml

Config = TypeVar("Config")


def planned(config: CompareConfig, configs: Path | None = None) -> Plan:
    """The plan of a comparison, every run's configuration composed and validated. Raises UsageError."""
    configs = configs or configs_folder()
    suite, kind = config.suite, KINDS[config.suite.command]
    if not kind.plays and suite.budget not in ("steps", "trials"):
        raise UsageError(
            f"suite.budget={suite.budget}: runs of {kind.module} have equal {kind.unit}; steps is accepted"
        )
    _check_anchors(config)
    tasks = {name: _task(name, config, configs) for name in config.environments or suite.environments}
    for name, task in tasks.items():
        key = {"seconds": task.seconds, "updates": task.updates}.get(suite.budget, True)
        if key is None:
            raise UsageError(f"suite.budget={suite.budget}: suite.environments.{name}.{suite.budget} must be given")
    arms: dict[str, ArmConfig] = {name: _arm(name, config, configs) for name in config.arms}
    if config.reference not in arms:
        raise UsageError(f"arms=[{','.join(arms)}]: the reference {config.reference} must be among them")
    controls = {control: name for name, arm in reversed(arms.items()) for control in arm.controls}
    chosen = _chosen(config, controls)
    for name, control in [(name, control) for name, arm in arms.items() for control in arm.controls]:
        if control in chosen:
            arms.setdefault(control, _arm(control, config, configs, f" (a control of {name})"))
    for name, arm in arms.items():
        if name in arm.controls:
            raise UsageError(f"arm.{name}.controls: other arms than {name} itself are accepted")
    trials = {name: arm.trials for name, arm in arms.items()}
    if suite.budget == "trials" and len(set(trials.values())) > 1:
        raise UsageError(f"suite.budget=trials: arms with as many tuning trials each are accepted, not {trials}")
    recipes = {label: _recipe(arms, task, config, configs) for label, task in tasks.items()}
    complete: dict[str, Arm] = {}
    for name, arm in arms.items():
        role = "reference" if name == config.reference else "arm" if name in config.arms else "control"
        complete[name] = _complete(name, role, arm, tasks, recipes, config, configs)
    for label, made in [(label, made) for label in tasks for made in complete.values()] if kind.plays else ():
        common = _common(complete[config.reference].configs[label])
        if differing := differences(common, _common(made.configs[label]), ()):
            raise UsageError(
                f"arm {made.name}, environment {label}: {differing[0]}; what {config.reference} has is accepted"
            )
    return Plan(
        suite=suite.name,
        question=suite.question,
        command=suite.command,
        metric=suite.metric,
        budget=suite.budget,
        seeds=config.seeds,
        effects=tuple(suite.effects),
        reference=config.reference,
        tasks=tasks,
        arms=complete,
        first_seed=suite.first_seed,
    )


def _check_anchors(config: CompareConfig) -> None:
    """Raise UsageError where published returns, which are final ones after so many steps, cannot stand beside these."""
    suite = config.suite
    if suite.anchors is None:
        return
    read_anchors(suite.anchors)
    if not KINDS[suite.command].plays:
        raise UsageError(
            f"suite.anchors={suite.anchors}: runs of {suite.command} have no published returns; null is accepted"
        )
    for key, value, accepted in (("metric", suite.metric, ("final",)), ("budget", suite.budget, ("steps", "trials"))):
        if value not in accepted:
            raise UsageError(
                f"suite.{key}={value}: suite.anchors={suite.anchors} needs {' or '.join(accepted)}; "
                "suite.anchors=null is accepted with any"
            )


def _chosen(config: CompareConfig, controls: Mapping[str, str]) -> set[str]:
    """The controls that take part, of those that belong to the arms. Raises UsageError."""
    if isinstance(config.controls, bool):
        return set(controls) if config.controls else set()
    known = {*controls, *config.arms}
    if config.controls != config.suite.controls and (unknown := sorted({*config.controls} - known)):
        raise UsageError(f"controls: {unknown[0]}: belongs to no arm; accepted are {', '.join(sorted(controls))}")
    return {*config.controls}


def _task(name: str, config: CompareConfig, configs: Path) -> TaskConfig:
    """An environment by its name: that of configs/task, with what the suite gives in its place. Raises UsageError."""
    given = config.suite.environments[name]
    file = configs / "task" / f"{name}.yaml"
    if not isinstance(given or {}, Mapping):
        raise UsageError(
            f"suite.environments.{name}={given}: keys such as "
            f"'suite.environments.{name}={{words: [...], steps: 1000}}' are accepted"
        )
    if not file.exists() and not given:
        known = sorted(path.stem for path in file.parent.glob("*.yaml"))
        raise UsageError(
            f"suite.environments: unknown environment {name}; accepted are {', '.join(known)}, and your own as "
            f"'suite.environments.NAME={{words: [...], steps: ..., low: ..., high: ...}}'{_meant(name, known)}"
        )
    values = read_yaml(file.read_text(encoding="utf-8")) if file.exists() else {}
    own = dict(given or {})
    if isinstance(own.get("arms", {}), Mapping):
        own["arms"] = {**values.get("arms", {}), **own.get("arms", {})}
    return _validated(TaskConfig, {**values, **own}, f"suite.environments.{name}")


def _arm(name: str, config: CompareConfig, configs: Path, of: str = "") -> ArmConfig:
    """An arm by its name: the user's own, or that of configs/arm. Raises UsageError."""
    known = sorted({*config.arm, *(path.stem for path in (configs / "arm").glob("*.yaml"))})
    if name not in known:
        raise UsageError(
            f"arms: unknown arm {name}{of}; "
            f"accepted are {', '.join(known)}, and your own as arm.NAME{_meant(name, known)}"
        )
    values = config.arm.get(name)
    if values is None:
        values = read_yaml((configs / "arm" / f"{name}.yaml").read_text(encoding="utf-8"))
    if not isinstance(values, Mapping):
        raise UsageError(
            f"arm.{name}={values}: keys such as 'arm.{name}={{words: [...], controls: [...]}}' are accepted"
        )
    arm, place = _validated(ArmConfig, values, f"arm.{name}"), config.suite.place
    words = [word.replace("{place}", place) for word in arm.places.get(place, arm.words)]
    return replace(arm, words=words, places={})


def _meant(name: str, known: Sequence[str]) -> str:
    return "".join(f"; did you mean {near.partition('=')[2]}?" for near in near_choices("", name, known))


def _validated(schema: type[Config], values: Mapping[str, Any], key: str) -> Config:
    try:
        return validated(schema, values, {})
    except UsageError as error:
        raise UsageError(f"{key}: {error}") from None


def _given(name: str, arm: ArmConfig, task: TaskConfig, config: CompareConfig) -> list[str]:
    """The words of an arm's runs in an environment, but for their budget."""
    return [*task.words, *config.suite.words, *config.words, *arm.words, *task.arms.get(name, ())]


def _recipe(arms: Mapping[str, ArmConfig], task: TaskConfig, config: CompareConfig, configs: Path) -> list[str]:
    """The words that give all arms of an environment one recipe: that of training=auto if it is the same for all."""
    from worldmodel.envs import EnvironmentFault, EnvironmentRefused
    from worldmodel.train import recipe

    names = set()
    for name, arm in arms.items():
        if config.suite.command == "train" and arm.algorithm is None:
            words = _given(name, arm, task, config)
            try:
                if not recipe.is_open(words, configs):
                    return []
                names.add(recipe.suiting_made(KINDS["train"].config(words, configs)))
            except (UsageError, EnvironmentFault, EnvironmentRefused):
                return []  # it is told with the arm and the environment, when the arm is completed
    if names <= {recipe.AUTO}:  # each run chooses it by itself, as those of earlier plans did
        return []
    return [f"training={names.pop() if len(names) == 1 else recipe.AUTO}"]


def _complete(
    name: str,
    role: str,
    arm: ArmConfig,
    tasks: Mapping[str, TaskConfig],
    recipes: Mapping[str, list[str]],
    config: CompareConfig,
    configs: Path,
) -> Arm:
    """The arm with the words and the configuration of its runs in every environment. Raises UsageError."""
    suite, kind = config.suite, KINDS[config.suite.command]
    found, words = {}, {}
    for label, task in tasks.items():
        given = [*recipes[label], *_given(name, arm, task, config)]
        given += [f"deterministic={str(config.deterministic).lower()}"] if kind.plays else []
        given.append(f"{kind.budget}={task.steps}")
        if suite.budget == "seconds":
            given.append(f"seconds={task.seconds}")
        try:
            if not kind.plays:
                values = _optimisation(given, arm, suite.command, configs)
            elif arm.algorithm is None:
                if suite.budget == "updates":
                    given[-1] = f"steps={_steps_of(given, task.updates or 0, configs)}"
                values = _train(given, configs)
                if suite.budget != "seconds" and (untimed := _untimed(values)):
                    values = _train(given := [*given, *untimed], configs)
            else:
                given, values = _baseline(given, arm.algorithm, config, configs)
        except UsageError as error:
            raise UsageError(f"arm {name}, environment {label}: {error}") from None
        if kind.plays and not values["eval"]["final_episodes"]:
            raise UsageError(f"arm {name}, environment {label}: eval.final_episodes=0: a positive number is accepted")
        if kind.plays and suite.metric == "area" and not values["eval"]["every"]:
            raise UsageError(f"arm {name}, environment {label}: eval.every=0: suite.metric=area needs evaluations")
        found[label], words[label] = _without_place(values), tuple(given)
    return Arm(name, role, arm, found, words)


def _without_place(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in ("seed", "logdir")}


def _optimisation(words: Sequence[str], arm: ArmConfig, command: str, configs: Path) -> dict[str, Any]:
    """A study or a training on fixed data."""
    from hybrid_opt.errors import ProblemError

    if arm.algorithm is not None:
        raise UsageError(f"algorithm={arm.algorithm}: plays in environments; this suite's runs are {command}")
    made = KINDS[command].config(words, configs)
    try:
        made.check()
    except ProblemError as error:
        raise UsageError(str(error)) from None
    values: dict[str, Any] = made.as_dict()
    return values


def _common(values: Mapping[str, Any]) -> dict[str, Any]:
    """What may not differ between arms: the environment, but for its streams, the evaluations, and the time."""
    env = {key: value for key, value in values["env"].items() if key not in ("num", "vectorization")}
    return {"env": env, "eval": values["eval"], "seconds": values["seconds"]}


def _train(words: Sequence[str], configs: Path) -> dict[str, Any]:
    config = KINDS["train"].config(words, configs)
    _check_environment(config.env)
    values: dict[str, Any] = config.as_dict()
    return values


def _untimed(values: Mapping[str, Any]) -> list[str]:
    """Words that take from the wall-clock its say in how much a part of training does."""
    return [f"{part}.overhead=null" for part in ("optimizer", "replay") if values[part].get("overhead") is not None]


def _steps_of(words: Sequence[str], updates: int, configs: Path) -> int:
    """The steps after which a run has made so many gradient updates."""
    values = _train(words, configs)
    replayed = updates * values["batch_size"] * values["batch_length"]
    steps = values["prefill"] + ceil(replayed / values["train_ratio"] - 1e-9)
    streams = values["env"]["num"]
    return int(ceil(steps / streams) * streams * values["env"]["action_repeat"])


def _baseline(
    words: Sequence[str], algorithm: str, config: CompareConfig, configs: Path
) -> tuple[list[str], dict[str, Any]]:
    """The words of a model-free baseline with its algorithm, and its configuration."""
    if config.suite.budget == "updates":
        raise UsageError("suite.budget=updates: model-free baselines count other updates; steps or seconds is accepted")
    for choice in ("dqn", "sac") if algorithm == "off_policy" else (algorithm,):
        given = [*words, f"algorithm={choice}"]
        baseline = BASELINE.config(given, configs)
        kind = _check_environment(baseline.env)
        if baseline.fits(kind):
            return given, baseline.as_dict()
    raise UsageError(f"algorithm={algorithm}: the actions of {baseline.env.id} are {kind}; {baseline.accepted(kind)}")


def _check_environment(config: Any) -> str:
    """Make the environment once; returns what its actions are. Raises UsageError where it cannot be made."""
    from worldmodel.envs import EnvironmentFault, EnvironmentRefused, make_env
    from worldmodel.envs.spaces.spaces import action_spec

    try:
        env = make_env(config)
    except (EnvironmentRefused, EnvironmentFault) as error:
        raise UsageError(str(error)) from None
    try:
        spec = action_spec(env.action_space)
    finally:
        env.close()
    return spec.kind if spec.kind == "continuous" or len(spec.sizes) == 1 else "multi-discrete"
