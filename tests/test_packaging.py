"""The wheel and the editable checkout, each used from a folder whose own envs/ and agents/ must not
be taken for ours.

Nothing is downloaded: both go into new virtual environments that see the packages of the one that
runs the tests.
"""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from build import ProjectBuilder

from tests.training import own_parts

ROOT = Path(__file__).parents[1]
KINDS = ("wheel", "editable")
TEN_STEPS = (
    "--steps",
    "10",
    "--num-envs",
    "1",
    "--ppo.update-every",
    "10",
    "--ppo.minibatch",
    "10",
    "--eval-episodes",
    "0",
)

WHERE = """
import sys, bio_rl, bio_rl.envs, bio_rl.agents
from bio_rl import run
from bio_rl.agents import ppo
from bio_rl.envs.robotics import inverted_pendulum
for module in (bio_rl, bio_rl.envs, bio_rl.agents, ppo, inverted_pendulum):
    assert sys.modules[module.__name__] is module
    print(module.__name__, module.__file__)
taken = [name for name in sys.modules if name.partition(".")[0] in ("envs", "agents")]
assert not taken, taken
assert bio_rl.train is run.train
"""


def newest(runs: Path) -> Path:
    """The run folder that `latest` names."""
    return runs / (runs / "latest").read_text(encoding="utf-8")


def run(*command: object, cwd: Path | None = None) -> str:
    """The output of a command, stderr included; AssertionError with all of it where it fails."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV")
    environ = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel, made from the source archive as for a release, and what `pip install -e` would
    install.
    """
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    editable = ProjectBuilder(ROOT).build("editable", folder / "editable")
    return {"wheel": next(folder.glob("*.whl")), "editable": Path(editable)}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def scripts(kind: str, wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the executables of a new virtual environment with bio_rl in it."""
    place = tmp_path_factory.mktemp(kind)
    builder = venv.EnvBuilder(symlinks=os.name != "nt")
    context = builder.ensure_directories(place)
    builder.create(place)
    python, site = (
        context.env_exe,
        Path(run(context.env_exe, "-c", "import site; print(site.getsitepackages()[0])").strip()),
    )
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--no-compile",
        wheels[kind],
    )
    # A path in a .pth file is searched last, and the .pth files in it (an editable bio_rl, say) are
    # not read.
    ours = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "borrowed.pth").write_text("\n".join(ours), encoding="utf-8")
    return Path(context.bin_path)


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A working folder with envs/ and agents/ of its own that raise on import."""
    for name in ("envs", "agents"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(
            f"raise RuntimeError('the decoy {name} was imported')\n", encoding="utf-8"
        )
    return tmp_path


def test_the_wheel_holds_every_file_of_the_library_under_bio_rl(wheels: dict[str, Path]) -> None:
    expected = set()
    for folder, place in (("bio_rl", ""), ("envs", "bio_rl/"), ("agents", "bio_rl/")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(place + path.relative_to(ROOT).as_posix())
    with zipfile.ZipFile(wheels["wheel"]) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected
    assert {"bio_rl/agents/ppo.toml", "bio_rl/envs/__init__.py"} <= held


def test_the_trap_is_a_trap(scripts: Path, trap: Path) -> None:
    with pytest.raises(AssertionError, match="the decoy envs was imported"):
        run(scripts / "python", "-c", "import envs", cwd=trap)


def test_every_module_is_ours_and_there_once(scripts: Path, trap: Path, kind: str) -> None:
    told = dict(
        line.split(" ", 1) for line in run(scripts / "python", "-c", WHERE, cwd=trap).splitlines()
    )
    if kind == "editable":
        base, inside = ROOT, ROOT
    else:
        base, inside = scripts.parent, Path(told["bio_rl"]).parent
    assert Path(told["bio_rl"]).is_relative_to(base)
    assert Path(told["bio_rl.envs"]) == inside / "envs" / "__init__.py"
    assert Path(told["bio_rl.agents"]) == inside / "agents" / "__init__.py"
    assert Path(told["bio_rl.agents.ppo"]) == inside / "agents" / "ppo.py"


def test_ten_steps_are_trained(scripts: Path, trap: Path, kind: str) -> None:
    env = "CartPole-v1" if kind == "wheel" else "InvertedPendulum-v5"
    flags = ("--env", env, "--network", "mlp")
    run(scripts / "python", "-m", "bio_rl", *flags, *TEN_STEPS, cwd=trap)
    assert (newest(trap / "runs") / "config.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel"], indirect=True)
def test_the_wheel_trains_spiking_neurons_with_kernels_that_it_compiles(
    scripts: Path, trap: Path
) -> None:
    said = run(scripts / "python", "-m", "bio_rl", *TEN_STEPS, cwd=trap)
    assert "neuron kernels on cpu: numba" in said
    assert (newest(trap / "runs") / "config.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel"], indirect=True)
@pytest.mark.parametrize("name", own_parts.RUNS)
def test_parts_of_ones_own_train_resume_and_evaluate_from_the_wheel(
    scripts: Path, trap: Path, name: str
) -> None:
    """An agent, a network, a neuron, a rule and a fast world, each in a file of the user's own."""
    own_parts.write(trap)
    flags, modules = own_parts.RUNS[name]
    program = scripts / "bio-rl"
    few = "--steps 128 --num-envs 2 --eval-episodes 0 --checkpoints 1"
    run(program, *flags.split(), *few.split(), cwd=trap)
    assert run(program, "resume", "--steps", "256", "--trust", *modules, cwd=trap)
    said = run(program, "eval", "--episodes", "2", "--json", "--trust", *modules, cwd=trap)
    assert json.loads(said.splitlines()[-1])["episodes"] == 2
    tree = sorted((newest(trap / "runs") / "checkpoints").glob("step_*.pt"))
    assert tree[-1].name == "step_000000000256.pt"


def test_the_console_script_shows_its_flags(scripts: Path, trap: Path) -> None:
    assert "--ppo.update-every" in run(scripts / "bio-rl", "--help", cwd=trap)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel"], indirect=True)
def test_the_demo_from_the_wheel_ends_with_pictures(scripts: Path, trap: Path) -> None:
    said = run(scripts / "bio-rl", "demo", "--steps", "2000", cwd=trap)
    assert "its neurons at work: runs" in said
    assert (newest(trap / "runs") / "raster.png").stat().st_size > 10_000
    assert (newest(trap / "runs") / "episode.mp4").stat().st_size > 1_000
