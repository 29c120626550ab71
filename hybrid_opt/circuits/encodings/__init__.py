"""Encodings of numbers in quantum states, one a file."""
