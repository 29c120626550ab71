"""Whether a state tells that its episode ends soon, by kernels of states and their twins."""
