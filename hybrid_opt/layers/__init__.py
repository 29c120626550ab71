"""Parametrised circuits as layers of a network: batched, differentiable in weights and in inputs."""
