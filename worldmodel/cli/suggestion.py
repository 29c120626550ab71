"""What a mistaken word may have meant: keys and choices of the same kind as the word, or nothing."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher

_ALIKE = 0.8  # of two words; below it a suggestion is mostly wrong
_COUNTS = {"n", "num", "number", "max", "total"}  # that some names begin with
_SAID_ELSEWHERE = {  # what other programs call a key
    "optimizer.lr": "learning_rate lr",
    "optimizer.clip": "grad_clip max_grad_norm",
    "behavior.discount_horizon": "gamma discount",
    "behavior.return_lambda": "lambda gae_lambda",
    "behavior.entropy": "entropy_coef ent_coef",
    "env": "environment",
    "env.id": "env_name env_id env.name",
    "env.num": "num_envs n_envs envs",
    "env.time_limit": "max_episode_steps",
    "env.action_repeat": "frame_skip frameskip",
    "steps": "timesteps total_timesteps epochs iterations",
    "prefill": "learning_starts",
    "train_ratio": "replay_ratio update_ratio",
    "replay.capacity": "buffer_size replay_size memory_size",
    "replay.alpha": "replay.exponent",
    "size": "model_size",
    "logdir": "log_dir output_dir run_dir save_dir run folder",
    "device": "gpu cuda",
    "eval.every": "eval_freq eval_interval eval.freq",
    "log.every": "log_freq log_interval log.freq",
    "checkpoint.minutes": "save_every save_freq",
    "checkpoint": "ckpt",
    "video": "film",
    "workers": "jobs n_jobs num_workers",
    "algorithm": "algo agent",
    "agent": "algo algorithm",
    "loss.free_nats": "free_bits",
}
_CHOSEN_ELSEWHERE = {  # what other programs call a choice of a group
    "sampler": {"bayes": "gp or tpe", "bayesian": "gp or tpe", "bo": "gp or tpe"},
    "pruner": {"asha": "hyperband", "sha": "hyperband"},
    "optimizer": {"adam": "laprop", "adamw": "laprop"},
    "replay": {"per": "prioritized", "random": "uniform"},
}


def near_key(key: str, known: Sequence[str], others: Mapping[str, str]) -> str | None:
    """The key that an unknown one may have meant.

    known: valid keys and groups; others: keys that a choice brings which is not made, by that choice.
    """
    near = _near_keys(key.replace("-", "_"), known, others)
    return next((name for name in near if name != key or name in others), None)


def near_choices(group: str, word: str, choices: Sequence[str]) -> list[str]:
    """The words that a mistaken choice of a group may have meant: at most one."""
    lower = re.sub(r"-v\d+$", "", word).lower()
    if (said := _CHOSEN_ELSEWHERE.get(group, {}).get(lower)) and set(said.split(" or ")) <= set(choices):
        return [f"{group}={' or '.join(said.split(' or '))}"]
    begun = [name for name in choices if 2 < len(lower) == len(word) and name.startswith(lower)]
    numbers = re.findall(r"\d+", lower)
    alike = [name for name in choices if _ratio(lower, name) >= _ALIKE and re.findall(r"\d+", name) == numbers]
    best = sorted(alike, key=lambda name: -_ratio(lower, name)) or sorted(begun, key=len)
    return [f"{group}={best[0]}"] if best else []


def _near_keys(key: str, known: Sequence[str], others: Mapping[str, str]) -> Iterator[str]:
    section, _, last = key.rpartition(".")
    every = [*known, *others]
    if key in others:
        yield key
    named = {name: said.split() for name, said in _SAID_ELSEWHERE.items()}
    yield from (name for name, said in named.items() if key in said and (name in known or (section and name in others)))
    yield from (name for name, said in named.items() if section and last in said and name in known)
    if section in known and not any(name.startswith(f"{section}.") for name in every):
        yield section
    if key.partition("@")[0] in known:
        yield key.partition("@")[0]
    yield from (name for name in every if _parts(name) == _parts(key) != [])
    inside = [name for name in every if not section or name.startswith(f"{section}.")]
    ends: dict[str, str] = {}
    for name in inside:
        ends.setdefault(name.rpartition(".")[2], name)
    ends = {end: name for end, name in ends.items() if end not in ("name", "selector")}  # choices of groups write them
    if last in ends:
        yield ends[last]
    yield from (
        name for end, name in ends.items() if _parts(end) == [part for part in _parts(last) if part not in _COUNTS]
    )
    yield from (name for end, name in ends.items() if _parts(end)[:-1] == _parts(last))
    yield from _alike(key, every, last)
    aliases = {word: name for name, said in named.items() if name in known for word in said}
    yield from (aliases[word] for word in _sorted(key, aliases))
    # A key without its section means one that is there, rather than one of a choice that is not made.
    yield from (ends[end] for end in _sorted(last, ends) if section or ends[end] in known)


def _alike(key: str, names: Iterable[str], last: str) -> Iterator[str]:
    """Names alike as a whole, whose last parts are alike or have the same letters."""
    for name in _sorted(key, names):
        end = name.rpartition(".")[2]
        if _ratio(end, last) >= _ALIKE or sorted(end) == sorted(last):
            yield name


def _sorted(word: str, names: Iterable[str]) -> list[str]:
    near = [(_ratio(word, name), name) for name in names]
    return [name for ratio, name in sorted(near, reverse=True) if ratio >= _ALIKE]


def _ratio(one: str, other: str) -> float:
    """How alike two words are, in [0, 1]; 0 where one has two letters more than the other, as bits and qubits."""
    if len(one) == len(other) > 2 and sum(a != b for a, b in zip(one, other, strict=True)) == 1:
        return 0.9  # one letter was mistyped
    return SequenceMatcher(None, one, other).ratio() if abs(len(one) - len(other)) < 2 else 0.0


def _parts(key: str) -> list[str]:
    return re.split(r"[._]", key)
