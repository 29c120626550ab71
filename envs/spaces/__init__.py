"""Gymnasium's spaces as records of arrays, and back."""
