"""The import name `envs` is the user's: in a checkout, an editable installation and the wheel."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = sysconfig.get_path("purelib")
LAYOUTS = {"checkout": f"{ROOT}:{PACKAGES}", "editable": f"{PACKAGES}:{ROOT}"}  # an editable one is a path behind
CORRIDOR = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
class Corridor(CartPoleEnv): pass
gymnasium.register("Corridor-v0", "envs.corridor:Corridor")
"""
FIND = """
import sys
from pathlib import Path
environments = EnvConfig("envs.corridor:Corridor-v0", vectorization="async"), EnvConfig(
    "worldmodel.envs.diagnostic:NoisyTV-v0"
)
for config in environments:
    made = Environments(config, 2, 0)
    made.reset()
    made.close()
assert Path(envs.corridor.__file__) == Path.cwd() / "envs" / "corridor.py"
assert {finder.__module__ for finder in sys.meta_path if isinstance(finder, type)} <= {
    "_frozen_importlib", "_frozen_importlib_external"
}, sys.meta_path
import worldmodel
print(worldmodel.__file__)
"""
OURS = "from worldmodel.envs import EnvConfig, Environments"
THEIRS = "import envs.corridor"


def check(folder: Path, path: str, *imports: str) -> str:
    """Find both environments from a folder where the user has an `envs`; returns where worldmodel is."""
    code = "if __name__ == '__main__':\n" + "\n".join([*imports, FIND]).replace("\n", "\n    ").join(["    ", ""])
    (folder / "script.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-S", "script.py"]  # no site: the path is the given one, whatever is installed here
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with an `envs`."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "corridor.py").write_text(CORRIDOR)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "package"), [("checkout", True), ("editable", False)])
def test_a_users_envs_and_ours(folder: Path, layout: str, package: bool) -> None:
    """Whichever is imported first, and whether or not theirs has an `__init__.py`."""
    if package:
        (folder / "envs" / "__init__.py").touch()
    orders = [(THEIRS, OURS), (OURS, THEIRS)]
    assert {check(folder, LAYOUTS[layout], *order) for order in orders} == {str(ROOT / "worldmodel" / "__init__.py")}


@pytest.mark.slow
def test_the_wheel(folder: Path) -> None:
    """It holds three packages, with the environments in worldmodel, and works without a checkout."""
    line = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder / "wheel", ROOT]
    subprocess.run(line, check=True, cwd=folder)
    (wheel,) = (folder / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(folder / "installed")
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"worldmodel", "hybrid_opt", "quantum_sampler"}
    ours = {path.relative_to(ROOT / "envs").as_posix() for path in (ROOT / "envs").rglob("*.py")}
    assert {f"worldmodel/envs/{name}" for name in ours} < set(names) and "worldmodel/envs/__init__.py" in names
    data = [*ROOT.glob("configs/**/*.yaml"), *ROOT.glob("worldmodel/compare/anchors/*.csv")]
    inside = {path.relative_to(ROOT).as_posix() for path in data}
    assert len(inside) > 100 and {f"worldmodel/{name.removeprefix('worldmodel/')}" for name in inside} < set(names)
    for order in ((THEIRS, OURS), (OURS, THEIRS)):
        place = check(folder, f"{folder / 'installed'}:{PACKAGES}", *order)
        assert Path(place) == folder / "installed" / "worldmodel" / "__init__.py"
