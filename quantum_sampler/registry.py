"""Selectors by name, and the checking of their options."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from hybrid_opt.parts import Parts, checked, config_of
from quantum_sampler.selector import OptionError, Probe, Selector, is_integer
from quantum_sampler.selectors.base.planned import PlanningConfig, make_planned
from quantum_sampler.selectors.mixture import Mixture, MixtureConfig, PartConfig

MIXTURE = "mixture"
SELECTORS = Parts("selector", "quantum_sampler.selectors", "Selector", error=OptionError)


def selector_classes(name: str, path: str = "replay") -> tuple[Callable[..., Any], Any]:
    """The class of a selector, which is not the mixture, or of a planner, and that of its config."""
    kind = SELECTORS.find(name, f"{path}.selector", [MIXTURE])
    return kind, config_of(kind)


def make_selector(
    name: str,
    capacity: int,
    seed: int | Sequence[int] | None,
    feature_dim: int = 0,
    probe: Probe | None = None,
    **options: Any,
) -> Selector:
    """Make a selector.

    capacity: slots of the storage; the slot of an item is id % capacity. seed: of everything it draws; None: another
    one every time. feature_dim: width of the features that `add` and `update` may get. probe(ids) -> fresh loss [B]
    runs the model on items. Raises OptionError for an unknown name or option, or a value that is not accepted.
    """
    if not is_integer(capacity) or capacity < 1:
        raise OptionError(f"replay.capacity={capacity}: must be an integer, at least 1")
    if not is_integer(feature_dim) or feature_dim < 0:
        raise OptionError(f"feature_dim={feature_dim}: must be an integer >= 0")
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    words = seed if isinstance(seed, Sequence) and not isinstance(seed, str) else (seed,)
    if not all(is_integer(word) and word >= 0 for word in words):
        raise OptionError(f"seed={seed!r}: None, an integer >= 0 or several are accepted")
    entropy = tuple(int(word) for word in words)
    return _make(name, capacity, entropy, feature_dim, probe, "replay", options)


def selector_config(name: str, path: str = "replay", **options: Any) -> Any:
    """The checked config of a selector, components of a mixture included; `path` is what errors call its keys.

    Raises OptionError as `make_selector` does.
    """
    kind = MixtureConfig if name == MIXTURE else selector_classes(name, path)[1]
    config = checked(kind, options, path, f"of {name}", OptionError)
    if isinstance(config, MixtureConfig):
        for key in config.components:
            part = _part(config, path, key)
            selector_config(part.selector, f"{path}.components.{key}", **part.options)
    return config


def selector_parts(name: str, path: str = "replay", **options: Any) -> Iterator[tuple[str, Any]]:
    """The checked configs of a selector, or of all components of a mixture, and what errors call each."""
    config = selector_config(name, path, **options)
    if not isinstance(config, MixtureConfig):
        yield path, config
        return
    for key in config.components:
        part = _part(config, path, key)
        yield from selector_parts(part.selector, f"{path}.components.{key}", **part.options)


def wants_features(name: str, **options: Any) -> bool:
    """Whether a selector, or a component of it, makes use of features."""
    return any(getattr(config, "uses_features", False) for _, config in selector_parts(name, **options))


def _make(
    name: str,
    capacity: int,
    seed: tuple[int, ...],
    feature_dim: int,
    probe: Probe | None,
    path: str,
    options: dict[str, Any],
) -> Selector:
    config = selector_config(name, path, **options)
    if not isinstance(config, MixtureConfig):
        kind = selector_classes(name)[0]
        if isinstance(config, PlanningConfig):
            return make_planned(kind(config, seed, feature_dim), config, capacity, seed, feature_dim, probe)
        made: Selector = kind(config, capacity, seed, feature_dim, probe)
        return made
    components = {}
    for number, key in enumerate(config.components):
        part = _part(config, path, key)
        where = f"{path}.components.{key}"
        made = _make(part.selector, capacity, (*seed, number + 1), feature_dim, probe, where, part.options)
        components[key] = (part.share, made)
    return Mixture(components, seed, config.correction)


def _part(config: MixtureConfig, path: str, key: str) -> PartConfig:
    options = dict(config.components[key])
    given = {"selector": key} | {name: options.pop(name) for name in ("selector", "share") if name in options}
    where = f"{path}.components.{key}"
    part: PartConfig = checked(PartConfig, {**given, "options": options}, where, "of a component", OptionError)
    return part
