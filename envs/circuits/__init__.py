"""Environments whose actions are the angles of circuits, and the energies that they are paid by."""
