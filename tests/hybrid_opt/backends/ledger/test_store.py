"""The ledger: what is promised of jobs, budgets, restarts and secrets, against the faults that they are about."""

import logging
import signal
import sqlite3
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_opt.backends.fallback import Fallback
from hybrid_opt.backends.ledger.backend import Ledgered
from hybrid_opt.backends.ledger.config import LedgerConfig
from hybrid_opt.backends.ledger.delivery import jitter
from hybrid_opt.backends.ledger.serialization import request_hash
from hybrid_opt.backends.ledger.sqlite import sqlite_errors
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.backends.redaction import redact, redact_logs
from hybrid_opt.cost import Cost
from hybrid_opt.errors import (
    BackendError,
    BudgetExceeded,
    Cancelled,
    LedgerError,
    LostReply,
    ProblemError,
    TransientError,
)
from tests.hybrid_opt.backends.ledger.jobs import QUICK, RESTART, Vendor, VendorJob, anneal, in_another_process, resumed
from tests.hybrid_opt.flaky import Flaky


def test_key_is_committed_before_it_is_sent(tmp_path: Path) -> None:
    path, seen = tmp_path / "ledger.sqlite", []

    def look(key: str) -> None:
        with Ledger(path, must_exist=True) as other:
            seen.extend((job["key"], job["status"]) for job in other.jobs())

    backend = Ledgered(Vendor(on_submit=look), path)
    assert backend.submit(anneal(), "one", 1).result().about["vendor_id"] == "id-one"
    assert seen == [("one", "open")]
    (row,) = backend.ledger.attempts()
    assert (row["status"], row["shots"], row["seconds"], row["dollars"]) == ("done", 10, 0.25, 0.75)
    assert row["request"] == request_hash("vendor", anneal(), 1) and row["vendor_id"] == "id-one"
    backend.close()


def test_what_arrived_is_not_sent_again() -> None:
    vendor = Vendor(LostReply("lost"))
    backend = Ledgered(vendor, Ledger(":memory:", **QUICK))
    backend.submit(anneal(), "a").result()
    assert vendor.sent == ["a"]


def test_retries_until_it_is_taken_and_gives_up_after_tries() -> None:
    vendor = Vendor(*[TransientError("busy")] * 3)
    ledger = Ledger(":memory:", tries=5, **QUICK)
    assert Ledgered(vendor, ledger).submit(anneal(), "a").result().about["attempts"] == 4
    assert [row["status"] for row in ledger.attempts()] == ["lost"] * 3 + ["done"]
    assert (ledger.spent.dollars, ledger.reserved.dollars) == (0.75, 0.0)
    hopeless = Vendor(*[TransientError("busy")] * 99)
    with pytest.raises(BackendError, match="given up.*busy"):
        Ledgered(hopeless, ledger).submit(anneal(), "b").result()
    assert len(hopeless.sent) == 5 and ledger.spent.dollars == 0.75 and ledger.reserved.dollars == 0.0


@pytest.mark.parametrize("waits", [0, 3])
def test_results_that_never_come_are_given_up(monkeypatch: pytest.MonkeyPatch, waits: int) -> None:
    """The job is found by its key each time, also after waits; it stays open, to be found later."""
    asked: list[float | None] = []

    def broken(job: VendorJob, timeout: float | None = None) -> Any:
        asked.append(timeout)
        raise LostReply("no answer") if len(asked) % (waits + 1) == 0 else TimeoutError

    monkeypatch.setattr(VendorJob, "result", broken)
    ledger, vendor = Ledger(":memory:", tries=4, **QUICK), Vendor()
    with pytest.raises(BackendError, match="given up.*no answer"):
        Ledgered(vendor, ledger).submit(anneal(), "a").result(60)
    assert len(asked) == 4 * (waits + 1) and vendor.sent == ["a"]
    assert ledger.jobs()[0]["status"] == "open" and ledger.reserved.dollars == 1.0


def test_failures_far_apart_are_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job in a queue for days outlives more failures than are tried in a row."""
    failures: list[float] = []
    finished = VendorJob.result

    def flaky(job: VendorJob, timeout: float | None = None) -> Any:
        if len(failures) == 9:
            return finished(job, timeout)
        if not failures or time.monotonic() - failures[-1] > 0.15:
            failures.append(time.monotonic())
            raise LostReply("no answer")
        time.sleep(0.02)
        raise TimeoutError

    monkeypatch.setattr(VendorJob, "result", flaky)
    ledger = Ledger(":memory:", tries=4, **QUICK)
    assert Ledgered(Vendor(), ledger).submit(anneal(), "a").result(60).samples
    assert len(failures) == 9


def test_a_failure_for_good_is_not_retried() -> None:
    vendor, ledger = Vendor(BackendError("broken")), Ledger(":memory:", **QUICK)
    with pytest.raises(BackendError, match="broken"):
        Ledgered(vendor, ledger).submit(anneal(), "a").result()
    assert vendor.sent == ["a"] and ledger.jobs()[0]["status"] == "failed"
    again = Ledgered(vendor, ledger).submit(anneal(), "a").result()  # the same key may be asked for again
    assert again.about["attempts"] == 2 and ledger.jobs()[0]["status"] == "done"


def test_jitter_is_full_and_exponential() -> None:
    config, rng = LedgerConfig(pause=0.5, longest_pause=4.0), np.random.default_rng(0)
    for failures, most in ((1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (60, 4.0)):
        pauses = np.array([jitter(config, failures, rng) for _ in range(2000)])
        assert pauses.min() >= 0 and pauses.max() <= most
        assert abs(pauses.mean() - most / 2) < 5 * most / np.sqrt(12 * 2000)


def test_fallback_takes_over_and_is_seen() -> None:
    vendor, ledger = Vendor(BackendError("broken")), Ledger(":memory:", **QUICK)
    backend = Ledgered(Fallback(vendor, Vendor(name="spare")), ledger)
    result = backend.submit(anneal(), "a").result()
    assert (result.about["origin"], result.about["backend"], result.about["fallback_reason"]) == (
        "fallback", "spare", "broken",
    )  # fmt: skip
    assert [(row["backend"], row["status"]) for row in ledger.attempts()] == [("vendor", "failed"), ("spare", "done")]
    assert ledger.jobs()[0]["origin"] == "fallback"
    assert backend.submit(anneal(), "b").result().about["origin"] == "run"


def test_a_job_that_was_left_at_the_fallback_is_found_there(tmp_path: Path) -> None:
    def silent(key: str) -> Any:
        raise LostReply("no answer")

    first, spare, path = Vendor(), Vendor(LostReply("no answer"), name="spare"), tmp_path / "ledger.sqlite"
    find, spare.find = spare.find, silent  # type: ignore[method-assign]
    with Ledger(path, tries=1, **QUICK) as ledger, pytest.raises(BackendError, match="given up"):
        Ledgered(Fallback(Vendor(BackendError("broken")), spare), ledger).submit(anneal(), "a").result()
    spare.find = find  # type: ignore[method-assign]
    with Ledger(path, **QUICK) as ledger:
        about = Ledgered(Fallback(first, spare), ledger).submit(anneal(), "b").result().about
    assert (about["origin"], about["backend"], about["resumed"]) == ("fallback", "spare", True)
    assert not first.sent and len(spare.sent) == 1


def test_timeout_cancels_the_job_there() -> None:
    vendor, ledger = Vendor(), Ledger(":memory:", timeout=0.3, **QUICK)
    vendor.hold.clear()
    with pytest.raises(BackendError, match="no result within 0.3 s"):
        Ledgered(vendor, ledger).submit(anneal(), "a").result()
    assert vendor.jobs["a"].cancelled and ledger.spent.dollars == ledger.reserved.dollars == 0


def test_submit_does_not_wait_and_cancel_reaches_what_is_queued() -> None:
    vendor, ledger = Vendor(), Ledger(":memory:", workers=1, **QUICK)
    vendor.hold.clear()
    backend = Ledgered(vendor, ledger)
    first, second = backend.submit(anneal(), "x-0"), backend.submit(anneal(), "y-0")
    while not vendor.sent:
        time.sleep(0.01)
    assert not first.done() and ledger.reserved.dollars == 2.0
    with pytest.raises(TimeoutError):
        first.result(0.05)
    backend.cancel("y")
    backend.cancel("x")
    for job in (first, second):
        with pytest.raises(Cancelled):
            job.result(5)
    assert vendor.sent == ["x-0"] and vendor.jobs["x-0"].cancelled
    assert {job["status"] for job in ledger.jobs()} == {"cancelled"} and ledger.reserved.dollars == 0


def test_cache_only_when_asked(tmp_path: Path) -> None:
    vendor, path = Vendor(), tmp_path / "ledger.sqlite"
    plain = Ledgered(vendor, path)
    first = plain.submit(anneal(), "a", 3).result()
    plain.submit(anneal(), "b", 3).result()
    plain.close()
    cached = Ledgered(vendor, Ledger(path, cache=True))
    result = cached.submit(anneal(), "c", 3).result()
    assert vendor.sent == ["a", "b"] and result.about["origin"] == "cache" and result.cost == Cost()
    assert np.array_equal(result.samples[0], first.samples[0])
    cached.submit(anneal(), "d", 4).result()  # another seed is another request
    assert vendor.sent == ["a", "b", "d"]
    cached.close()


def test_same_key_same_job_and_never_another_request() -> None:
    vendor = Vendor()
    backend = Ledgered(vendor, Ledger(":memory:", **QUICK))
    vendor.hold.clear()
    job = backend.submit(anneal(), "a")
    assert backend.submit(anneal(), "a") is job
    vendor.hold.set()
    result = job.result()
    assert np.array_equal(backend.submit(anneal(), "a").result().samples[0], result.samples[0])
    found = backend.find("a")
    assert vendor.sent == ["a"] and found is not None and np.array_equal(found.result().samples[0], result.samples[0])
    with pytest.raises(ProblemError, match="key=a"):
        backend.submit(anneal(11), "a")


def test_budget_of_a_file_that_several_processes_share(tmp_path: Path) -> None:
    """500 claims of 10 shots each in 3 processes at once; the budget is for 100 of them."""
    path = str(tmp_path / "ledger.sqlite")
    Ledger(path, {"shots": 1000}).close()
    code = """
import sys
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.cost import Cost
from hybrid_opt.errors import BudgetExceeded
ledger, taken = Ledger(sys.argv[1]), 0
for i in range(167):
    try:
        ledger.claim(f"{sys.argv[2]}-{i}", f"{sys.argv[2]}-{i}", "b", 0, Cost(shots=10), ("", b""), b"")
        taken += 1
    except BudgetExceeded:
        pass
print(taken)
"""
    processes = [in_another_process(code, path, str(number)) for number in range(3)]
    taken = [int(process.communicate()[0]) for process in processes]
    assert sum(taken) == 100
    with Ledger(path) as ledger:
        assert ledger.reserved.shots == 1000 and ledger.budget == {"shots": 1000.0}
        with pytest.raises(
            BudgetExceeded, match="budget.shots=1000: 1000 are spent or reserved, and this needs 10 more"
        ):
            Ledgered(Vendor(), ledger).submit(anneal(), "z")


@pytest.mark.parametrize("budget", [{"euros": 1}, {"shots": -1}, {"shots": "many"}, 7, {"dollars": float("nan")}])
def test_wrong_budgets(budget: Any) -> None:
    with pytest.raises(ProblemError, match="budget"):
        Ledger(":memory:", budget)


def test_wrong_files_and_options(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no ledger, but it is long enough to be looked at" * 9)
    for path in (tmp_path / "text", tmp_path / "nowhere" / "ledger.sqlite"):
        with pytest.raises(ProblemError, match="ledger="):
            Ledger(path)
    with pytest.raises(ProblemError, match="ledger.tries=0"):
        Ledger(":memory:", tries=0)


@pytest.mark.slow
def test_killed_in_flight_and_found_again_under_new_keys(tmp_path: Path) -> None:
    """Keys are new in every process: the request finds its job. Jobs of a process that came to its end are its own."""
    resumed(tmp_path, "2", signal.SIGKILL)
    vendor = Flaky(folder=str(tmp_path / "vendor"))
    outputs = []
    for _ in range(2):
        process = in_another_process(RESTART, str(tmp_path), "2")
        outputs.append(process.communicate()[0])
        assert process.returncode == 0
    assert outputs[0].count("True") == 3 and outputs[1].count("False") == 3
    assert outputs[0].replace("True", "False") == outputs[1]
    assert len(vendor.bill()) == 6  # three by the process that was killed, paid once; three that were asked for anew
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.spent.shots == 30 and ledger.reserved.shots == 0
    vendor.stop()


CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from tests.hybrid_opt.backends.ledger.test_store import Ledger, Ledgered, Vendor, anneal
vendor = Vendor()
vendor.hold.clear()
backend = Ledgered(vendor, Ledger(sys.argv[1], workers=1))
jobs = [backend.submit(anneal(), f"job-{i}") for i in range(3)]
print("waiting", flush=True)
try:
    jobs[0].result()
except KeyboardInterrupt:
    backend.cancel()
    print([job.cancel() or job.done() for job in jobs], vendor.sent)
    for job in jobs:
        try:
            job.result(5)
        except Exception as error:
            print(type(error).__name__)
backend.close()
"""


def test_ctrl_c_cancels_what_is_queued(tmp_path: Path) -> None:
    process = in_another_process(CTRL_C, str(tmp_path / "ledger.sqlite"))
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert output.count("Cancelled") == 3 and "['job-0']" in output, errors
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert [job["status"] for job in ledger.jobs()] == ["cancelled"] * 3 and ledger.reserved.shots == 0


def test_tokens_are_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ["s3cr3t-of-the-environment", "Zx9" * 15, "hunter2hunter2"]
    monkeypatch.setenv("QISKIT_IBM_TOKEN", secrets[0])
    text = f"401 for {secrets[0]}: Authorization: Bearer {secrets[1]}, password='{secrets[2]}' at job cz0123456789"
    ledger = Ledger(tmp_path / "ledger.sqlite", **QUICK)
    with pytest.raises(BackendError):
        Ledgered(Vendor(TransientError(text), BackendError(text)), ledger).submit(anneal(), "a").result()
    ledger.close()
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"401 for ***" in written and b"job cz0123456789" in written
    assert not [secret for secret in secrets if secret.encode() in written]
    assert redact("nothing to hide in job 3f2b8c5e-0000-4000-8000-123456789abc") == (
        "nothing to hide in job 3f2b8c5e-0000-4000-8000-123456789abc"
    )


def test_budgets_take_any_kind_of_number() -> None:
    ledger = Ledger(":memory:", {"shots": np.int64(10), "seconds": np.float32(2.5), "dollars": Fraction(1, 2)})
    assert ledger.budget == {"shots": 10.0, "seconds": 2.5, "dollars": 0.5}


def test_secrets_of_urls_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "value-of-a-key")
    text = (
        "postgresql://me:hun:t@er@host:5432/db pwd=hunter22 MY_KEY='abcdefgh' value-of-a-key postgresql//me:hunter3@h"
    )
    assert redact(text) == "postgresql://me:***@host:5432/db pwd=*** MY_KEY='***' *** postgresql//me:***@h"
    assert redact("http://127.0.0.1:8080/jobs") == "http://127.0.0.1:8080/jobs"


def test_what_vendors_log_has_no_tokens(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(logging, "_logRecordFactory", logging.LogRecord)
    redact_logs()
    token = "DEV-" + 20 * "a1"
    for name in ("dwave.cloud.client", "qiskit_ibm_runtime.api", "urllib3"):
        logging.getLogger(name).warning("session %r with %s", {"X-Auth-Token": token}, token)
    logging.getLogger("of.the.user").warning("left as it is: %s", 20 * "a1")
    assert token not in caplog.text and 20 * "a1" in caplog.text and "session" in caplog.text


def test_faults_of_the_file_are_ours(tmp_path: Path) -> None:
    """A full disk, and a file that was damaged while it was open: a line that names the ledger."""
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, **QUICK)
    pages = ledger._database.execute("PRAGMA page_count").fetchone()[0]
    ledger._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(BackendError, match=rf"^ledger={path}: database or disk is full$"):
        for number in range(1000):
            ledger.claim(f"{number}", "r", "b", 0, Cost(), ("h", bytes(9000)), bytes(9000))
    ledger._database.execute("PRAGMA max_page_count = 100000")
    ledger.close()
    ledger = Ledger(path)
    ledger._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(range(256)) * (16 * (pages - 1)))
    ledger._database.execute("PRAGMA shrink_memory")
    with pytest.raises(BackendError, match=rf"^ledger={path}: .*malformed"):
        ledger.jobs()
        ledger.attempts()
    with pytest.raises(BackendError, match="malformed"):
        ledger.close()  # nor can the end be noted; the file is closed all the same


def test_a_ledger_that_cannot_be_written_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "what? 100% #1"
    folder.mkdir()
    path = folder / "ledger.sqlite"
    Ledgered(Vendor(), Ledger(path, {"shots": 99}, **QUICK)).submit(anneal(), "a").result()
    monkeypatch.setattr("hybrid_opt.backends.ledger.file.os.access", lambda *_: False)  # root may write everywhere
    with Ledger(path, must_exist=True) as ledger:
        assert [job["key"] for job in ledger.jobs()] == ["a"] and ledger.budget == {"shots": 99.0}
        with pytest.raises(ProblemError, match="cannot be written; show and export are accepted"):
            ledger.stop("a")


def test_the_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Ledger("~/ledger.sqlite").close()
    assert (tmp_path / "ledger.sqlite").is_file()


def test_a_ledger_that_fails_after_sending_has_nothing_sent_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No fallback takes over: the vendor has the job."""
    ledger, vendor, other = Ledger(tmp_path / "ledger.sqlite", **QUICK), Vendor(), Vendor()
    other.name = "other"

    def full(*_: Any) -> None:
        with sqlite_errors("ledger"):
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ledger, "accepted", full)
    with pytest.raises(LedgerError, match="^ledger=ledger: database or disk is full$"):
        Ledgered(Fallback(vendor, other), ledger).submit(anneal(), "a").result()
    assert len(vendor.jobs) == 1 and not other.jobs
