"""python -m hybrid_opt.backends.ledger show|resume|cancel|export LEDGER"""

import argparse
import csv
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybrid_opt.backends.ledger.backend import Ledgered
from hybrid_opt.backends.ledger.budget import UNITS, amounts
from hybrid_opt.backends.ledger.serialization import circuits_of, unpack_program
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.backends.open import open_device
from hybrid_opt.errors import BackendError, Cancelled, ProblemError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Exit codes: 0 done; 2 wrong input; 3 a job failed; 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        with Ledger(options.ledger, must_exist=True) as ledger:
            return int(options.command(ledger, options))
    except (ProblemError, BackendError) as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def show(ledger: Ledger, options: Any) -> int:
    """Print what was spent and what became of the jobs."""
    spent, reserved, limits = amounts(ledger.spent), amounts(ledger.reserved), ledger.budget
    print(f"{'':10}{'spent':>14}{'reserved':>14}{'budget':>14}")
    for unit, done, held in zip(UNITS, spent, reserved, strict=True):
        print(f"{unit:10}{done:14.6g}{held:14.6g}{limits.get(unit, '-'):>14}")
    jobs = ledger.jobs()
    counts = Counter(_state(job) for job in jobs)
    print(f"\n{len(jobs)} jobs", *(f"{count} {state}" for state, count in counts.items()), sep=", ")
    attempts: dict[str, list[dict[str, Any]]] = {}
    for attempt in ledger.attempts():
        attempts.setdefault(attempt["key"], []).append(attempt)
    for job in jobs if options.all else [*[job for job in jobs if job["status"] == "open"][-20:], *jobs[-20:]]:
        tries = attempts.get(job["key"], [])
        vendor = next((attempt["vendor_id"] for attempt in reversed(tries) if attempt["vendor_id"]), "-")
        shots, dollars = sum(attempt["shots"] for attempt in tries), sum(attempt["dollars"] for attempt in tries)
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job["created"]))
        line = f"{job['key']:36} {when} {job['backend']:18.40} {_state(job):12} {vendor:20} {len(tries)} attempts"
        print(f"{line} {shots} shots {dollars:.4g} dollars {job['error'] or ''}".rstrip())
    return 0


def resume(ledger: Ledger, options: Any) -> int:
    """Carry unfinished jobs on to their end; programs that ask for the same then find the results."""
    failed = 0
    for name in sorted({job["backend"] for job in ledger.jobs("open")}):
        backend = _open(name, ledger)
        try:
            for job in backend.resume(options.everyones):
                try:
                    job.result()
                    print(f"{job.key}: done")
                except BackendError as error:
                    failed += 1
                    print(f"{job.key}: {error}", file=sys.stderr)
        finally:
            backend.close()
    left = len(ledger.jobs("open"))
    print(f"{left} jobs are still open" + (": their processes are at work" if left else ""))
    ledger.forget()
    return BackendError.exit_code if failed else 0


def cancel(ledger: Ledger, options: Any) -> int:
    """Cancel unfinished jobs: those of the keys given, or all."""
    open_jobs = {job["key"]: job for job in ledger.jobs("open")}
    for key in options.keys:
        if key not in open_jobs:
            raise ProblemError(f"key={key}: no unfinished job of {ledger.path}")
    wanted = {key: job["backend"] for key, job in open_jobs.items() if not options.keys or key in options.keys}
    for key in wanted:
        ledger.stop(key)
    for name in sorted(set(wanted.values())):
        backend = _open(name, ledger)
        try:
            for job in backend.resume(options.everyones, [key for key in wanted if wanted[key] == name]):
                try:
                    job.result()
                    print(f"{job.key}: it was done already")
                except Cancelled as error:
                    print(error)
        finally:
            backend.close()
    ledger.forget()
    for row in ledger.jobs("open"):
        if row["stop"]:
            print(f"job {row['key']}: the process at work on it was asked to cancel it")
    return 0


def export(ledger: Ledger, options: Any) -> int:
    """Write the attempts as CSV or JSON lines, and the circuits of the jobs."""
    rows = ledger.attempts()
    origins = {job["key"]: job["origin"] for job in ledger.jobs()}
    rows = [{**row, "origin": origins.get(row["key"])} for row in rows]
    with open(options.output, "w", newline="") if options.output else _Standard() as output:
        if options.format == "json":
            output.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            names = [*rows[0]] if rows else ["key"]
            writer = csv.DictWriter(output, names)
            writer.writeheader()
            writer.writerows(rows)
    if options.circuits:
        from hybrid_opt.circuits.export import export_circuit

        folder = Path(options.circuits)
        folder.mkdir(parents=True, exist_ok=True)
        for key in {job["circuit"]: job["key"] for job in ledger.jobs() if job["circuit"]}.values():
            programs = unpack_program(*ledger.content(key))
            for place, circuit in enumerate(circuits_of(programs).values()):
                name = f"{key}-{place}" if isinstance(programs, Sequence) else key
                for suffix in (".qasm", ".txt"):
                    export_circuit(circuit, folder / f"{name}{suffix}")
    return 0


class _Standard:
    """Standard output, not to be closed."""

    def __enter__(self) -> Any:
        return sys.stdout

    def __exit__(self, *error: object) -> None:
        sys.stdout.flush()


def _state(job: dict[str, Any]) -> str:
    return job["origin"] if job["origin"] == "fallback" and job["status"] == "done" else str(job["status"])


def _open(name: str, ledger: Ledger) -> Ledgered:
    return Ledgered(open_device(name), ledger)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hybrid_opt.backends.ledger", description="The ledger of backends.")
    commands = parser.add_subparsers(required=True, metavar="show|resume|cancel|export")
    for command in (show, resume, cancel, export):
        sub = commands.add_parser(command.__name__, help=command.__doc__, description=command.__doc__)
        sub.set_defaults(command=command)
        sub.add_argument("ledger", help="the ledger's file")
        if command is show:
            sub.add_argument("--all", action="store_true", help="all jobs, not only the open and the latest ones")
        if command in (resume, cancel):
            text = "also jobs of processes on other hosts, which you know to be gone"
            sub.add_argument("--everyones", action="store_true", help=text)
        if command is cancel:
            sub.add_argument("keys", nargs="*", help="of the jobs; all by default")
        if command is export:
            sub.add_argument("--format", choices=("csv", "json"), default="csv")
            sub.add_argument("--output", help="a file; standard output by default")
            sub.add_argument("--circuits", help="a folder for the circuits, as OpenQASM 3 and as text drawings")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
