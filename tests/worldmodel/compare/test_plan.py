"""Plans of comparisons: what they hold, and what is refused before anything starts."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.worldmodel.compare.comparisons import compare, plan
from tests.worldmodel.train.runs import ROOT, line_of
from worldmodel.cli.compose import composed, leaves
from worldmodel.cli.errors import validated
from worldmodel.cli.schema import Catalogue
from worldmodel.compare.plan import PLAN
from worldmodel.train.config import TrainConfig


def test_arms_bring_their_controls() -> None:
    made = plan("suite=cartpole", "arms=[classical,annealed]")
    roles = {name: arm.role for name, arm in made.arms.items()}
    assert roles == {
        "classical": "reference",
        "annealed": "arm",
        **dict.fromkeys(("ppo", "off_policy", "annealed_pivotal", "annealed_shuffled", "prioritized"), "control"),
    }
    assert made.claims == [("annealed", "classical")]
    assert ("annealed", "annealed_pivotal") in made.ablations and ("classical", "ppo") in made.ablations
    assert made.arms["annealed_pivotal"].configs["cartpole"]["replay"]["engine"] == "pivotal"
    assert made.arms["off_policy"].configs["cartpole"]["algorithm"] == "dqn"
    assert len(made.runs) == 7 * 10 and len({run.name for run in made.runs}) == 70
    assert list(plan("suite=cartpole", "arms=[classical,annealed]", "controls=false").arms) == ["classical", "annealed"]


def test_every_suite_can_be_planned() -> None:
    """Suites are planned without the environments that need an extra."""
    short = (("search", "mlp_wine"), ("direction", "pendulum_model"), ("router", "moons"), ("narma", "narma5"))
    optimising = {
        name for suite, task in short for name in plan(f"suite={suite}", "seeds=1", f"environments=[{task}]").arms
    }
    for suite in sorted(path.stem for path in (ROOT / "configs/suite").glob("*.yaml")):
        if suite not in (*dict(short), "control"):
            words = [f"suite={suite}", "seeds=1", "arms=[classical]", "controls=false"]
            assert plan(*words, *(["environments=[pendulum]"] if suite in ("replay", "full", "gymnasium") else [])).runs
    for arm in sorted({path.stem for path in (ROOT / "configs/arm").glob("*.yaml")} - optimising):
        task = "pendulum" if arm == "sac" else "cartpole"
        made = plan("suite=classic", f"environments=[{task}]", f"reference={arm}", f"arms=[{arm}]", "controls=false")
        assert made.arms[arm].config.about


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "package"), [("control", "dm_control"), ("gymnasium", "minigrid")])
def test_tables_have_one_recipe_for_all_tasks(suite: str, package: str) -> None:
    """No more than the environment and the steps differ between runs of an agent, which the spaces alone choose.

    The last evaluation has ten episodes.
    """
    for needed in {package, *({"Box2D", "mujoco"} if suite == "gymnasium" else ())}:
        pytest.importorskip(needed)
    made = plan(f"suite={suite}")
    assert list(made.arms) == ["classical"] and made.claims == made.ablations == []
    recipes: dict[str, list[Any]] = {}
    for task, values in made.arms["classical"].configs.items():
        assert values["eval"]["final_episodes"] == values["eval"]["episodes"] == 10
        assert values["steps"] == made.tasks[task].steps and values["env"]["action_repeat"] == 1 + (suite == "control")
        recipe = {key: value for key, value in values.items() if key not in ("env", "steps")}
        recipes.setdefault(values["model"]["agent"], []).append(recipe)
    assert all(recipe == same[0] for same in recipes.values() for recipe in same)
    assert set(recipes) == {"control"} | ({"dreamer"} if suite == "gymnasium" else set())
    assert len(made.tasks) == {"control": 6, "gymnasium": 10}[suite]


def test_tables_are_made_with_seeds_of_their_own() -> None:
    """An earlier plan has no word of its first seed, and is the plan of today."""
    words = ["suite=gymnasium", "environments=[pendulum]"]
    made = plan(*words)
    assert [run.name.rpartition("-")[2] for run in made.runs] == ["100", "101"]
    assert [run.words[-1] for run in made.runs] == ["seed=100", "seed=101"] and made.as_dict()["first_seed"] == 100
    assert made.hash != plan(*words, "suite.first_seed=7").hash
    assert "first_seed" not in plan("suite=smoke", "controls=false").as_dict()


def test_baselines_join_a_table_by_key() -> None:
    words = ["suite=gymnasium", "environments=[pendulum]"]
    assert plan(*words, "arms=[classical,sac]").claims == [("sac", "classical")]
    assert plan(*words, "controls=[ppo]").ablations == [("classical", "ppo")]


def test_a_suite_chooses_its_controls() -> None:
    words = ["suite=cartpole", "arms=[classical,annealed]"]
    made = plan(*words, "controls=[annealed_shuffled,prioritized]")
    assert [name for name, arm in made.arms.items() if arm.role == "control"] == ["annealed_shuffled", "prioritized"]
    left = {"classical": ["ppo", "off_policy"], "annealed": ["annealed_pivotal", "annealed_uncoupled"]}
    assert made.left_out == left and made.as_dict()["controls left out"] == left
    assert made.arms["annealed_shuffled"].configs["cartpole"]["replay"]["shuffle"] is True
    assert plan(*words, "controls=true").left_out == {}


@pytest.mark.parametrize(
    ("place", "words"),
    [("heads.prior", "model.heads.prior=narrow"), ("router", "model.router=narrow"), ("cell", "model.cell=mlp")],
)
def test_circuits_stand_in_the_place_of_the_suite(place: str, words: str) -> None:
    """With all their controls, one of which has other words for a cell."""
    made = plan("suite=parts", f"suite.place={place}", "seeds=1")
    assert made.suite == f"parts-{place}" and len(made.arms) == 6
    assert made.arms["circuit"].config.words == [f"model.{place}=circuit"]
    assert made.arms["circuit_mlp"].config.words == [words]


def test_environments_have_a_room_of_their_own() -> None:
    """What a suite gives in the place of their keys counts; another's environments and one's own can be added."""
    made = plan("suite=smoke", "controls=false", "suite.environments.acrobot.steps=700")
    assert {name: (task.steps, task.low) for name, task in made.tasks.items()} == {
        "cartpole": (600, 10),
        "acrobot": (700, -500),
    }
    assert made.tasks["cartpole"].arms["ppo"] == ["options={n_steps:128,batch_size:64}"]
    own = 'suite.environments.mine={words: ["env=pendulum"], steps: 900, low: -1500, high: 0}'
    assert plan("suite=smoke", "controls=false", own, "environments=[mine]").tasks["mine"].high == 0


def test_suites_of_samplers_and_of_update_directions() -> None:
    made = plan("suite=search", "seeds=1")
    assert made.runs[0].module == "worldmodel.hpo" and "trials=60" in made.runs[0].words
    options = made.arms["qubo_frozen"].configs["mlp_wine"]["sampler"]["options"]
    assert options == {"shots": 64, "parameters": "random"}
    assert {"qubo_product", "qubo_frozen", "qubo_shuffled", "qubo"} <= {other for _, other in made.ablations}
    made = plan("suite=direction", "seeds=1")
    assert made.runs[0].module == "worldmodel.fit" and "steps=1000" in made.runs[0].words
    assert made.arms["adam_tuned"].configs["pendulum_model"]["rate"] == 1e-2
    assert made.arms["hybrid_frozen"].configs["digits_mlp"]["solver"]["parameters"] == "random"


def test_baselines_fit_the_actions() -> None:
    made = plan("suite=classic", "environments=[pendulum]", "arms=[classical]")
    assert made.arms["off_policy"].configs["pendulum"]["algorithm"] == "sac"


def test_the_hash_changes_with_everything_that_is_compared() -> None:
    words = ["suite=smoke", "controls=false"]
    first = plan(*words)
    assert first.hash == plan(*words, "workers=2", "logdir=elsewhere").hash
    for word in ("seeds=3", "suite.metric=area", "suite.environments.cartpole.steps=700", 'words=["batch_size=8"]'):
        assert plan(*words, word).hash != first.hash


def test_equal_updates_are_made_of_steps() -> None:
    """The trainer makes int((steps - prefill) x ratio / (B L)) updates; one step less makes one less."""
    words = ["suite=cartpole", "arms=[classical]", "controls=false", "suite.budget=updates"]
    made = plan(*words, "suite.environments.cartpole.updates=77", 'words=["train_ratio=13"]')
    values = made.arms["classical"].configs["cartpole"]
    steps = values["steps"]
    for taken, updates in ((steps, 77), (steps - 1, 76)):
        assert int((taken - values["prefill"]) * 13 / (values["batch_size"] * values["batch_length"])) == updates


def test_equal_time_reaches_the_runs() -> None:
    words = ["suite=cartpole", "arms=[classical,ppo]", "controls=false", "suite.budget=seconds"]
    made = plan(*words, "suite.environments.cartpole.seconds=12.5")
    assert [arm.configs["cartpole"]["seconds"] for arm in made.arms.values()] == [12.5, 12.5]


def test_the_clock_has_no_say_in_how_much_is_done() -> None:
    """But where time is the budget: there whatever takes longer is to pay for it by itself."""
    words = ["suite=cartpole", "arms=[classical,boltzmann,hybrid]", "controls=false"]
    made = plan(*words)
    assert made.arms["hybrid"].configs["cartpole"]["optimizer"]["overhead"] is None
    assert made.arms["boltzmann"].configs["cartpole"]["replay"]["overhead"] is None
    assert "replay.overhead=null" in made.arms["boltzmann"].words["cartpole"]
    timed = plan(*words, "suite.budget=seconds", "suite.environments.cartpole.seconds=9")
    assert timed.arms["boltzmann"].configs["cartpole"]["replay"]["overhead"] == 0.05


def test_arms_of_your_own() -> None:
    own = "arm.mine={words: ['replay=annealed', 'replay.sweeps=4'], controls: [prioritized]}"
    made = plan("suite=smoke", "arms=[classical,mine]", own)
    assert made.arms["mine"].configs["cartpole"]["replay"]["sweeps"] == 4
    assert ("mine", "prioritized") in made.ablations


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            "suite=smokes",
            "suite is one of cartpole, classic, control, direction, full, gymnasium, memory, narma, parts, replay, "
            "router, search, smoke; did you mean suite=smoke?",
        ),
        ("seeds=0", "seeds=0: must be greater than or equal to 1"),
        ("arms=[classical,anealed]", "arms: unknown arm anealed; accepted are adam, adam_tuned, annealed,"),
        ("words=['eval.final_episodes=0']", "eval.final_episodes=0: a positive number is accepted"),
        ("arms=[clasical]", "and your own as arm.NAME; did you mean classical?"),
        ("arms=[annealed]", "arms=[annealed]: the reference classical must be among them"),
        ("arms=[classical,classical]", "each name once is accepted"),
        ("environments=[acrobot]", "environments: acrobot: suite smoke has cartpole"),
        ("arm.mine={words:['replay.sweps=4']} arms=[classical,mine]", "arm mine, environment cartpole: replay.sweps=4"),
        ("arm.mine={wrds:[]} arms=[classical,mine]", "arm.mine: wrds=[]: unknown key"),
        ("arm.mine=3 arms=[classical,mine]", "arm.mine=3: keys such as"),
        (
            "arms=[classical,sac]",
            "arm sac, environment cartpole: algorithm=sac: the actions of CartPole-v1 are discrete",
        ),
        ("suite.budget=updates", "suite.environments.cartpole.updates must be given"),
        (
            "arm.mine={words:['env.time_limit=9']} arms=[classical,mine]",
            "arm mine, environment cartpole: env.time_limit was null, is 9; what classical has is accepted",
        ),
        (
            "arm.mine={words:['seconds=9']} arms=[classical,mine]",
            "arm mine, environment cartpole: seconds was null, is 9.0; what classical has is accepted",
        ),
        ("arm.mine={controls:[mine]} arms=[classical,mine]", "arm.mine.controls: other arms than mine itself"),
        (
            "suite.metric=area words=['eval.every=0']",
            "arm classical, environment cartpole: eval.every=0: suite.metric=area needs evaluations",
        ),
        ("suite.budget=energy", "suite.budget=energy: must be steps, seconds, updates or trials"),
        ("suite.environments.cartpole.low=600", "low=600.0: less than high=500.0 is accepted"),
        ('words=["env.id=Nothing-v0"]', "environment cartpole: env.id=Nothing-v0: no such environment"),
        ("controls=[annealed_pivotl]", "controls: annealed_pivotl: belongs to no arm; accepted are annealed_pivotal"),
        ("suite.environments.nothing=null", "suite.environments: unknown environment nothing; accepted are acrobot,"),
        ("suite.environments.cartpol=null", "high: ...}'; did you mean cartpole?"),
        ("suite.environments.cartpole=3", "suite.environments.cartpole=3: keys such as"),
        ("suite.anchors=atari", "suite.anchors=atari: dmc_proprio, gymnasium or null is accepted"),
        (
            "suite.anchors=gymnasium suite.metric=area",
            "suite.metric=area: suite.anchors=gymnasium needs final; suite.anchors=null is accepted with any",
        ),
        ("suite.anchors=gymnasium suite.budget=seconds", "suite.anchors=gymnasium needs steps or trials"),
        ("suite.budget=trials arm.mine={trials:3} arms=[classical,mine]", "as many tuning trials each are accepted"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, error: str) -> None:
    given = words.replace("'", '"').split()
    suite = [] if words.startswith("suite=smokes") else ["suite=smoke"]
    controls = [] if words.startswith("controls") else ["controls=false"]
    assert compare(*suite, *controls, *given, f"logdir={tmp_path / 'x'}") == 2
    out, err = capsys.readouterr()
    assert error in line_of(err) and out == ""
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("suite.budget=seconds", "suite.budget=seconds: runs of worldmodel.hpo have equal trials; steps is accepted"),
        ("suite.anchors=gymnasium", "runs of hpo have no published returns; null is accepted"),
        ("arms=[tpe,ppo]", "arm ppo, environment svm_digits: algorithm=ppo: plays in environments"),
        ("arms=[tpe,classical]", "arm classical, environment svm_digits: replay=uniform: unknown key"),
        ("arm.mine={words:['sampler=qubo','sampler.solver=qaoa','sampler.options={shts:1}']} arms=[tpe,mine]", "shts"),
    ],
)
def test_wrong_input_to_a_suite_of_samplers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, error: str
) -> None:
    given = words.replace("'", '"').split()
    assert compare("suite=search", "controls=false", *given, f"logdir={tmp_path / 'x'}") == 2
    assert error in line_of(capsys.readouterr().err) and not (tmp_path / "x").exists()


def test_scikit_learn_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert compare("suite=search", "controls=false", f"logdir={tmp_path / 'x'}") == 2
    line = line_of(capsys.readouterr().err)
    assert 'task=svm_digits: needs scikit-learn: pip install "worldmodel[benchmarks]"' in line


def test_ray_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert compare("suite=smoke", "controls=false", "launcher=ray", f"logdir={tmp_path / 'x'}") == 2
    assert 'launcher=ray: needs ray: pip install "worldmodel[ray]"' in line_of(capsys.readouterr().err)
    assert not (tmp_path / "x").exists()


def test_an_arm_whose_group_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = 'arm.mine={words: ["optimizer=quantum"]}'
    assert compare("suite=smoke", "arms=[classical,mine]", own, "controls=false", f"logdir={tmp_path / 'x'}") == 2
    assert "arm mine, environment cartpole: optimizer=quantum: optimizer is one of" in line_of(capsys.readouterr().err)


def test_another_plan_is_refused_with_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["suite=smoke", "controls=false", "execute=false", f"logdir={tmp_path / 'x'}"]
    assert compare(*words) == 0
    before = (tmp_path / "x" / PLAN).read_bytes()
    assert "2 arms" in (out := capsys.readouterr().out) and "No verdict: 4 of 4 runs have not ended." in out
    assert compare(*words, "workers=3") == 0
    capsys.readouterr()
    assert compare(*words, "seeds=3") == 2
    line = line_of(capsys.readouterr().err)
    assert "holds a comparison by another plan: seeds was 2, is 3; give the same or another logdir" in line
    assert compare(*words, 'words=["replay.fresh=0"]') == 2
    assert "arms.classical.configs.cartpole.replay.fresh was 1, is 0" in capsys.readouterr().err
    assert (tmp_path / "x" / PLAN).read_bytes() == before
    assert json.loads(before)["tests"]["alpha"] == 0.05


@pytest.mark.parametrize("name", ["compare", "baseline", "hpo", "fit"])
def test_every_key_has_its_sentence(name: str) -> None:
    catalogue = Catalogue(ROOT / "configs", name)
    composition = composed(catalogue, ROOT / "configs", name, [])
    assert catalogue.title and all(catalogue.groups.values())
    keys = [key for key in leaves(composition.open) if not catalogue.is_free(key)]
    assert [key for key in keys if not catalogue.comment(key, composition.choices)] == []


def test_runs_of_earlier_versions_can_be_read() -> None:
    values = dict(plan("suite=smoke").arms["classical"].configs["cartpole"].items())
    read = validated(TrainConfig, {**values, "seed": 0, "logdir": "auto"}, {})
    del values["seconds"]
    assert validated(TrainConfig, {**values, "seed": 0, "logdir": "auto"}, {}) == read
    size = {key: value for key, value in values["size"].items() if key != "fan_in"}
    old = validated(TrainConfig, {**values, "size": size, "seed": 0, "logdir": "auto"}, {})
    assert (old.size.fan_in, read.size.fan_in) == ("block", "all")


def test_all_arms_of_an_environment_have_one_recipe() -> None:
    """That of training=auto where all would choose it, and quick where one has parts of the other agent."""
    asked = ("suite=classic", "environments=[pendulum,cartpole]", "controls=false", "seeds=2")
    for arms, recipe, agent in (("prioritized", "control", "control"), ("hybrid", "quick", "dreamer")):
        for arm in plan(*asked, f"arms=[classical,{arms}]").arms.values():
            assert f"training={recipe}" in arm.words["pendulum"]
            assert not any(word.startswith("training=") for word in arm.words["cartpole"])
            assert arm.configs["pendulum"]["model"]["agent"] == agent
