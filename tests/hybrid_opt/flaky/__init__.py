"""A vendor that fails as told, opened as `backend=tests.hybrid_opt.flaky:Flaky`."""

from tests.hybrid_opt.flaky.client import Flaky

__all__ = ["Flaky"]
