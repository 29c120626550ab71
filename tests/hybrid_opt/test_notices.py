"""Notices are told under every filter of warnings but those that silence them, and never raised."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from hybrid_opt.notices import notice

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("action", "times"), [("error", 2), ("always", 2), ("default", 1), ("ignore", 0)])
def test_filters(action: Any, times: int) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.resetwarnings()
        warnings.simplefilter(action)
        for _ in range(2):
            notice("the queue is full")
    assert [str(each.message) for each in told] == ["the queue is full"] * times
    assert {(each.category, each.filename) for each in told} <= {(RuntimeWarning, __file__)}


def test_all_warnings_are_notices() -> None:
    """What ends nothing for us may end nothing for a user whose code turns warnings into errors."""
    files = [path for package in ("hybrid_opt", "quantum_sampler") for path in (ROOT / package).rglob("*.py")]
    warning = [path.name for path in files if re.search(r"warnings\.warn\(", path.read_text())]
    assert warning == ["notices.py"]
