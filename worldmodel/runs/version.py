"""The version of the package, of its wheel and of the runs that it writes."""

__version__ = "0.1.0"
