"""Gradients of circuits: adjoint where they are simulated, and those that a processor can give."""
