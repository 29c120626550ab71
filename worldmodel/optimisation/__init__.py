"""Small problems that samplers and optimisers are compared on, and the runs of these comparisons."""
