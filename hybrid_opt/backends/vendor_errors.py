"""Errors of vendors' libraries, raised as ours."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from hybrid_opt.errors import BackendError, ProblemError

Stage = Literal["opening", "sending", "waiting"]


@contextmanager
def mapping(ours: Callable[[Exception, str, Stage], Exception], name: str, stage: Stage) -> Iterator[None]:
    """Raise what `ours` makes of an error on backend `name`; errors that are ours already pass.

    opening: nothing was sent. sending: where no answer came, the job may be there (LostReply). waiting: the job is
    there, whatever happens on the way to it (LostReply).
    """
    try:
        yield
    except (ProblemError, BackendError):
        raise
    except Exception as error:
        raise ours(error, name, stage) from error
