"""Real numbers of any kind that users give, as float64."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.errors import ProblemError

HUGE = 1e150  # a number whose square is finite


def reals(values: Any, name: str) -> NDArray[np.float64]:
    """A copy in float64. torch tensors of any device are taken too.

    Raises ProblemError for text, dates, masked entries, complex numbers and integers beyond float64.
    """
    try:
        if hasattr(values, "detach"):
            values = values.detach().to_dense().cpu()
            values = values.numpy() if values.is_complex() else values.double().numpy()
        if np.ma.is_masked(values):
            raise TypeError("masked entries")
        array = np.array(values)
        if np.iscomplexobj(array):
            raise TypeError("complex numbers")
        text = array.dtype == object and any(isinstance(each, str | bytes) for each in array.flat)
        if text or array.dtype.kind not in "biufO":
            raise TypeError("text" if text else str(array.dtype))
        return np.array(array, np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ProblemError(f"{name}: not of real numbers ({' '.join(str(error).split())})") from error


def real(value: Any, name: str) -> float:
    """One number. Raises ProblemError."""
    array = reals(value, name)
    if array.size != 1:
        raise ProblemError(f"{name}={value}: one number is accepted")
    return float(array.item())
