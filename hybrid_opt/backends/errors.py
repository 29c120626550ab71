"""Errors of vendors' libraries, raised as ours."""

import errno
import functools
import socket
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator
from typing import Any, Literal

from hybrid_opt.backends.redaction import redact
from hybrid_opt.cost import Cost
from hybrid_opt.errors import BackendError, CorruptResult, LostReply, ProblemError, TransientError
from hybrid_opt.notices import notice

Stage = Literal["opening", "sending", "waiting"]
STAGES: dict[str, Stage] = {  # the methods in which a backend may call its vendor's library
    "__init__": "opening",
    "capabilities": "opening",
    "limits": "opening",
    "estimate": "opening",
    "_estimate": "opening",
    "transpiled": "opening",
    "_checked": "opening",
    "_prepare": "opening",
    "submit": "sending",
    "_submit": "sending",
    "find": "opening",
    "find_all": "opening",
    "close": "opening",
}
NETWORK = ("requests", "urllib3", "httpx", "httpcore", "aiohttp", "websockets", "websocket")  # libraries
NEVER = ("NewConnectionError", "ConnectTimeout", "ConnectError", "NameResolutionError", "Connection refused")
FILES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE)  # beside those with classes of their own


class Translated(ContextDecorator):
    """Raise what `ours` makes of an error; errors that are ours already pass.

    No generator with @contextmanager: contextlib takes a RuntimeError that comes of a StopIteration for Python's own.
    """

    def __init__(self, ours: Callable[[Exception], Exception]) -> None:
        self._translate = ours

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ProblemError | BackendError | MemoryError):
            ours = self._translate(error)
            if ours is not error:
                raise ours from error


class VendorCalls:
    """Base of backends that call a vendor's library: only errors of ours leave the methods named in STAGES.

    What runs later, in a job's thread, goes `with self.calling("waiting")`. A subclass whose vendor keeps jobs
    overrides `_ours`. A fault while closing is a warning: the results are there. MemoryError passes: it is no vendor's.
    """

    name: str

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for method in STAGES.keys() & vars(cls).keys():
            made = vars(cls)[method]
            if isinstance(made, property) and made.fget is not None:
                setattr(cls, method, property(_guarded(made.fget, method), doc=made.__doc__))
            else:
                setattr(cls, method, _guarded(made, method))

    def calling(self, stage: Stage) -> Translated:
        """Raise errors of the vendor's library as ours; errors that are ours already pass.

        opening: nothing was sent. sending: where no answer came, the job may be there. waiting: the job is there,
        whatever happens on the way to it.
        """
        return Translated(lambda error: self._ours(error, stage))

    def _ours(self, error: Exception, stage: Stage) -> Exception:
        """What an error is where jobs cannot be found again: one that may have been paid is not sent twice."""
        line = one_line(getattr(self, "name", type(self).__name__.lower()), error)
        free = stage == "opening" or not getattr(getattr(self, "capabilities", None), "remote", False)
        ours = TransientError(line) if free and unanswered(error) else BackendError(line)
        ours.cost = Cost() if free else None
        return ours


def doubtful(error: Exception, line: str, stage: Stage, lost: bool = False) -> Exception:
    """What an unknown error is at a vendor's who keeps jobs under our keys: one that may be there is looked for.

    lost: the error says that there was no answer, in the vendor's own words.
    """
    lost = lost or unanswered(error)
    if stage == "opening":
        return TransientError(line) if lost else BackendError(line)
    if stage == "sending":
        return TransientError(line) if _never_sent(error) else LostReply(line)
    return LostReply(line) if lost else CorruptResult(line)


def one_line(name: str, error: BaseException) -> str:
    """An error of a backend's library in one line, without tokens."""
    return f"backend={name}: {told(error)}"


def told(error: BaseException) -> str:
    """An error in one line, without tokens."""
    return redact(" ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":"))[:300]


def circuit_errors(done: str) -> Translated:
    """Raise what a library cannot do with a circuit as a ProblemError: the circuit cannot be `done`."""

    def ours(error: Exception) -> Exception:
        return error if unanswered(error) else ProblemError(f"circuit: cannot be {done}: {told(error)}")

    return Translated(ours)


def unanswered(error: BaseException) -> bool:
    """Whether a connection that was not made, broke or timed out is behind an error."""
    return any(map(_of_network, chain(error)))


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came of."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def _of_network(error: BaseException) -> bool:
    if isinstance(error, OSError):
        files = FileNotFoundError | FileExistsError | PermissionError | IsADirectoryError | NotADirectoryError
        return not isinstance(error, files) and error.errno not in FILES and error.filename is None
    return any(base.__module__.partition(".")[0] in NETWORK for base in type(error).__mro__)


def _never_sent(error: BaseException) -> bool:
    return any(
        isinstance(each, ConnectionRefusedError | socket.gaierror)
        or any(word in f"{type(each).__name__}: {each}" for word in NEVER)
        for each in chain(error)
    )


def _guarded(made: Callable[..., Any], method: str) -> Callable[..., Any]:
    @functools.wraps(made)
    def guarded(self: VendorCalls, *args: Any, **kwargs: Any) -> Any:
        with self.calling(STAGES[method]):
            return made(self, *args, **kwargs)

    @functools.wraps(made)
    def closing(self: VendorCalls) -> None:
        try:
            guarded(self)
        except (ProblemError, BackendError) as error:
            notice(f"not closed: {error}", stacklevel=2)

    return closing if method == "close" else guarded
