"""Qiskit, loaded so that threads may use it."""

import sys
import threading


def load_qiskit() -> None:
    """Import qiskit, in the main thread or in one that never ends.

    qiskit 2.6 crashes (segmentation fault when circuits are read) once the thread that imported it first has ended. So
    whatever hands circuits to threads calls this before. Does nothing where qiskit is there already.
    """
    if "qiskit" in sys.modules:
        return
    if threading.current_thread() is threading.main_thread():
        import qiskit  # noqa: F401

        return
    loaded, never = threading.Event(), threading.Event()

    def load() -> None:
        try:
            import qiskit  # noqa: F401
        finally:
            loaded.set()
        never.wait()

    threading.Thread(target=load, name="qiskit", daemon=True).start()
    loaded.wait()
