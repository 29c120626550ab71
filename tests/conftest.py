"""What every test starts from, however the tests were started."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors gain nothing from more; who forks may not have any
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start in the background with it ignored
