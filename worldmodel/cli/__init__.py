"""The command line: overrides, composition, schema, one-line errors and help."""
