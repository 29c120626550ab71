"""What an episodic memory is. A kind of memories is one file beside this one, `memories/NAME.py`."""

from collections.abc import Callable

from torch import Tensor

from worldmodel.model.batch import AnyState, Slots, Windows
from worldmodel.model.observer import Observer


class Memory(Observer):
    """Keeps what was seen in an episode, and gives back what resembles the present. Here: nothing.

    It is made by `Memory(feature, embed, options)`, the widths of model states and of embedded observations. Every step
    is written before it is read. Shapes: N rows, T steps, B windows, E embedding, F feature, V context.
    """

    width = 0  # of a context, which heads see beside the model state
    asks = False  # whether a read depends on the state
    stored = 0  # numbers that the replay stores of each step

    def initial(self, state: AnyState) -> AnyState:
        """The state at the start of an episode, with an empty memory."""
        return state

    def seen(self, state: AnyState, embed: Tensor, first: Tensor, before: AnyState) -> AnyState:
        """Write one step, then read: the state with its context. embed [N, E]; first bool [N]; before: last step's."""
        return state

    def replayed(self, state: AnyState, embed: Tensor, windows: Windows) -> AnyState:
        """The same for replayed steps [T, B], written where they were written when they were experienced."""
        return state

    def frozen(self, state: AnyState) -> Callable[[Tensor], Tensor] | None:
        """A read of the memory as it is at states [N]: features [..., N, F] to contexts; None without a memory."""
        return None

    def reread(self, feature: Tensor, read: Callable[[Tensor], Tensor] | None) -> Tensor:
        """Imagined features [H + 1, N, F + V] with contexts that what is learned of them trains."""
        return feature

    def valued(self, state: AnyState, value: Tensor) -> AnyState:
        """Note the return [N] that the critic expects at what was written last."""
        return state

    def read(self, query: Tensor, slots: Slots) -> Tensor:
        """The context [N, V] of a query [N, d]."""
        raise NotImplementedError

    def write(self, item: Tensor, first: Tensor, slots: Slots) -> Slots:
        """The slots after an item [N, W]. They are emptied before it where first [N] is true."""
        raise NotImplementedError

    def metrics(self, state: AnyState) -> dict[str, Tensor]:
        """Figures [] of the memory at replayed states [T, B]."""
        return {}
