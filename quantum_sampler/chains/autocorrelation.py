"""How many steps of a chain are worth one independent draw."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def integrated_time(series: Floats, window: float = 5.0) -> float:
    """Integrated autocorrelation time 1 + 2 sum_t rho(t), in steps, of an observable along chains [steps, C].

    The sum ends at the first t >= window x the time so far (Sokal 1997), or at the end of the series, which is then too
    short to tell. rho is averaged over the chains, about their common mean. A mean over T steps has the variance of T /
    time independent draws. 1 for an observable that never changes.
    """
    steps = len(series)
    centred = series - series.mean()
    spectrum = np.fft.rfft(centred, 2 * steps, axis=0)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:steps].mean(1) / np.arange(steps, 0, -1)
    if covariance[0] <= 1e-24 * max(1.0, float(np.square(series).mean())):
        return 1.0
    times = 2.0 * np.cumsum(covariance / covariance[0]) - 1.0
    closed = np.flatnonzero(np.arange(steps) >= window * times)
    return float(max(times[closed[0] if closed.size else -1], 1.0 / steps))
