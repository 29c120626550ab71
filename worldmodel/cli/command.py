"""The main of every command: words on the command line in, a validated config and an exit code out."""

import gc
import os
import signal
import sys
import threading
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Protocol

from worldmodel.cli.standard_streams import Stream, nowhere, standard_streams
from worldmodel.runs.atomic_file import WriteError

_OPTIONS = {
    "-h": "help",
    "--help": "help",
    "-c": "cfg",
    "--cfg": "cfg",
    "--cfg=job": "cfg",
    "--version": "version",
}


def command(name: str, target: str, argv: Sequence[str] | None = None, configs: Path | None = None) -> int:
    """Run `python -m worldmodel.NAME` and return its exit code.

    `target` is `module:function`, imported only when it is going to run. The function takes a config dataclass, which
    its annotation names, and the words if it has a second parameter; it returns an exit code or None. `argv` are the
    words behind the command, by default those of sys.argv; one that is @FILE stands for the words of a YAML file.

    Exceptions with an attribute `exit_code` end as one line on stderr and that code; an interrupt, by SIGTERM too, is
    130, and so is whatever imports make of it; any other exception is a fault of the program and is raised.
    """
    with standard_streams():
        interrupt = _Interrupt()
        try:
            with interrupt:
                words = list(sys.argv[1:] if argv is None else argv)
                return _run(name, target, words, configs, interrupt)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        except Exception as error:
            code = getattr(error, "exit_code", None)
            if not isinstance(code, int):
                if interrupt.came:
                    print("interrupted", file=sys.stderr)
                    return 130
                if (told := _out_of_memory(error)) is None:
                    raise
                error, code = told, 1
            line = " ".join(str(error).split())
            print(line if code == 130 else f"error: {line}", file=sys.stderr)
            return code


def _out_of_memory(error: BaseException) -> Exception | None:
    """One line for memory that this machine has not got: Python's, NumPy's, PyTorch's and CUDA's; None for others."""
    signs = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc")
    if not (
        isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(s in str(error) for s in signs))
    ):
        return None
    place = error.__traceback__
    while place is not None and place.tb_next is not None and _ours(place.tb_next):
        place = place.tb_next
    where = f" in {Path(place.tb_frame.f_code.co_filename).name}, line {place.tb_lineno}" if place else ""
    reason = " ".join(str(error).split())[:300] or "an allocation failed"
    return MemoryError(f"out of memory{where}: {reason}; smaller sizes, batches, horizons or images need less")


def _ours(place: TracebackType) -> bool:
    return Path(__file__).parents[2] in Path(place.tb_frame.f_code.co_filename).parents


def leave(code: int) -> NoReturn:
    """End the program with an exit code, without a last search for garbage: among PyTorch's objects it takes long."""
    gc.freeze()
    raise SystemExit(code)


class Stoppable(Protocol):
    """Work that ends in good order once `stopping` is set."""

    stopping: bool


@contextmanager
def stopped_by_signals(work: Stoppable) -> Iterator[None]:
    """SIGINT and SIGTERM ask the work to stop where nothing is half done; the second one raises KeyboardInterrupt.

    So does SIGHUP, when the terminal is closed, unless it is ignored.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if work.stopping:
            raise KeyboardInterrupt
        work.stopping = True

    hangup = [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL else []
    with _handled(stop, signal.SIGINT, signal.SIGTERM, *hangup):
        yield


def _run(name: str, target: str, words: list[str], folder: Path | None, interrupt: "_Interrupt") -> int:
    options, words = _options(words)
    if "version" in options:
        from worldmodel.runs.version import __version__

        return _page(f"worldmodel {__version__}\n")

    from worldmodel.cli.compose import UsageError, composed
    from worldmodel.cli.overrides import Command, expanded
    from worldmodel.cli.schema import catalogue as catalogue_of
    from worldmodel.cli.schema import configs_folder

    try:
        Path.cwd()
    except OSError as error:
        raise UsageError(f"the current folder cannot be used: {error.strerror}; change to another") from None
    configs = folder or configs_folder()
    catalogue = catalogue_of(configs.absolute(), name)
    words = expanded(words, Command(catalogue, configs, name))
    composition = composed(catalogue, configs, name, words)
    if "help" in options:
        from worldmodel.cli.help import help_page

        return _page(help_page(name, catalogue, composition))
    if "cfg" in options:
        return _page(composition.yaml())

    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # the user wrote none of the lines
    composition.values()  # what is missing is told before the imports
    function, schema, takes_words = _target(target)
    config: Any = composition.validated(schema)
    interrupt.begun = True
    with _no_silent_end():
        return (function(config, words) if takes_words else function(config)) or 0


class _Interrupt:
    """What SIGTERM, and SIGINT where it is not ignored, do: end the process while it still imports, else interrupt it.

    begun: the command's own work has; before that there is nothing to save, and imports turn an exception into others.
    """

    def __init__(self) -> None:
        self.begun = self.came = False
        self._handlers = ExitStack()

    def __enter__(self) -> None:
        heeded = [signal.SIGINT] if signal.getsignal(signal.SIGINT) != signal.SIG_IGN else []
        self._handlers.enter_context(_handled(self._heed, signal.SIGTERM, *heeded))

    def __exit__(self, *error: object) -> None:
        self._handlers.close()

    def _heed(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        if not self.begun:
            with suppress(OSError):
                os.write(2, b"interrupted\n")
            os._exit(130)
        raise KeyboardInterrupt


@contextmanager
def _no_silent_end() -> Iterator[None]:
    """Have os._exit(0) end the program as a fault: an environment that calls it would end a run as if it were done."""
    end, owner = os._exit, os.getpid()

    def told(status: int) -> NoReturn:
        if status == 0 and os.getpid() == owner:  # not in a process that was forked
            with suppress(OSError):
                os.write(2, b"error: os._exit(0) was called in this process, by an environment or a library of it\n")
            status = 1
        end(status)

    os._exit = told
    try:
        yield
    finally:
        os._exit = end


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # no other may set handlers
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _options(words: list[str]) -> tuple[set[str], list[str]]:
    """The options among the words (`--cfg job` is what Hydra calls `--cfg`), and the other words."""
    options = {_OPTIONS[word] for word in words if word in _OPTIONS}
    before = ["", *words[:-1]]
    return options, [
        word
        for last, word in zip(before, words, strict=False)
        if word not in _OPTIONS and not (word == "job" and _OPTIONS.get(last) == "cfg")
    ]


def _target(target: str) -> tuple[Callable[..., int | None], type, bool]:
    module, _, attribute = target.partition(":")
    function = getattr(import_module(module), attribute)
    hints = typing.get_type_hints(function)
    hints.pop("return", None)
    schema, *others = hints.values()
    return function, schema, bool(others)


def _page(text: str) -> int:
    out = sys.stdout.stream if isinstance(sys.stdout, Stream) else sys.stdout
    try:
        out.write(text)
        out.flush()
    except OSError as error:
        nowhere(out)
        if not isinstance(error, BrokenPipeError):  # else the reader, `head` or `less`, has seen enough
            raise WriteError(Path("stdout"), error) from error
    return 0
