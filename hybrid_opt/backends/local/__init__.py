"""Backends that simulate in this process."""
