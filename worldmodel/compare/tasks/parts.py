"""Tasks for a part of the model that stands alone: each is made of a seed, what makes the part, and a width."""

from collections.abc import Callable

from worldmodel.compare.tasks.losses import Task
from worldmodel.compare.tasks.mixtures import classification, curves, moons
from worldmodel.compare.tasks.narma import series
from worldmodel.model.factory import Factory

PARTED: dict[str, Callable[[int, Factory, int], Task]] = {
    "moons": classification(moons),
    "curves": classification(curves),
    "narma": series,
}
