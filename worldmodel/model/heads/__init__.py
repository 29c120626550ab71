"""What predicts from a feature: one kind a file."""
