"""Spaces: what Gymnasium's spaces become, and that nothing is lost on the way."""

from typing import Any

import numpy as np
import pytest
from gymnasium import Env, spaces
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worldmodel.envs.errors import UnsupportedSpace
from worldmodel.envs.spaces.encode import ActionDecoder, ObservationEncoder
from worldmodel.envs.spaces.spaces import ActionSpec, ObservationSpec, action_spec, observation_layout
from worldmodel.envs.wrappers import SelectFields

from tests.envs.custom import SPACES

shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)
discrete = st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 6), st.integers(-4, 4))
multidiscrete = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(
    lambda n: spaces.MultiDiscrete(n, start=list(range(len(n))))
)
multibinary = st.one_of(st.integers(1, 4), st.tuples(st.integers(1, 3), st.integers(1, 3))).map(spaces.MultiBinary)
box = st.builds(
    lambda shape, dtype: spaces.Box(-7 if dtype != np.uint8 else 0, 9, shape, dtype),
    shapes,
    st.sampled_from([np.float32, np.float64, np.int32, np.uint8]),
)
leaf = st.one_of(discrete, multidiscrete, multibinary, box)
names = st.text("abcxyz_", min_size=1, max_size=4)
space = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.dictionaries(names, inner, min_size=1, max_size=3).map(spaces.Dict),
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
    ),
    max_leaves=6,
)


class Fixed(Env[Any, Any]):
    """Nothing but a space."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        self.observation_space = observation_space


def encode(observation_space: spaces.Space[Any], samples: list[Any], **options: Any) -> dict[str, Any]:
    """What the records hold of some observations."""
    layout = observation_layout(observation_space, **options)
    env = Fixed(observation_space)
    if not layout.plain:
        wrapped = SelectFields(env, layout)
        samples = [wrapped.observation(sample) for sample in samples]
        assert all(wrapped.observation_space.contains(sample) for sample in samples)
    empty: Any = create_empty_array(layout.space, len(samples))
    batch: Any = concatenate(layout.space, samples, empty)
    encoder = ObservationEncoder(layout)
    result = encoder.encode(batch)
    assert encoder.fault(result, batch) is None
    for key, value in result.items():
        spec = layout.specs[key]
        assert value.shape == (len(samples), *spec.shape)
        assert value.dtype == spec.dtype
        assert value.base is None or not np.shares_memory(value, batch if layout.plain else batch[key])
    assert list(result) == list(layout.specs)
    return result


def expect(part: spaces.Space[Any], value: Any, path: str, result: dict[str, list[float]]) -> None:
    """The oracle: every number of an observation under the key of its leaf, written without the package."""
    if isinstance(part, spaces.Dict):
        for key in part.spaces:
            expect(part[key], value[key], f"{path}/{key}", result)
    elif isinstance(part, spaces.Tuple):
        for index, inner in enumerate(part.spaces):
            expect(inner, value[index], f"{path}/{index}", result)
    else:
        numbers = np.asarray(value, np.float64).ravel()
        if isinstance(part, spaces.Discrete | spaces.MultiDiscrete):
            numbers = numbers - np.asarray(part.start).ravel()
        result[path.removeprefix("/") or "observation"] = numbers.tolist()


@settings(max_examples=150)
@given(space, st.integers(0, 2**31))
def test_every_number_arrives(part: spaces.Space[Any], seed: int) -> None:
    part.seed(seed)
    samples = [part.sample() for _ in range(3)]
    result = encode(part, samples)
    for row, sample in enumerate(samples):
        expected: dict[str, list[float]] = {}
        expect(part, sample, "", expected)
        assert {key: value[row].astype(np.float64).tolist() for key, value in result.items()} == {
            key: np.asarray(value, np.float32).astype(np.float64).tolist() for key, value in expected.items()
        }


@settings(max_examples=100)
@given(st.one_of(discrete, multidiscrete, multibinary), st.integers(0, 2**31))
def test_one_hots_become_the_discrete_action(part: Any, seed: int) -> None:
    part.seed(seed)
    wanted = [part.sample() for _ in range(3)]
    decoder = ActionDecoder(part)
    vectors = np.zeros((3, decoder.spec.width), np.float32)
    for row, action in enumerate(wanted):
        classes = (np.asarray(action) - getattr(part, "start", 0)).ravel().tolist()
        for index, offset in zip(classes, np.cumsum([0, *decoder.spec.sizes[:-1]]).tolist(), strict=True):
            vectors[row, offset + index] = 1
    actions = decoder.decode(decoder.choose(vectors))
    assert batch_space(part, 3).contains(actions)
    for action, expected in zip(iterate(batch_space(part, 3), actions), wanted, strict=True):
        assert part.contains(action)
        assert np.array_equal(action, expected)


@settings(max_examples=100)
@example([(0.0, 1.401298464324817e-45)], 0)  # no float32 lies between its bounds
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6)), min_size=1, max_size=4), st.integers(0, 2**31))
def test_continuous_actions_are_rescaled_into_the_box(bounds: list[tuple[float, float]], seed: int) -> None:
    low = np.array([a for a, _ in bounds], np.float32)
    high = np.array([a + b for a, b in bounds], np.float32)
    part = spaces.Box(low, high)
    decoder = ActionDecoder(part)
    assert decoder.spec == ActionSpec("continuous", (1,) * len(bounds))
    values = np.random.default_rng(seed).uniform(-1.5, 1.5, (4, len(bounds))).astype(np.float32)
    values[0], values[1], values[2] = -1, 1, 0
    actions = decoder.decode(decoder.choose(values))
    assert all(part.contains(action) for action in actions)
    rounding = 1e-15 * (np.abs(low) + np.abs(high))
    assert np.allclose(actions[0], low, rtol=1e-6, atol=rounding)
    assert np.allclose(actions[1], high, rtol=1e-6, atol=rounding)
    expected = low + (np.clip(values, -1, 1).astype(np.float64) + 1) / 2 * (high.astype(np.float64) - low)
    apart = np.finfo(np.float32).smallest_subnormal  # what float32 tells apart near 0
    assert np.allclose(actions, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max() + apart)


def test_symmetric_actions_pass_unchanged() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, (5, 3)).astype(np.float32)
    decoder = ActionDecoder(spaces.Box(-1, 1, (3,)))
    assert np.array_equal(decoder.decode(decoder.choose(values)), values)


def test_integer_boxes_are_rounded() -> None:
    decoder = ActionDecoder(SPACES["integers"])
    actions = decoder.decode(decoder.choose(np.array([[-1, 0.1, 1]], np.float32)))
    assert actions.dtype == np.int64
    assert actions.tolist() == [[-3, 1, 4]]


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int32, np.uint8])
def test_the_ends_of_integer_types_do_not_wrap(dtype: Any) -> None:
    limits = np.iinfo(dtype)
    space = spaces.Box(limits.min, limits.max, (1,), dtype)
    low, high = ActionDecoder(space).decode(np.array([[-1], [1]], np.float32))
    assert low == limits.min
    assert limits.max - int(high[0]) < 2**11


def test_integer_boxes_with_infinite_bounds_and_spaces_without_entries_are_no_actions() -> None:
    for space in (spaces.Box(-np.inf, np.inf, (1,), np.int64), spaces.Box(0, np.inf, (1,), np.int32)):
        with pytest.raises(UnsupportedSpace, match="unbounded"):
            action_spec(space)
    with pytest.raises(UnsupportedSpace, match="not supported"):
        action_spec(spaces.MultiDiscrete(np.ones(0, np.int64)))


def test_actions_that_make_no_sense_are_refused() -> None:
    decoder = ActionDecoder(spaces.Discrete(3))
    with pytest.raises(ValueError, match="shape"):
        decoder.choose(np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="not a number"):
        decoder.choose(np.full((1, 3), np.nan, np.float32))


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("discrete", ActionSpec("discrete", (3,))),
        ("multibinary", ActionSpec("discrete", (2, 2, 2, 2))),
        ("multidiscrete", ActionSpec("discrete", (2, 3, 4, 5))),
        ("box", ActionSpec("continuous", (1, 1, 1, 1))),
    ],
)
def test_action_specs(name: str, spec: ActionSpec) -> None:
    assert action_spec(SPACES[name]) == spec
    assert spec.width == sum(spec.sizes)


@pytest.mark.parametrize("name", ["unbounded", "dict", "sequence", "graph", "oneof", "text"])
def test_unsupported_actions_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedSpace) as caught:
        action_spec(SPACES[name])
    assert type(SPACES[name]).__name__ in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["sequence", "graph", "oneof", "text", "double"])
def test_unsupported_observations_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedSpace) as caught:
        observation_layout(SPACES[name])
    assert {"text": "Text", "double": "'a/b'"}.get(name, type(SPACES[name]).__name__) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refused_leaf_is_named_with_its_path() -> None:
    with pytest.raises(UnsupportedSpace, match="'a/1'"):
        observation_layout(spaces.Dict(a=spaces.Tuple((spaces.Discrete(2), SPACES["sequence"]))))


def test_nested_spaces_are_flattened_and_text_is_named() -> None:
    layout = observation_layout(SPACES["nested"])
    assert layout.specs == {
        "camera": ObservationSpec("image", (64, 64, 3)),
        "deep/scalar": ObservationSpec("vector", (1,)),
        "pair/0": ObservationSpec("categorical", (4,), (2, 2, 2, 2)),
        "pair/1": ObservationSpec("categorical", (2,), (3, 5)),
        "state/gear": ObservationSpec("categorical", (1,), (3,)),
        "state/position": ObservationSpec("vector", (4,)),
    }
    assert len(layout.notices) == 2
    assert "deep/label, note" in layout.notices[0]
    assert "'camera'" in layout.notices[1]
    assert "20 x 24" in layout.notices[1]


def test_fields_without_entries_are_left_out() -> None:
    layout = observation_layout(spaces.Dict(nothing=spaces.Box(0, 1, (0,)), something=spaces.Box(0, 1, (1,))))
    assert list(layout.specs) == ["something"]
    assert "nothing" in layout.notices[0]


def test_wrong_observations_are_found() -> None:
    encoder = ObservationEncoder(observation_layout(spaces.Dict(v=spaces.Box(-1, 1, (2,)), c=spaces.Discrete(3))))
    good: dict[str, Any] = {"v": np.ones((3, 2), np.float32), "c": np.zeros((3, 1), np.int32)}

    def fault(**raw: Any) -> tuple[int, str] | None:
        with np.errstate(over="ignore"):
            return encoder.fault(encoder.encode({**good, **raw}), {**good, **raw})

    assert fault() is None
    assert fault(v=np.full((3, 2), 3e38, np.float32)) is None
    assert fault(v=np.array([[1, 1], [1, 1], [1, np.inf]])) == (2, "observation 'v' is not finite (value inf)")
    assert fault(v=np.array([[1, 1], [1, 1e39], [1, 1]])) == (
        1,
        "observation 'v' has value 1e+39, which float32 cannot hold; numbers up to 3.4e38 are accepted",
    )
    stream, text = fault(c=np.array([[0], [3], [-1]], np.int32)) or (-1, "")
    assert stream == 1
    assert "Discrete(3)" in text


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (spaces.Box(0, 1, (20, 20)), "is no uint8 image from 0 to 255: it is used as a vector"),
        (spaces.Box(0, 1, (4, 20, 20)), "is no uint8 image from 0 to 255: it is used as a vector"),
        (spaces.Box(0, 1, (4, 20, 20, 3)), "is no uint8 image from 0 to 255: it is used as a vector"),
        (spaces.Box(0, 255, (32, 32, 48), np.uint8), "(32, 32, 48) is read as (C, H, W), its channels the shorter"),
        (spaces.Box(0, 255, (48, 32, 32), np.uint8), "(48, 32, 32) is read as (H, W, C), its channels the shorter"),
    ],
)
def test_how_a_picture_is_read_is_said(space: spaces.Space[object], said: str) -> None:
    (notice,) = observation_layout(space).notices
    assert said in notice


@pytest.mark.parametrize("space", [spaces.Box(0, 1, (20, 3)), spaces.Box(0, 255, (32, 32, 3), np.uint8)])
def test_what_is_clear_needs_no_notice(space: spaces.Space[object]) -> None:
    assert observation_layout(space).notices == ()


def test_spaces_of_the_old_gym_are_named() -> None:
    class Box:
        shape, dtype = (2,), np.dtype(np.float32)

        def __repr__(self) -> str:
            return "Box(2,)"

    Box.__module__ = "gym.spaces.box"
    for translate in (observation_layout, action_spec):
        with pytest.raises(UnsupportedSpace, match=r"Box\(2,\) is a space of the old gym package; one of gymnasium"):
            translate(Box())  # type: ignore[arg-type]
