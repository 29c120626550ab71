"""Markov chains on the basis states of n bits: proposals, classical and quantum, and what tells how fast they mix."""
