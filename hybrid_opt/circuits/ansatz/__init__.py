"""Layers of gates with trained angles, one kind a file."""
