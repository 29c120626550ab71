"""What every test starts from, however the tests were started."""

import gc
import os
import signal

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors gain nothing from more; who forks may not have any
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start in the background with it ignored
settings.register_profile("patient", deadline=None)  # a first example may compile
settings.load_profile("patient")


def pytest_collection_finish() -> None:
    """Leave what was imported out of garbage collections: with it a full one takes up to a second."""
    gc.freeze()
