"""Fixtures of whole runs."""

from collections.abc import Iterator

import pytest

from tests.worldmodel.train.runs import Starter, starter


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Starts runs in processes of their own, quickly."""
    with starter(tmp_path_factory.mktemp("forks")) as made:
        yield made
