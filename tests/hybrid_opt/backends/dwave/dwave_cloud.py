"""A stand-in for D-Wave's web service: an HTTP server that speaks SAPI to the vendor's own client code."""

import base64
import json
import threading
import time
import zlib
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import dimod
import numpy as np
import pytest
from dwave.cloud.testing.mocks import qpu_pegasus_solver_data, qpu_problem_timing_data
from dwave.samplers import SimulatedAnnealingSampler

STAMP = "2026-01-01T00:00:00.000000Z"


class Cloud:
    """The server's state. fail: HTTP statuses to answer posts with, in turn; `lose` those after the effect."""

    def __init__(self) -> None:
        self.solver = qpu_pegasus_solver_data(4, name="Advantage_test", graph_id="01")
        self.solver["properties"].update(
            num_reads_range=[1, 1000],
            problem_timing_data=qpu_problem_timing_data(),
            parameters={"num_reads": "", "answer_mode": "", "annealing_time": "", "label": ""},
        )
        self.problems: dict[str, dict[str, Any]] = {}
        self.fail, self.lose = list[int](), list[int]()
        self.token = "DEV-" + "0123456789abcdef" * 2
        self.access = 15432.0  # microseconds, 0: not told
        self.hold = threading.Event()  # problems stay pending until it is set
        self.hold.set()
        cloud = self

        class Handler(_Handler):
            state = cloud

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/sapi/v2/"

    def close(self) -> None:
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()

    def submitted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        identity = f"problem-{len(self.problems)}"
        problem = {
            "id": identity,
            "type": body["type"],
            "solver": self.solver["identity"],
            "label": body.get("label"),
            "submitted_on": STAMP,
            "status": "PENDING",
        }
        self.problems[identity] = {"about": problem, "body": body}
        return problem

    def status(self, identity: str, answer: bool) -> dict[str, Any]:
        problem = self.problems[identity]
        about = dict(problem["about"])
        if about["status"] == "PENDING" and self.hold.is_set():
            about["status"], about["solved_on"] = "COMPLETED", STAMP
            if answer:
                about["answer"] = problem.setdefault("answer", self._answer(problem["body"]))
        return about

    def _answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        qubits = sorted(self.solver["properties"]["qubits"])
        linear = np.frombuffer(base64.b64decode(body["data"]["lin"]), "<f8")
        active = [qubit for qubit, bias in zip(qubits, linear, strict=True) if not np.isnan(bias)]
        used = set(active)
        couplers = [(u, v) for u, v in sorted(self.solver["properties"]["couplers"]) if u in used and v in used]
        quadratic = np.frombuffer(base64.b64decode(body["data"]["quad"]), "<f8")
        vartype = "SPIN" if body["type"] == "ising" else "BINARY"
        biases = {qubit: float(linear[qubits.index(qubit)]) for qubit in active}
        bqm = dimod.BinaryQuadraticModel(biases, dict(zip(couplers, map(float, quadratic), strict=True)), vartype)
        reads = body["params"]["num_reads"]
        found = SimulatedAnnealingSampler().sample(bqm, num_reads=reads, num_sweeps=300, seed=7)
        order = [list(found.variables).index(qubit) for qubit in active]
        solutions = np.packbits(found.record.sample[:, order] > 0, axis=1)

        def packed(values: Any, kind: str) -> str:
            return base64.b64encode(np.asarray(values, kind).tobytes()).decode()

        return {
            "format": "qp",
            "num_variables": max(qubits) + 1,
            "active_variables": packed(active, "<i4"),
            "energies": packed(found.record.energy, "<f8"),
            "num_occurrences": packed(np.ones(reads), "<i4"),
            "solutions": base64.b64encode(solutions.tobytes()).decode(),
            "timing": {"qpu_access_time": self.access} if self.access else {},
        }


class _Handler(BaseHTTPRequestHandler):
    state: Cloud
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Quiet."""

    def _reply(self, content: Any, status: int = 200) -> None:
        data = json.dumps(content).encode()
        kind = (self.headers.get("Accept") or "application/json").split(",")[0].split(";")[0].strip()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; version=3.0.0" if "sapi" in kind else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> Any:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "deflate":
            data = zlib.decompress(data)
        return json.loads(data) if data else None

    def _known(self) -> bool:
        if self.headers.get("X-Auth-Token") == self.state.token:
            return True
        self._body()
        self._reply({"error_code": 401, "error_msg": "bad token"}, 401)
        return False

    def do_GET(self) -> None:
        if not self._known():
            return
        url, cloud = urlparse(self.path), self.state
        parts, query = url.path.removeprefix("/sapi/v2/").strip("/").split("/"), parse_qs(url.query)
        if parts[0] == "solvers":
            wanted = parts[2] if len(parts) > 2 else None
            if wanted not in (None, cloud.solver["identity"]["name"]):
                self._reply({"error_code": 404, "error_msg": "no such solver"}, 404)
            else:
                self._reply(cloud.solver if wanted else [cloud.solver])
        elif len(parts) == 2:
            self._reply(cloud.status(parts[1], answer=True))
        elif "id" in query:
            identities = query["id"][0].split(",")
            if not cloud.hold.is_set():
                time.sleep(0.05)
            self._reply([cloud.status(identity, answer=False) for identity in identities])
        else:
            most = int(query.get("max_results", ["1000"])[0])
            listed = [cloud.status(identity, answer=False) for identity in reversed(cloud.problems)]
            self._reply(listed[:most])

    def do_POST(self) -> None:
        if not self._known():
            return
        bodies, cloud = self._body(), self.state
        if cloud.fail:
            status = cloud.fail.pop(0)
            self._reply({"error_code": status, "error_msg": "refused"}, status)
            return
        answers = [cloud.submitted(body) for body in bodies]
        if cloud.lose:
            status = cloud.lose.pop(0)
            self._reply({"error_code": status, "error_msg": "lost"}, status)
            return
        self._reply(answers)

    def do_DELETE(self) -> None:
        if not self._known():
            return
        identities = self._body() or [urlparse(self.path).path.rstrip("/").split("/")[-1]]
        for identity in identities:
            self.state.problems[identity]["about"]["status"] = "CANCELLED"
        answers = [self.state.status(identity, answer=False) for identity in identities]
        self._reply(answers if self.path.rstrip("/").endswith("problems") else answers[0])


def offered(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cloud:
    """A cloud that D-Wave's client finds; no setting of this machine's user reaches it."""
    cloud = Cloud()
    (folder / "dwave.conf").write_text("[defaults]\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv("DWAVE_CONFIG_FILE", str(folder / "dwave.conf"))
    monkeypatch.setenv("DWAVE_API_ENDPOINT", cloud.endpoint)
    monkeypatch.setenv("DWAVE_API_TOKEN", cloud.token)
    for name in ("DWAVE_PROFILE", "DWAVE_API_SOLVER", "DWAVE_API_CLIENT", "DWAVE_API_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return cloud
