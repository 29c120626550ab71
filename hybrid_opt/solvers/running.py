"""Programs on a backend, waited for by a solver that may be cancelled."""

from collections.abc import Iterable
from dataclasses import fields, replace
from threading import Event

from hybrid_opt.backends.backend import Backend, Program, Result
from hybrid_opt.cost import Cost
from hybrid_opt.errors import Cancelled
from hybrid_opt.solvers.solver import Origin

SLICE = 0.05  # seconds between two looks at whether the job was cancelled


def run(backend: Backend, program: Program, key: str, seed: int, stop: Event) -> Result:
    """Submit a program and wait for its result; `stop` cancels it, and raises Cancelled."""
    if stop.is_set():
        raise Cancelled(f"job {key} was cancelled")
    job = backend.submit(program, key, seed)
    while True:
        try:
            return job.result(SLICE)
        except TimeoutError:
            if job.done():  # since then, or the error is the backend's own and comes again
                return job.result()
            if stop.is_set():
                job.cancel()
                raise Cancelled(f"job {key} was cancelled") from None


def share(cost: Cost, count: int, number: int) -> Cost:
    """What part `number` of `count` equal ones did cost, without the clock's time; the parts add up to it."""
    parts = {field.name: getattr(cost, field.name) for field in fields(Cost)}
    return replace(
        Cost(
            **{
                name: value // count + (number < value % count) if isinstance(value, int) else value / count
                for name, value in parts.items()
            }
        ),
        wall_seconds=0.0,
    )


def total(results: Iterable[Result]) -> Cost:
    """What they did cost."""
    return sum((result.cost for result in results), Cost())


def origin(results: Iterable[Result]) -> Origin:
    """Where results come from: "fallback" if any of them does, "cache" if all of them do."""
    origins = {result.about.get("origin", "run") for result in results}
    return "fallback" if "fallback" in origins else "cache" if origins == {"cache"} else "run"
