"""The arithmetic of the model compiled for the CPU: features first, 32 rows in the lanes (docs/shapes.md)."""
