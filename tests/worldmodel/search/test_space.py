"""Search spaces, and the words that trials and files are made of."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import TypeAdapter

from tests.worldmodel.train.runs import ROOT
from worldmodel.cli.command import command
from worldmodel.cli.compose import UsageError, composed
from worldmodel.cli.errors import validated
from worldmodel.cli.overrides import expanded, word
from worldmodel.cli.schema import Catalogue
from worldmodel.search.config import SearchConfig, as_mapping, searched, training_words
from worldmodel.search.space import Section, parameters

CONFIGS = ROOT / "configs"
CATALOGUE = Catalogue(CONFIGS, "search")


def config(*words: str) -> SearchConfig:
    composition = composed(CATALOGUE, CONFIGS, "search", words)
    return validated(SearchConfig, composition.values(), composition.texts)


def test_distributions() -> None:
    section = {
        "a": {"b": {"type": "float", "low": 1e-4, "high": 1, "log": True}, "c": {"type": "int", "low": 2, "high": 8}},
        "d": {"type": "categorical", "choices": [1, "x", None, True]},
        "e": {"type": "float", "low": 0, "high": 1, "step": 0.25},
    }
    found = parameters(TypeAdapter(Section).validate_python(section))
    assert {key: parameter.distribution() for key, parameter in found.items()} == {
        "a.b": FloatDistribution(1e-4, 1, log=True),
        "a.c": IntDistribution(2, 8),
        "d": CategoricalDistribution([1, "x", None, True]),
        "e": FloatDistribution(0, 1, step=0.25),
    }


@pytest.mark.parametrize("group", ["space", "sampler", "pruner", "launcher"])
def test_every_choice_is_a_configuration(group: str) -> None:
    """And every space is one of keys that training has, over values that it takes."""
    for choice in CATALOGUE.choices[group]:
        chosen = config(f"{group}={choice}")
        if group == "space" and choice != "empty":
            assert searched(chosen.space, [], CONFIGS).keys() == parameters(chosen.space).keys()
            sentences = [CATALOGUE.comment(f"space.{key}", {"space": choice}) for key in parameters(chosen.space)]
            assert all(sentences)


def test_keys_that_are_given_are_not_searched() -> None:
    space = config("space=rates").space
    assert list(searched(space, ["optimizer.lr=1e-3"], CONFIGS)) == ["train_ratio", "behavior.entropy"]
    assert list(searched(space, ["optimizer={lr:1e-3}"], CONFIGS)) == ["train_ratio", "behavior.entropy"]
    assert len(searched(space, ["optimizer=laprop", "steps=100"], CONFIGS)) == 3
    given = ["optimizer.lr=1e-3", "train_ratio=1", "behavior.entropy=0"]
    with pytest.raises(UsageError, match="space: holds no key but optimizer.lr, train_ratio, behavior.entropy, given"):
        searched(space, given, CONFIGS)


def test_a_space_can_be_changed_by_words() -> None:
    space = parameters(
        config(
            "space=rates", "space.optimizer.lr.high=0.5", "~space.train_ratio", "space.seed={type:int,low:0,high:3}"
        ).space
    )
    assert list(space) == ["optimizer.lr", "behavior.entropy", "seed"]
    assert space["optimizer.lr"].distribution() == FloatDistribution(1e-4, 0.5, log=True)


def test_groups_can_be_searched() -> None:
    words = ["space=empty", "space.size={type:categorical,choices:[400k,1m]}"]
    assert list(searched(config(*words).space, [], CONFIGS)) == ["size"]


def test_words_of_training() -> None:
    words = ["env=pendulum", "trials=3", "sampler.seed=1", "logdir=x", "space=rates", "~env.kwargs.g", "seed=3"]
    assert training_words(words, CONFIGS) == ["env=pendulum", "~env.kwargs.g", "seed=3"]


def test_the_curve() -> None:
    assert (config().metric, config().interval) == ("eval/return", 2500)
    assert (config("steps=1500").metric, config("steps=1500").interval) == ("episode/return", 75)
    with pytest.raises(UsageError, match="curve=eval/return: needs evaluations"):
        config("steps=1500", "curve=eval/return")


def test_the_folder_depends_on_what_the_search_is() -> None:
    folder = config("trials=3").folder()
    assert folder.startswith("runs/search-CartPole-v1-")
    assert config("trials=9", "workers=2", "threads=1", "launcher=ray").folder() == folder
    others = [config(*words).folder() for words in (["seed=1"], ["sampler=tpe"], ["space=rates"], ["steps=10"])]
    assert len({folder, *others}) == 5


def test_the_folder_is_that_of_versions_without_shared_evaluations() -> None:
    assert "environments" not in config().identity()["eval"]
    assert config("eval.environments=shared").folder() != config().folder()


def test_passwords_are_no_part_of_the_configuration() -> None:
    secret = config("storage=postgresql://me:secret@host/db")
    assert "secret" not in str(secret.identity()) and "me:***@host" in str(secret.identity()["storage"])


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=8)
letters = st.text("ae1_-/.%*$@?|+:=,()[]{}\\ \t", min_size=1, max_size=4)
keys = st.one_of(letters, st.sampled_from(["nan", "inf", "null", "true"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=30)
@given(values)
def test_words_say_what_was_meant(value: Any) -> None:
    """Hydra reads a value back; plain text as it would read it on a command line."""
    override = OverridesParser.create().parse_override(word("key", value))
    assert repr(_typed(override.value())) == repr(_typed(value))  # nan equals nothing


@pytest.mark.parametrize("key", ["größe", "a#b", "it's", "a\nb", ""])
def test_keys_that_no_word_can_hold(key: str) -> None:
    with pytest.raises(UsageError, match="no key that a word can hold; ASCII letters"):
        word("env.kwargs", {key: 1})


def _typed(value: Any) -> Any:
    """A value, texts as Hydra's grammar reads them where they stand alone."""
    if isinstance(value, str):
        plain = word("key", value)
        return value if "'" in plain else OverridesParser.create().parse_override(plain).value()
    if isinstance(value, dict):
        return {_typed(key): _typed(inner) for key, inner in value.items()}
    return [_typed(inner) for inner in value] if isinstance(value, list) else value


def test_words_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    words = ["env=pendulum", "env.kwargs={g: 9.8}", "steps=1e4", "~env.kwargs.g", "optimizer.lr=1"]
    file.write_text(yaml.safe_dump(as_mapping(words, {"optimizer.lr": 3e-05, "size": "1m"}), sort_keys=False))
    expected = ["env=pendulum", "env.kwargs={g:9.8}", "steps=10000.0", "~env.kwargs.g", "optimizer.lr=3e-05", "size=1m"]
    assert expanded(["seed=1", f"@{file}", "seed=2"]) == ["seed=1", *expected, "seed=2"]


def test_training_takes_the_words_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "best.yaml").write_text("env: pendulum\noptimizer.lr: 3.0e-05\nsize: 1m\n")
    assert command("train", "worldmodel.train.run:run", [f"@{tmp_path / 'best.yaml'}", "steps=7", "--cfg"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["env"]["id"], float(shown["optimizer"]["lr"]), shown["steps"]) == ("Pendulum-v1", 3e-05, 7)
    assert shown["size"]["deter"] > 256


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "1: 2\n"])
def test_a_file_that_is_none_of_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "words.yaml").write_text(text)
    with pytest.raises(UsageError, match="words.yaml: keys with values are accepted"):
        expanded([f"@{tmp_path / 'words.yaml'}"])
    with pytest.raises(UsageError, match="@/none.yaml: cannot be read: No such file"):
        expanded(["@/none.yaml"])
