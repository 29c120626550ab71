"""The backend around a backend: shots and costs sum up, wrong requests are one line, no job is lost or paid twice."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hybrid_opt import CircuitLayer
from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import AnnealProgram
from hybrid_opt.backends.dry_run import dry_run
from hybrid_opt.backends.ledger.backend import Ledgered
from hybrid_opt.backends.ledger.serialization import pack_circuit, pack_program, request_hash, unpack_program
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.backends.local.statevector import Statevector
from hybrid_opt.backends.mitigation import Mitigated
from hybrid_opt.errors import BackendError, ProblemError
from hybrid_opt.problem.qubo import Qubo
from tests.hybrid_opt.backends.mitigation.programs import exact, program, runs
from tests.hybrid_opt.flaky.client import KINDS, Flaky
from tests.hybrid_opt.flaky.test_flaky import books_agree

FAULTY = "&".join(f"{kind}=0.05" for kind in KINDS)  # 30 % of all calls
RUN = """
import sys
from hybrid_opt.backends.ledger.backend import Ledgered
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.backends import open_backend
from hybrid_opt.backends.mitigation import Mitigated
from tests.hybrid_opt.backends.mitigation.programs import program
from tests.hybrid_opt.backends.mitigation.test_mitigated import FAULTY
from tests.hybrid_opt.flaky.test_flaky import PATIENT
from tests.hybrid_opt.flaky.client import NAME
folder, count = sys.argv[1], int(sys.argv[2])
ledger = Ledger(folder + "/ledger.sqlite", **PATIENT)
vendor = open_backend(NAME + "?" + FAULTY + "&folder=" + folder + "/vendor")
backend = Mitigated(Ledgered(vendor, ledger), "readout+zne")
asked = program(10, "IZ", "ZI", sets=1)
jobs = [backend.submit(asked, "job-%d" % i, seed=i) for i in range(count)]
for i, job in enumerate(jobs):
    result = job.result()
    print(i, result.means.tobytes().hex(), result.cost.shots, flush=True)
backend.close()
ledger.close()
"""


@pytest.mark.parametrize("shots", [17, 100, 1001])
@pytest.mark.parametrize("labels", [("IIZ", "IZI"), ("IIZ", "XII", "IYI")])
@pytest.mark.parametrize(
    "text",
    [
        *("twirling", "readout", "zne(scales=1/3/5)", "pec(p=0.01)", "virtual", "learned(circuits=4)"),
        *("learned(per=circuit,circuits=4)", "twirling+readout+zne", "readout+pec(p=0.01)", "readout+virtual"),
        "readout+zne(amplify=noise,p=0.01,scales=1/1.5)",
    ],
)
def test_the_shots_of_a_program_are_divided(text: str, labels: tuple[str, ...], shots: int) -> None:
    """Calibration included, to the last one."""
    asked, backend = program(shots, *labels, sets=3), Mitigated(Statevector(), text)
    plain = Statevector().estimate(asked).shots
    assert runs(backend.expand(asked)[0].programs) == plain == backend.estimate(asked).shots
    assert backend.submit(asked, "key", 1).result().cost.shots == plain


def test_a_list_is_one_job_and_one_row(tmp_path: Path) -> None:
    """Its cost is the sum, and what each program gives is what it gives in every process."""
    asked = [program(100), program(50, seed=1)]
    backend = open_backend(
        "statevector?mitigation=readout+zne", ledger=tmp_path / "ledger.sqlite", budget={"shots": 300}
    )
    results = backend.submit(asked, "key", 7).result()
    backend.close()
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert len(ledger.jobs()) == 1 and ledger.spent.shots == 300 == sum(each.cost.shots for each in results)
    again = Mitigated(Statevector(), "readout+zne").submit(asked, "other", 7).result()
    for one, other in zip(results, again, strict=True):
        np.testing.assert_array_equal(one.means, other.means)
        assert one.about["mitigation"] == "readout+zne" and one.about["origin"] == "run"


def test_samples_take_twirling_alone() -> None:
    asked = replace(program(30), observables=())
    result = open_backend("statevector?mitigation=twirling").submit(asked, "key").result()
    assert [rows.shape for rows in result.samples] == [(30, 3)] * 2
    with pytest.raises(ProblemError, match=r"^mitigation=readout: corrects means of observables"):
        open_backend("statevector?mitigation=readout").estimate(asked)


WRONG = [
    ("aer?mitigation=zen", "mitigation=zen: no such technique; did you mean zne?"),
    ("aer?mitigation=zne+readout", "mitigation=zne.readout: readout comes before zne; "),
    ("aer?mitigation=pec+zne", "mitigation=pec.zne: pec and zne exclude each other; "),
    ("aer?mitigation=zne+zne", "mitigation=zne.zne: zne twice; "),
    ("aer?mitigation=virtual+learned", "mitigation=.*: virtual and learned exclude each other; "),
    ("aer?mitigation=zne(scales=1/2)", "mitigation.zne.scales=1/2: folding takes odd integers"),
    ("aer?mitigation=zne(fit=cubic)", "mitigation.zne.fit='cubic': "),
    ("aer?mitigation=zne(fold=1)", "mitigation.zne.fold: no such option of zne "),
    ("aer?mitigation=zne(fit)", r"mitigation=zne\(fit\): .* is accepted"),
    ("aer?mitigation=", "mitigation=: "),
    ("aer?mitigation=zne&mitigation=zne", "backend.mitigation: given 2 times"),
    ("dwave:mock?mitigation=zne", "mitigation=zne: backend=dwave:mock runs no circuits"),
    ("ibm:fez?resilience_level=2&mitigation=readout", "backend.resilience_level=2: mitigation=readout: would come on"),
]


@pytest.mark.parametrize(("name", "message"), WRONG)
def test_wrong_mitigations(name: str, message: str) -> None:
    with pytest.raises(ProblemError, match=f"^{message}") as error:
        open_backend(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "shots", "message"),
    [
        ("pec", 10, "mitigation=pec: needs an exact model of the noise"),
        ("pec(p=0.4)", 10, "mitigation=pec: shots=10: the overhead Gamma"),
        ("pec(p=0.01)", None, "mitigation=pec: shots=None: an integer is accepted"),
        ("zne", 1, "mitigation=zne: shots=1: fewer than the 2 circuits"),
        ("readout", 1, "mitigation=readout: shots=1: fewer than the circuits"),
        ("learned", 10, "mitigation=learned: shots=10 for 2 parameter sets: fewer than"),
    ],
)
def test_programs_that_cannot_be_mitigated(text: str, shots: int | None, message: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ProblemError, match=f"^{message}") as error:
        Mitigated(Statevector(), text).estimate(program(shots))
    assert "\n" not in str(error.value)


def test_anneals_are_refused() -> None:
    backend = Mitigated(Statevector(), "zne")
    with pytest.raises(ProblemError, match=r"^mitigation=zne: an anneal cannot be mitigated"):
        backend.submit(AnnealProgram((Qubo([[1.0]]),), 3), "key")


class Broken(Statevector):
    """Fails for good."""

    name = "broken"

    def submit(self, *rest: Any) -> Any:
        raise BackendError("out of order")


def test_a_fallback_takes_over() -> None:
    broken = Broken()
    broken.name = "broken"
    with pytest.raises(ProblemError, match=r"^fallback=statevector\?mitigation=zne: "):
        open_backend(broken, fallback="statevector?mitigation=zne", mitigation="zne")
    backend = open_backend(broken, fallback="statevector", mitigation="readout+zne")
    asked = program(4000)
    result = backend.submit(asked, "key", 1).result()
    assert result.about["origin"] == "fallback" and result.about["fallback_reason"] == "out of order"
    np.testing.assert_allclose(result.means, exact(asked), atol=6 * result.errors.max())
    backend.close()


def test_a_key_of_an_earlier_process_is_no_result() -> None:
    ledgered = Ledgered(Statevector(), None)
    asked = program(50)
    first = Mitigated(ledgered, "readout").submit(asked, "key", 1).result()
    later = Mitigated(ledgered, "readout")
    with pytest.raises(ProblemError, match=r"^key=key: its results are raw"):
        later.find("key")
    assert later.find("other") is None
    again = later.submit(asked, "key", 1)
    np.testing.assert_array_equal(again.result().means, first.means)
    assert later.find("key") is again and ledgered.ledger.spent.shots == 100
    ledgered.close()


def test_a_program_for_qubits_of_a_device_is_recorded() -> None:
    """A program without a layout is packed as by earlier versions."""
    asked = program(10)
    placed = replace(asked, layout=(5, 3, 4))
    loaded = unpack_program(pack_program(placed), pack_circuit(placed))
    assert loaded.layout == (5, 3, 4)  # type: ignore[union-attr]
    assert request_hash("b", placed, 0) != request_hash("b", asked, 0)
    assert unpack_program(pack_program(asked), pack_circuit(asked)).layout is None  # type: ignore[union-attr]


def test_a_layer_acts_through_it() -> None:
    torch.manual_seed(0)
    layer = CircuitLayer(2, qubits=2, layers=1, backend="statevector?mitigation=readout", shots=None)
    plain = CircuitLayer(2, qubits=2, layers=1)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(3, 2)
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=1e-5)
    layer.close()


def test_a_dry_run_tells_the_folded_depth() -> None:
    asked = program(90)
    report = dry_run(asked, Mitigated(Statevector(), "zne"))
    assert report.depth == 3 * asked.circuit.depth() and report.shots == 180 and report.circuits == 4


@pytest.mark.slow
def test_a_thousand_jobs_at_a_faulty_vendor_and_sigkill(tmp_path: Path) -> None:
    """30 % of the calls fail, and the process is killed twice. The sums match the bill."""
    count = 1000
    for kill in (300, 600, None):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp_path), str(count)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[4])},
        )
        assert process.stdout is not None
        lines = list[list[str]]()
        for line in process.stdout:
            lines.append(line.split())
            if len(lines) == kill:
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait() == (0 if kill is None else -signal.SIGKILL)
        process.stdout.close()
    backend, asked = Mitigated(Statevector(), "readout+zne"), program(10, "IZ", "ZI", sets=1)
    expected = [backend.submit(asked, str(i), seed=i).result() for i in range(count)]
    assert [line[1] for line in lines] == [result.means.tobytes().hex() for result in expected]
    vendor = Flaky(folder=str(tmp_path / "vendor"))
    bill = vendor.bill()
    assert sorted(line["key"] for line in bill) == sorted(f"job-{i}" for i in range(count))
    with Ledger(tmp_path / "ledger.sqlite", must_exist=True) as ledger:
        assert books_agree(ledger, bill) and ledger.spent.shots == 10 * count
        assert len(ledger.jobs()) == count and {job["status"] for job in ledger.jobs()} == {"done"}
    vendor.stop()
