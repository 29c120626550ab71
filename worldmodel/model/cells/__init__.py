"""Recurrent cells, one a file: `cell(deter [N, D], inputs [N, I]) -> deter [N, D]`, and whole sequences of it."""
