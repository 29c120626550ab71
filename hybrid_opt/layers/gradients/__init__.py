"""Gradients of circuits: by the adjoint method where they are simulated, by further circuits where they are not."""
