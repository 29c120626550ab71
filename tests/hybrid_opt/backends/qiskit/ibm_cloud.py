"""A stand-in for IBM's web service, below the vendor's own client code: accounts, jobs, tags, batches, failures."""

import json
import threading
from typing import Any

from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime import RuntimeDecoder, RuntimeEncoder
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

CRN = "crn:v1:bluemix:public:quantum-computing:us-east:a/1:2::"


class Cloud:
    """The server's state. fail: {method: exceptions to raise in turn, before or, with `after`, after the effect}."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.sessions: list[dict[str, Any]] = []
        self.fail: dict[str, list[Exception]] = {}
        self.fail_after: dict[str, list[Exception]] = {}
        self.hold = threading.Event()  # jobs stay queued until it is set
        self.hold.set()
        self.charged: float | None = 3.5

    def client(self, parameters: Any) -> "Client":
        return Client(self, parameters.instance or CRN)

    def status(self, job: dict[str, Any]) -> str:
        return str(job.get("final") or ("Completed" if self.hold.is_set() else "Queued"))


class Client:
    """What the vendor's RuntimeClient offers, as far as it is called."""

    def __init__(self, cloud: Cloud, instance: str) -> None:
        self.cloud, self._instance = cloud, instance
        self._device = FakeManilaV2()

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name.startswith("_") or not callable(found):
            return found
        cloud: Cloud = object.__getattribute__(self, "cloud")

        def call(*args: Any, **kwargs: Any) -> Any:
            if cloud.fail.get(name):
                raise cloud.fail[name].pop(0)
            answer = found(*args, **kwargs)
            if cloud.fail_after.get(name):
                raise cloud.fail_after[name].pop(0)
            return answer

        return call

    def list_backends(self, *args: Any) -> list[dict[str, Any]]:
        return [{"name": "ibm_manila", "queue_length": 1, "status": {"name": "online", "reason": "available"}}]

    def backend_configuration(self, backend_name: str, **rest: Any) -> dict[str, Any]:
        configuration = self._device._load_json(self._device.conf_filename)
        return {**configuration, "backend_name": backend_name, "simulator": False, "default_rep_delay": 250.0}

    def backend_properties(self, *args: Any, **rest: Any) -> dict[str, Any]:
        properties: dict[str, Any] = self._device._load_json(self._device.props_filename)
        return properties

    def backend_status(self, name: str) -> dict[str, Any]:
        return {
            "backend_name": name,
            "backend_version": "1.0.0",
            "operational": True,
            "pending_jobs": 0,
            "status_msg": "active",
        }

    def cloud_usage(self) -> dict[str, Any]:
        return {"usage_limit_reached": False}

    def create_session(self, backend: str, instance: str, max_time: Any, mode: str) -> dict[str, Any]:
        self.cloud.sessions.append({"mode": mode, "state": "open"})
        return {"id": str(len(self.cloud.sessions) - 1)}

    def close_session(self, identity: str) -> None:
        self.cloud.sessions[int(identity)]["state"] = "closed"

    def session_details(self, identity: str) -> dict[str, Any]:
        session = self.cloud.sessions[int(identity)]
        return {"id": identity, "state": session["state"], "accepting_jobs": session["state"] == "open"}

    def program_run(self, program_id: str, params: Any, backend_name: str, **rest: Any) -> dict[str, Any]:
        content = json.loads(json.dumps(params, cls=RuntimeEncoder), cls=RuntimeDecoder)
        identity = f"job-{len(self.cloud.jobs)}"
        self.cloud.jobs[identity] = {"id": identity, "program": program_id, "params": content, **rest}
        return {"id": identity, "backend": backend_name}

    def job_get(self, job_id: str, **rest: Any) -> dict[str, Any]:
        job = self.cloud.jobs[job_id]
        state = {"status": self.cloud.status(job), "reason": job.get("reason")}
        return {
            "id": job_id,
            "program": {"id": job["program"]},
            "backend": "ibm_manila",
            "state": state,
            "status": state["status"],
            "tags": job["job_tags"],
            "session_id": job["session_id"],
            "estimated_running_time_seconds": 2.25,
        }

    def jobs_get(self, job_tags: list[str] | None = None, **rest: Any) -> dict[str, Any]:
        found = [
            self.job_get(identity)
            for identity, job in reversed(self.cloud.jobs.items())
            if set(job_tags or ()) <= set(job["job_tags"])
        ]
        return {"jobs": found, "count": len(found)}

    def job_results(self, job_id: str) -> str:
        job = self.cloud.jobs[job_id]
        if "result" in job:
            return str(job["result"])
        pubs, device = [tuple(pub) for pub in job["params"]["pubs"]], AerSimulator(seed_simulator=1)
        result: Any
        if job["program"] == "sampler":
            result = BackendSamplerV2(backend=device).run(pubs).result()
        else:
            result = BackendEstimatorV2(backend=device).run(pubs).result()
        job["result"] = json.dumps(result, cls=RuntimeEncoder)
        return str(job["result"])

    def job_metadata(self, job_id: str) -> dict[str, Any]:
        if self.cloud.charged is None:
            return {"usage": {"status": "pending"}}
        return {"usage": {"status": "complete", "qpu_charge_time_seconds": self.cloud.charged}}

    def job_cancel(self, job_id: str) -> None:
        self.cloud.jobs[job_id]["final"] = "Cancelled"
