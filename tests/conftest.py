"""One thread for every test: small tensors gain nothing from more, and a process that forks may not have any."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported
