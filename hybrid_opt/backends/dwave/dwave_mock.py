"""Ocean's mock of an annealer: everything but the anneal."""

import threading
import time
from collections.abc import Sequence
from threading import Event
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import AnnealProgram, Bits, Program, Result
from hybrid_opt.backends.dwave.annealer import Annealer, raw
from hybrid_opt.backends.programs import Request, check_seed, spawn
from hybrid_opt.cost import Cost
from hybrid_opt.errors import Cancelled, ProblemError
from hybrid_opt.job import Job, ThreadJob


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class MockConfig:
    """chain_strength: as of DWaveConfig. topology, size: of the device. sweeps: of the annealing in its place."""

    chain_strength: PositiveFloat = 1.0
    topology: Literal["chimera", "pegasus", "zephyr"] = "pegasus"
    size: PositiveInt = 8
    sweeps: PositiveInt = 200


class DWaveMock(Annealer):
    """`dwave:mock`: the embedding, chains and raw reads of an annealer, with simulated annealing in its place."""

    Config = MockConfig

    def __init__(self, device: str = "mock", config: Any = None) -> None:
        self.name, config = f"dwave:{device}", config or MockConfig()
        try:
            from dwave.samplers import SimulatedAnnealingSampler
            from dwave.system.testing import MockDWaveSampler
        except ImportError as error:
            raise ProblemError(f"backend={self.name}: needs {error.name}; pip install dwave-ocean-sdk") from error
        simulated: Any = SimulatedAnnealingSampler
        shape = {"chimera": [config.size, config.size, 4], "pegasus": [config.size], "zephyr": [config.size, 4]}
        sampler = MockDWaveSampler(
            topology_type=config.topology,
            topology_shape=shape[config.topology],
            exact_solver_cutoff=0,
            parameter_warnings=False,
            substitute_sampler=simulated(),
        )
        super().__init__(self.name, sampler, config)
        self._lock = threading.Lock()  # the mock takes its seed from an attribute

    def _estimate(self, programs: Sequence[Program]) -> Cost:
        """Reads; a mock takes no time of a processor and no money."""
        checked = [self._checked(program) for program in programs]
        circuits = [len(program.qubos) for program in checked]
        shots = sum(program.reads * count for program, count in zip(checked, circuits, strict=True))
        return Cost(shots=shots, circuits=sum(circuits))

    def _submit(self, request: Request, key: str) -> Job[Any]:
        checked = [self._checked(program) for program in request.programs]
        check_seed(request.seeds[0])

        @self.calling("waiting")
        def work(stop: Event) -> Any:
            with self._lock:
                tasks = zip(checked, request.seeds, strict=True)
                return request.given([self._annealed(program, key, seed, stop) for program, seed in tasks])

        return ThreadJob(key, work)

    def _annealed(self, program: AnnealProgram, key: str, seed: int, stop: Event) -> Result:
        begin, samples, broken = time.perf_counter(), list[Bits](), list[float]()
        for index, qubo in enumerate(program.qubos):
            if stop.is_set():
                raise Cancelled(f"job {key} was cancelled")
            self._sampler.substitute_kwargs = {"seed": spawn(seed, index), "num_sweeps": self.config.sweeps}
            bits, breaks = raw(self._sample(qubo, program, key), qubo.n, program.reads)
            samples.append(bits)
            broken.append(breaks)
        cost = self._estimate([program]) + Cost(wall_seconds=time.perf_counter() - begin)
        return Result(samples=tuple(samples), cost=cost, about={"broken_chains": float(np.mean(broken))})

    def find(self, key: str) -> Job[Any] | None:
        """None: nothing outlives this process."""
        return None

    def close(self) -> None:
        """Nothing is open."""
