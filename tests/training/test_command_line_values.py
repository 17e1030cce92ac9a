"""Values that users give, and the lines that are printed for them; and whose code may run."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest

import bio_rl
from bio_rl.__main__ import main
from bio_rl.machine import streams
from bio_rl.training import api, commands, config, runfolder, settings
from bio_rl.training.checkpoint import CheckpointError

SMALL = {"network": "mlp", "steps": 32, "num_envs": 2, "eval_episodes": 0, "checkpoints": 1}
OWN = {"update_every": 16, "minibatch": 16}
FLAGS = [
    "--network",
    "mlp",
    "--steps",
    "32",
    "--num-envs",
    "2",
    "--eval-episodes",
    "0",
    "--checkpoints",
    "1",
]
FLAGS += ["--ppo.update-every", "16", "--ppo.minibatch", "16"]


def train(folder: Path, env: str = "CartPole-v1", **more) -> api.Trained:
    return bio_rl.train(env, **{**SMALL, "run_dir": folder, "ppo": OWN, **more})


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr()
    assert stop.value.code == 2 and "Traceback" not in said.err
    return " ".join((said.out + said.err).split())


@pytest.mark.parametrize(
    ("kind", "value", "fitted"),
    [
        (int, np.int64(3), 3),
        (int, np.uint8(3), 3),
        (int, 64.0, 64),
        (int, np.float32(64.0), 64),
        (float, np.float32(0.5), 0.5),
        (float, np.int32(2), 2.0),
        (float, 2, 2.0),
        (bool, np.bool_(True), True),
        (str, np.str_("mlp"), "mlp"),
        (tuple[int, ...], np.array([8, 6]), (8, 6)),
        (tuple[int, ...], [np.int64(8), 6.0], (8, 6)),
        (tuple[int, ...], np.int64(8), (8,)),
        (tuple[str, ...], "gravity=2", ("gravity=2",)),
        (tuple[float, float], [0, 1], (0.0, 1.0)),
    ],
)
def test_numbers_of_numpy_and_whole_floats_are_numbers(kind, value, fitted):
    found = settings.fitted(kind, value, "x")
    assert found == fitted and type(found) is type(fitted)
    if isinstance(found, tuple):
        assert [type(x) for x in found] == [type(x) for x in fitted]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 64.5}, "--steps is 64.5, expected a whole number"),
        ({"steps": True}, "--steps is True, expected a whole number"),
        ({"steps": "64"}, "--steps is '64', expected a whole number"),
        ({"num_envs": None}, "--num-envs is None, expected a whole number"),
        ({"steps": float("nan")}, "--steps is nan"),
        ({"steps": float("inf")}, "--steps is inf"),
        ({"workers": 1}, "--workers is 1, expected True or False"),
        ({"env": 3}, "--env is 3, expected a text"),
        ({"perturb": [3]}, "--perturb is 3, expected a text"),
        ({"run_dir": 3}, "--run-dir is 3, expected a path"),
        ({"ppo": {"gamma": "0.9"}}, "ppo.gamma is '0.9', expected a number"),
        ({"ppo": {"gamma": True}}, "ppo.gamma is True, expected a number"),
        (
            {"ppo": {"update_every": np.float64(16.5)}},
            "ppo.update_every is 16.5, expected a whole number",
        ),
        ({"mlp": {"hidden": ["8"]}}, "mlp.hidden is '8', expected a whole number"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_field(given, message):
    with pytest.raises(ValueError, match=message):
        if "env" in given:
            config.fill(config.Run(), given, "run")
        bio_rl.train(**{**SMALL, **given})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=False", False),
        ("x=false", False),
        ("x=null", None),
        ("x=3", 3),
        ("x=0.5", 0.5),
        ("x=[1, 2]", [1, 2]),
        ("x=(1, 2)", [1, 2]),
        ('x={"a": 1}', {"a": 1}),
        ("x=4x4", "4x4"),
        ("x='3'", "3"),
        ("x=a=b", "a=b"),
        ("x=", ""),
    ],
)
def test_an_argument_of_a_world_is_a_literal_or_text(text, value):
    found = settings.parse_env_args([text])["x"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["x"], "expected name=value"),
        (["=3"], "no name of an argument"),
        (["a b=3"], "no name of an argument"),
        (["x=1", "x=2"], "given twice"),
        (["num_envs=3"], "set by a flag of its own"),
        (["perturb=gravity"], "set by a flag of its own"),
        (["x={1, 2}"], "is a set, expected"),
        (["x=b'a'"], "is a bytes, expected"),
        (["x={1: 2}"], "is a dict, expected"),
    ],
)
def test_an_argument_of_a_world_that_cannot_be_kept_is_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        settings.parse_env_args(texts)


class Told(gym.Env):
    """Its observations are what its constructor was told."""

    observation_space, action_space = (
        gym.spaces.Box(-9, 9, (1,), np.float32),
        gym.spaces.Discrete(2),
    )
    told: ClassVar[list] = []

    def __init__(self, value: float = 0.0) -> None:
        self.value = value
        Told.told.append(value)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.array([self.value], np.float32), {}

    def step(self, action):
        self.t += 1
        return np.array([self.value], np.float32), 1.0, False, self.t == 4, {}


if "Told-v0" not in gym.registry:
    gym.register("Told-v0", entry_point=Told, disable_env_checker=True)


def test_arguments_of_a_world_reach_every_environment_of_its_run(tmp_path, monkeypatch):
    monkeypatch.setattr(Told, "told", [])
    main([*FLAGS, "--env", "Told-v0", "--env-arg", "value=3", "--run-dir", str(tmp_path)])
    main(["eval", "--run-dir", str(tmp_path), "--episodes", "1"])
    main(["resume", "--run-dir", str(tmp_path), "--steps", "64"])
    assert set(Told.told) == {3} and len(Told.told) > 40
    saved = json.loads((runfolder.resolve("latest", tmp_path) / "config.json").read_text())
    assert saved["run"]["env_arg"] == ["value=3"]
    again = train(tmp_path, "Told-v0", env_kwargs={"value": np.float64(2.0)})
    assert again.experiment.run.env_kwargs == {"value": 2.0} and Told.told[-1] == 2.0


@pytest.mark.parametrize("env", ["Told-v0", "FrozenLake-v1", "CartPole-v1", "Acrobot-v1"])
def test_an_argument_that_the_world_does_not_take_is_refused(capsys, tmp_path, env):
    said = refused(
        capsys, *FLAGS, "--env", env, "--env-arg", "slipery=False", "--run-dir", str(tmp_path)
    )
    assert f"--env-arg slipery: {env} takes no argument of this name" in said and not list(
        tmp_path.iterdir()
    )


def test_a_run_goes_on_on_another_device_when_asked(tmp_path):
    folder = train(tmp_path).folder
    saved = json.loads((folder / "config.json").read_text())
    saved["run"]["device"] = "cuda"
    (folder / "config.json").write_text(json.dumps(saved))
    main(["resume", str(folder), "--steps", "64", "--device", "cpu"])
    assert json.loads((folder / "config.json").read_text())["run"]["device"] == "cpu"


@pytest.mark.parametrize("name", ["my runs", "it's", "a;b", "$HOME", "ä ö"])
def test_printed_commands_run_as_they_are_whatever_the_folder_is_called(tmp_path, capsys, name):
    # as a command trains; a run that was begun from Python prints lines of Python
    folder = api.train("CartPole-v1", **{**SMALL, "run_dir": tmp_path / name, "ppo": OWN}).folder
    lines = [
        shlex.split(line)
        for line in capsys.readouterr().out.partition("next:")[2].strip().splitlines()
    ]
    assert [line[:4] for line in lines[:2]] == [
        ["python", "-m", "bio_rl", x] for x in ("eval", "play")
    ]
    assert all(str(folder) in line for line in lines[:3]) and str(tmp_path / name) in lines[3]
    main(lines[0][3:])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("train.py", "python train.py"),
        ("/a b/train.py", "python '/a b/train.py'"),
        ("/usr/bin/bio-rl", "bio-rl"),
        ("bio-rl.exe", "bio-rl"),
        ("/site-packages/bio_rl/__main__.py", "python -m bio_rl"),
        ("notebook", "python -m bio_rl"),
        ("", "python -m bio_rl"),
    ],
)
def test_printed_commands_name_what_the_user_typed(monkeypatch, script, words):
    monkeypatch.setattr(sys, "argv", [script])
    assert commands.Hints(Path("a b"), ("m",)).evaluate() == f"{words} eval 'a b' --trust m"
    assert commands.Hints(Path("a")).evaluate() == f"{words} eval a"
    assert commands.Hints(Path("a"), ("m", "n")).play() == f"{words} play a --trust m n"


def test_the_home_folder_is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    trained = train(Path("~/runs"))
    assert trained.folder.parent == tmp_path / "runs"
    assert bio_rl.load("latest", run_dir="~/runs").steps == 32
    assert bio_rl.load(f"~/runs/{trained.folder.name}").steps == 32
    main(["eval", "--run-dir", "~/runs", "--episodes", "1"])
    with pytest.raises(ValueError, match="give the path without ~"):
        bio_rl.load("latest", run_dir="~nobody-of-this-name/runs")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_an_encoding_without_a_sign_prints_another_in_its_place(tmp_path, monkeypatch, encoding):
    with open(tmp_path / "out", "w", encoding=encoding) as out, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        with streams.tolerant():
            print("γ → 0.9")
        assert sys.stdout is out
    assert "0.9" in (tmp_path / "out").read_text(encoding)


PLANTED = "import pathlib\npathlib.Path({mark!r}).touch()\n" + (
    "import gymnasium\n"
    "gymnasium.register('Planted-v0', max_episode_steps=9,"
    " entry_point='gymnasium.envs.classic_control.acrobot:AcrobotEnv')\n"
)


@pytest.fixture
def stranger(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """The folder of a stranger's run, which is the working folder too, and the file that appears if
    its code runs.
    """
    folder, mark = train(tmp_path / "runs").folder, tmp_path / "it ran"
    for place in (folder, folder.parent):
        for name in ("planted", "planted_agent"):
            (place / f"{name}.py").write_text(PLANTED.format(mark=str(mark)))
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "planted", raising=False)
    return folder, mark


def rewrite(folder: Path, part: str, name: str, value: object) -> None:
    saved = json.loads((folder / "config.json").read_text())
    saved[part][name] = value
    (folder / "config.json").write_text(json.dumps(saved))


@pytest.mark.parametrize("command", ["eval", "play", "resume"])
@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("run", "env", "planted:Planted-v0"),
        ("run", "agent", "planted_agent"),
        ("run", "agent", "planted:planted_agent"),
        ("run", "network", "planted"),
        ("run", "network", "../planted"),
        ("run", "perturb", ["planted:gravity=2"]),
    ],
)
def test_a_strangers_run_imports_nothing(stranger, capsys, command, part, name, value):
    folder, mark = stranger
    rewrite(folder, part, name, value)
    said = refused(capsys, command, str(folder))
    assert not mark.exists() and "planted" not in sys.modules
    if name == "env":
        assert "add: --trust planted" in said
        assert "lies in the run folder" in refused(
            capsys, command, str(folder), "--trust", "planted"
        )
        assert not mark.exists()


def test_only_the_module_that_is_trusted_is_imported(stranger, tmp_path, monkeypatch, capsys):
    folder, mark = stranger
    rewrite(folder, "run", "env", "planted:Planted-v0")
    monkeypatch.chdir(tmp_path / "runs")
    assert "add: --trust planted" in refused(capsys, "eval", str(folder), "--trust", "json")
    with pytest.raises(ValueError, match="add: --trust planted"):
        bio_rl.load(folder)
    with pytest.raises(CheckpointError, match="does not fit"):  # it was trained in another world
        bio_rl.load(folder, trust=("planted",))
    assert mark.exists()
    monkeypatch.delitem(sys.modules, "planted")


@pytest.mark.parametrize("call", [bio_rl.load, bio_rl.resume, bio_rl.evaluate])
def test_python_asks_for_trust_as_the_command_line_does(stranger, call):
    folder, mark = stranger
    rewrite(folder, "run", "env", "planted:Planted-v0")
    for trust in ((), ("json",)):
        with pytest.raises(ValueError, match="--trust planted"):
            call(folder, trust=trust)
    assert not mark.exists()
