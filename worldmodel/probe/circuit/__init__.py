"""What a circuit can express and learn, beside its twins."""
