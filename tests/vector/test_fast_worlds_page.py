"""The world of docs/fast_worlds.md is complete: it is checked, trained, resumed and evaluated as it
stands on the page.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from bio_rl import vector
from bio_rl.__main__ import main
from bio_rl.bench.resume import difference, last_tree
from bio_rl.testing import check_vector_env
from bio_rl.training import runfolder
from bio_rl.vector import NativeVectorEnv
from bio_rl.vector.native import Rows
from bio_rl.vector.trials import scores
from tests.docs import pages

PAGE = "fast_worlds.md"
SMALL = ["--num-envs", "4", "--ppo.update-every", "16", "--eval-episodes", "2"]


def commands(run_dir: Path) -> list[list[str]]:
    """The arguments of train.py on the page, for the runs of a folder, with few steps."""
    few = {"40000": "512", "80000": "1024", "latest": str(run_dir / "latest")}
    trainings = [words for program, *words in pages.commands(PAGE) if program == "train.py"]
    return [[few.get(word, word) for word in words] for words in trainings]


@pytest.fixture
def my_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The module of the page, to be imported by its name; forgotten after the test."""
    pages.write(PAGE, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_world", raising=False)
    yield "my_world"
    sys.modules.pop("my_world", None)
    gym.registry.pop("Drift-v0", None)


def test_the_world_holds_the_contracts_and_is_as_short_as_it_says(my_world: str) -> None:
    source = pages.files(PAGE)["my_world.py"]
    code = [line for line in source.splitlines() if line.strip()]
    assert len(code) <= 45
    importlib.import_module(my_world)
    check_vector_env("Drift-v0")
    assert vector.make("my_world:Drift-v0", 3).exact


def test_the_reference_scores_are_those_of_its_policies(my_world: str) -> None:
    world = importlib.import_module(my_world)
    env = world.Drift(200, max_episode_steps=100)
    reference = env.metadata["reference"]
    rng = np.random.default_rng(0)

    def at_random(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        return rng.integers(0, 3, len(obs))

    def push_back(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        x = obs[:, 0]
        return np.where(x > 0.05, 0, np.where(x < -0.05, 2, 1))

    for name, policy in (("random", at_random), ("expert", push_back)):
        returns = scores(env, policy, 2000)
        error = returns.std() / len(returns) ** 0.5
        assert abs(returns.mean() - reference[name]) < 3.5 * error + 0.1


def test_the_commands_of_the_page_train_resume_and_evaluate_it(
    my_world: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, resume, evaluate = commands(tmp_path)
    main([*train, *SMALL, "--run-dir", str(tmp_path)])
    main(resume)
    capsys.readouterr()
    main(evaluate)
    assert "my_world:Drift-v0 after 1,024 steps" in capsys.readouterr().out


def test_a_stopped_training_in_it_goes_on_bit_by_bit(my_world: str, tmp_path: Path) -> None:
    train, *_ = commands(tmp_path)
    main([*train, *SMALL, "--checkpoints", "4", "--run-dir", str(tmp_path / "runs")])
    whole = runfolder.resolve("latest", tmp_path / "runs")
    cut = shutil.copytree(whole, tmp_path / "cut")
    (cut / "result.json").unlink()
    for path in (cut / "checkpoints").glob("step_*.pt"):
        if int(path.stem.removeprefix("step_")) > 256:
            path.unlink()
    main(["resume", str(cut), "--trust", my_world])
    found = difference(last_tree(whole), last_tree(cut))
    assert found["equal"] and found["tensors"] > 20


class Blind(NativeVectorEnv):
    """A world without `observe`."""

    def advance(self, actions: np.ndarray, begun: np.ndarray | None) -> None:
        pass

    def outcome(self, actions: np.ndarray) -> tuple:
        return np.zeros(self.num_envs), np.zeros(self.num_envs, bool), {}


class Spaceless(Blind):
    """A world whose constructor does not end with `set_spaces`."""

    def observe(self, rows: Rows) -> np.ndarray:
        return np.zeros((self.num_envs, 1))[rows]


def test_a_world_that_lacks_a_hook_or_its_spaces_is_told_so() -> None:
    with pytest.raises(TypeError, match="observe"):
        Blind()  # pyright: ignore[reportAbstractUsage]
    with pytest.raises(TypeError, match="Spaceless has no spaces: its constructor has to end"):
        Spaceless().reset()


def test_state_arrays_start_anew_row_by_row_and_have_one_name_each() -> None:
    world = Spaceless(3)
    world.x = world.state_array("x", start=2.0, shape=(2,))
    with pytest.raises(ValueError, match="state_array 'x' is declared twice"):
        world.state_array("x")
    world.set_spaces(gym.spaces.Box(0.0, 0.0, (1,), np.float64), gym.spaces.Discrete(1))
    world.reset(seed=0)
    world.x += 1.0
    saved = world.state_dict()
    world.reset(options={"reset_mask": np.array([False, True, False])})
    assert world.x.tolist() == [[3, 3], [2, 2], [3, 3]]
    world.load_state_dict(saved)
    assert (world.x == 3.0).all() and world.x is not saved["x"]
