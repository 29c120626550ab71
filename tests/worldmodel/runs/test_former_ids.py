"""Ids of environments in what earlier versions wrote."""

import sys
from importlib import invalidate_caches
from pathlib import Path

import pytest

from tests.worldmodel.train.runs import ROOT
from worldmodel.runs.folder import RunFolder, differences, read_config
from worldmodel.runs.former_ids import with_current_ids

FORMER = {"env": {"id": "envs.diagnostic:NoisyTV-v0"}, "words": ["env.id=envs.diagnostic:NoisyTV-v0", "steps=5"]}
CURRENT = {
    "env": {"id": "worldmodel.envs.diagnostic:NoisyTV-v0"},
    "words": ["env.id=worldmodel.envs.diagnostic:NoisyTV-v0", "steps=5"],
}


def test_stored_ids_are_translated(tmp_path: Path) -> None:
    """In what is read, and in what is compared with the configuration of today."""
    assert with_current_ids(FORMER) == with_current_ids(CURRENT) == CURRENT
    others = ["my.envs.diagnostic:X-v0", "myenvs.diagnostic:X-v0", "envs.corridor:Corridor-v0", 3, None]
    assert with_current_ids(others) == others
    with RunFolder(tmp_path / "run") as folder:
        folder.write_config(FORMER)
        assert read_config(folder.path) == CURRENT
        folder.compare(CURRENT, ())
    assert differences(FORMER, CURRENT, ()) == []


@pytest.mark.parametrize("package", [True, False])
def test_a_module_of_the_users_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: bool) -> None:
    """It is not imported to find that out; one without diagnostic is no reason to keep the id."""
    (tmp_path / "envs").mkdir()
    if package:
        (tmp_path / "envs" / "__init__.py").write_text("raise RuntimeError\n")
    monkeypatch.chdir(tmp_path)
    assert with_current_ids(FORMER) == CURRENT
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "path", [str(ROOT), str(tmp_path)])  # no installation of another checkout
    (tmp_path / "envs" / "diagnostic.py").write_text("raise RuntimeError\n")
    invalidate_caches()
    assert with_current_ids(FORMER) == FORMER
    assert differences(FORMER, CURRENT, ()) != []
