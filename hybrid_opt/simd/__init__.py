"""What compiled kernels share: arithmetic on vector registers, and the threads that they run on."""
