"""What the diagnostic environments return."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Outcome = tuple[Vector, float, bool, bool, dict[str, Any]]
