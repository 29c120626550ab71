"""A Qubo, and what surrounds it: constraints, enumeration, files."""
