"""What was experienced: the buffer, its archive, what the selectors see of it, and the stream of batches."""
