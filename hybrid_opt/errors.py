"""What can go wrong, by who has to do something about it."""

from hybrid_opt.cost import Cost


class ProblemError(ValueError):
    """The problem, or an option of a solver or backend, is not one that can be accepted."""

    exit_code = 2


class BackendError(RuntimeError):
    """A backend could not run a program.

    cost: what the attempt was billed, or may have been; None where the backend does not tell.
    """

    exit_code = 3
    cost: Cost | None = None


class TransientError(BackendError):
    """It may work when tried again: a queue that is full, a connection that was lost."""


class LostReply(TransientError):
    """The backend may have taken the program, but did not answer: it has to be looked for by its key."""


class CorruptResult(TransientError):
    """A result came that is not one of the program's: it has to be fetched again."""


class BudgetExceeded(BackendError):
    """Running the program would cost more than what is left. It was not sent."""


class LedgerError(BackendError):
    """The ledger cannot be read or written. Nothing else takes over: what was sent may be there, and be billed."""

    exit_code = 1


class Cancelled(BackendError):
    """The job was cancelled."""
