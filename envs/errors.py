"""What can go wrong with an environment: a choice that is refused, and a fault while it runs."""


class EnvironmentRefused(ValueError):
    """The chosen environment cannot be made: unknown id, missing package, wrong option. One line, with the key."""

    exit_code = 2


class UnsupportedSpace(EnvironmentRefused):
    """An observation or action space that no encoder or actor exists for. Names the space."""


class EnvironmentFault(RuntimeError):
    """A running environment died, raised an exception or returned something that is not a number.

    One line with the id, the stream and what happened; the cause is the original exception where one exists.
    """

    exit_code = 1


class WrongAnswer(ValueError):
    """What an environment gave is not what its spaces or Gymnasium's interface say. One line."""


class WorkerTraceback(Exception):
    """The traceback of an exception in a worker process, as text: the exception itself may not survive the pipe."""
