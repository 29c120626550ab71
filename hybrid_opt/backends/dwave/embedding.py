"""Cliques on the graph of an annealer, found once for each size."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.errors import CorruptResult, ProblemError

Chains = dict[int, tuple[int, ...]]


class CliqueEmbedding:
    """Chains of qubits for n variables that are all coupled to each other; the same device gives the same ones.

    Boothby, King, Roy, "Fast clique minor generation in Chimera qubit connectivity graphs" (2016), in minorminer.
    """

    def __init__(self, sampler: Any) -> None:
        self._sampler, self._known, self._found = sampler, None, dict[int, Chains]()

    @property
    def largest(self) -> int:
        """The most variables."""
        return len(self._cliques().largest_clique())

    def of(self, n: int, name: str) -> Chains:
        """The chains of variables 0..n-1. Raises ProblemError where n is too large."""
        if n not in self._found:
            found = self._cliques().find_clique_embedding(n)
            if not found:
                raise ProblemError(f"qubo: {n} variables; backend={name} has room for {self.largest}, all coupled")
            self._found[n] = {int(variable): tuple(map(int, chain)) for variable, chain in found.items()}
        return self._found[n]

    def unembedded(self, answer: Any, n: int, name: str) -> tuple[NDArray[np.uint8], float]:
        """Samples uint8 [S, n] from those of the qubits, by majority, and the fraction of broken chains."""
        from dwave.embedding.chain_breaks import majority_vote

        chains = self.of(n, name)
        column = {qubit: index for index, qubit in enumerate(answer.variables)}
        used = {qubit for chain in chains.values() for qubit in chain}
        if set(column) != used:
            raise CorruptResult(f"an answer of {len(column)} qubits; {len(used)} were expected")
        states = np.repeat(answer.record.sample, answer.record.num_occurrences, axis=0) > 0
        order = [[column[qubit] for qubit in chains[variable]] for variable in range(n)]
        decided, _ = majority_vote(states.astype(np.int8), order)
        broken = np.mean([(states[:, [chain[0]]] != states[:, chain]).any(1).mean() for chain in order])
        return (np.asarray(decided) > 0).astype(np.uint8), float(broken)

    def _cliques(self) -> Any:
        """All cliques of the device; computed for its first problem, and kept on disk by minorminer."""
        if self._known is None:
            from minorminer.busclique import busgraph_cache

            self._known = busgraph_cache(self._sampler.to_networkx_graph())
        return self._known
