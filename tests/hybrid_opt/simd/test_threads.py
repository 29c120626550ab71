"""Work that is shared among threads."""

import threading

import torch

from hybrid_opt.simd.threads import aside


def test_work_aside() -> None:
    """It has a thread of its own only where PyTorch leaves one idle."""
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert aside(threading.get_ident, threads).result() == threading.get_ident()
            assert aside(threading.get_ident, threads + 1).result() != threading.get_ident()
    finally:
        torch.set_num_threads(before)
