"""A Qubo, and what surrounds it: constraints, encodings, enumeration, files."""
