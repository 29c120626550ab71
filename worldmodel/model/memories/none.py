"""No memory."""

from worldmodel.model.config import MemoryOptions
from worldmodel.model.memories.memory import Memory


class NoMemory(Memory):
    """Keeps nothing and costs nothing. Control of all others."""

    def __init__(self, feature: int, embed: int, options: MemoryOptions) -> None:
        super().__init__()
