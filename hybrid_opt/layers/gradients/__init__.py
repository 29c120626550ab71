"""Gradients of circuits that are only evaluated: by a processor, or with shots."""
