"""The options of the environments: the section `env`."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

MULTIPLE = 16  # the CNN halves the sides four times
Positive = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=MULTIPLE, le=4096, multiple_of=MULTIPLE)]
Resize = Literal["auto", False] | tuple[Side, Side]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class EnvConfig:
    """Where experience comes from."""

    id: str
    """any registered Gymnasium id, or module:Id-v0 for one of your own"""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """passed to gymnasium.make"""
    num: Positive = 1
    """parallel streams"""
    vectorization: Literal["auto", "sync", "async"] = "auto"
    """auto, sync or async; auto: processes for several streams of a slow environment"""
    action_repeat: Positive = 1
    """environment steps per action"""
    time_limit: Positive | None = None
    """environment steps after which an episode is truncated; null: the environment's own limit"""
    resize: Resize = "auto"
    """images: auto, false or [height, width] in multiples of 16; auto: 64 x 64 where the CNN cannot take the size"""
    grayscale: bool = False
    """turn colour images to grey"""
    atari: bool = False
    """Atari preprocessing: 64 x 64, up to 30 no-ops at the start, action_repeat frames skipped, no sticky actions"""
    eval_time_limit: Positive = 10000
    """longest episode of an evaluation, in environment steps"""
