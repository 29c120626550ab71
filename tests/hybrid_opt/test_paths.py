"""Paths that a user gives."""

from pathlib import Path

import pytest

from hybrid_opt.errors import ProblemError
from hybrid_opt.paths import user_path


def test_home_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert user_path("~/run") == Path("/somewhere/run") and user_path("a/~b") == Path("a/~b")
    with pytest.raises(ProblemError, match="^logdir=~nobodyofthisname/run: there is no such home folder"):
        user_path("~nobodyofthisname/run", "logdir")


def test_a_null_byte() -> None:
    with pytest.raises(ProblemError, match=r"^'init=a\\x00b': holds a null byte"):
        user_path("a\0b", "init")
