"""Every world of envs/ holds the contracts of the public checker, and the checker finds what it is
there to find.
"""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import bio_rl
from bio_rl.envs import discover, register
from bio_rl.envs.robotics.half_cheetah import HalfCheetah
from bio_rl.envs.robotics.inverted_pendulum import InvertedPendulum
from bio_rl.testing import check_vector_env
from bio_rl.vector.rendering import can_render

ROOT = Path(bio_rl.__file__).parents[1]
WORLDS = sorted(discover())
FALLS_EARLY = ("InvertedPendulum", "InvertedDoublePendulum")


def limit(env_id: str) -> int:
    return (
        3
        if any(name in env_id for name in FALLS_EARLY)
        else min(7, gym.spec(env_id).max_episode_steps or 7)
    )


@pytest.mark.parametrize("env_id", WORLDS)
def test_vector_contract(env_id: str) -> None:
    check_vector_env(env_id, max_episode_steps=limit(env_id))


@pytest.mark.parametrize("env_id", WORLDS)
def test_single_contract(env_id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # unbounded observations, actions beyond [-1, 1]: Gymnasium's own choices
        check_env(gym.make(env_id).unwrapped, skip_render_check=True)


# the checker finds faults


class LiveView(HalfCheetah):
    def step(self, actions: np.ndarray) -> tuple:
        _, *rest = super().step(actions)
        return self.batch.state[:, 2:19], *rest  # the right numbers, until the next step


class LateTruncation(HalfCheetah):
    def step(self, actions: np.ndarray) -> tuple:
        obs, reward, terminated, truncated, info = super().step(actions)
        return obs, reward, terminated, np.zeros_like(truncated), info


class OneGenerator(HalfCheetah):
    def reset(self, *, seed: Any = None, options: Any = None) -> tuple:
        return super().reset(seed=None if seed is None else [seed] * self.num_envs, options=options)


class OtherSeeds(HalfCheetah):
    def reset(self, *, seed: Any = None, options: Any = None) -> tuple:
        return super().reset(seed=None if seed is None else seed + 1, options=options)


class ForgetsGenerators(HalfCheetah):
    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        super().load_state_dict(state)
        self.rngs = [np.random.default_rng(0) for _ in self.rngs]


class NoMask(HalfCheetah):
    def step(self, actions: np.ndarray) -> tuple:
        *rest, info = super().step(actions)
        return *rest, {key: value for key, value in info.items() if key != "_x_velocity"}


class FloatObs(HalfCheetah):
    def observe(self, rows: Any) -> np.ndarray:
        return super().observe(rows).astype(np.float32)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (LiveView, "share memory"),
        (LateTruncation, "truncated"),
        (OneGenerator, "live the same episodes"),
        (OtherSeeds, "row 0 and the single environment"),
        (ForgetsGenerators, "loaded its state_dict"),
        (NoMask, "has no mask"),
        (FloatObs, "dtype float32"),
    ],
)
def test_checker_finds(broken: type[HalfCheetah], message: str) -> None:
    def single() -> gym.Env:
        return gym.make("bio_rl/HalfCheetah-v5", max_episode_steps=7)

    with pytest.raises(AssertionError, match=message):
        check_vector_env(broken, single=single, max_episode_steps=7)


# the batch itself


def test_a_diverged_simulation_ends_and_the_others_go_on() -> None:
    calm, env = (
        HalfCheetah(4, nthread=2, autoreset_mode=AutoresetMode.SAME_STEP) for _ in range(2)
    )
    calm.reset(seed=0)
    env.reset(seed=0)
    env.qvel[2] = np.nan
    actions = np.zeros((4, 6), np.float32)
    expected, (obs, reward, terminated, truncated, info) = calm.step(actions), env.step(actions)
    others = [0, 1, 3]
    np.testing.assert_array_equal(terminated, [False, False, True, False])
    np.testing.assert_array_equal(info["diverged"], terminated)
    np.testing.assert_array_equal(obs[others], expected[0][others])
    np.testing.assert_array_equal(reward[others], expected[1][others])
    assert (
        np.isfinite(obs).all()
        and np.isfinite(info["final_obs"]).all()
        and reward[2] == 0
        and not truncated.any()
    )
    assert "diverged" not in env.step(actions)[4]


def test_no_log_file_is_left(tmp_path: Path) -> None:
    code = (
        "import bio_rl, gymnasium as gym, numpy as np\n"
        "env = gym.make_vec('bio_rl/HalfCheetah-v5', 8)\n"
        "gym.make('bio_rl/HalfCheetah-v5')\n"
        "env.reset(seed=0)\n"
        "env.qvel[:] = np.nan; env.step(env.action_space.sample())"
    )
    result = run(code, tmp_path)
    assert result.returncode == 0 and "settotalmass" not in result.stderr, result.stderr
    assert not list(tmp_path.iterdir())


def test_threads_do_not_change_results() -> None:
    lives = []
    for nthread in (1, 2, 3):
        env = InvertedPendulum(9, nthread=nthread)
        env.reset(seed=0)
        env.action_space.seed(0)
        lives.append([env.step(env.action_space.sample())[:4] for _ in range(40)])
    for life in lives[1:]:
        for ours, first in zip(life, lives[0], strict=True):
            for a, b in zip(ours, first, strict=True):
                np.testing.assert_array_equal(a, b)


def test_state_dict_survives_a_file_and_refuses_another_size(tmp_path: Path) -> None:
    env = HalfCheetah(3)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    np.savez(tmp_path / "state.npz", allow_pickle=False, **env.state_dict())
    with np.load(tmp_path / "state.npz") as saved:
        state = {name: saved[name] for name in env.state_dict()}
    copy = HalfCheetah(3)
    copy.load_state_dict(state)
    actions = env.action_space.sample()
    np.testing.assert_array_equal(env.step(actions)[0], copy.step(actions)[0])
    with pytest.raises(ValueError, match="another num_envs"):
        HalfCheetah(2).load_state_dict(state)


def test_faults_of_the_caller_are_named() -> None:
    env = HalfCheetah(2, max_episode_steps=1, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(gym.error.ResetNeeded, match="before reset"):
        env.step(np.zeros((2, 6)))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(6,\), expected"):
        env.step(np.zeros(6))
    env.step(np.zeros((2, 6)))
    with pytest.raises(gym.error.ResetNeeded, match=r"\[0, 1\] ended"):
        env.step(np.zeros((2, 6)))
    with pytest.raises(TypeError, match="reset_mask"):
        env.reset(options={"reset_mask": [True, False]})
    with pytest.raises(ValueError, match="rgb_array"):
        HalfCheetah(2, render_mode="human")


# registration and rendering


def run(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_import_registers_lazily(tmp_path: Path) -> None:
    code = (
        "import sys, bio_rl, gymnasium; assert 'bio_rl/HalfCheetah-v5' in gymnasium.registry; "
        "print([m for m in sys.modules if m.startswith(('mujoco', 'bio_rl.envs.'))])"
    )
    result = run(code, tmp_path)
    assert result.returncode == 0 and result.stdout.strip() == "[]", result.stdout + result.stderr


def test_register_twice_and_specs_are_json() -> None:
    before = dict(gym.registry)
    register()
    assert gym.registry == before
    for env_id in WORLDS:
        assert gym.spec(env_id).to_json()
        reference = gym.make_vec(env_id).metadata["reference"]
        assert reference["random"] < reference.get("ideal", reference.get("expert"))


@pytest.mark.skipif(
    not can_render(), reason="no OpenGL here: apt-get install libegl1 libgl1-mesa-dri"
)
def test_renders_each_environment() -> None:
    env = HalfCheetah(2, render_mode="rgb_array", width=64, height=48)
    env.reset(seed=0)
    env.qpos[1, 1] += 1.0  # lift the second cheetah
    other = gym.make("bio_rl/Hopper-v5", render_mode="rgb_array", width=64, height=48)
    other.reset(seed=0)
    first, _ = env.render(), other.render()  # two renderers in one process
    second = env.render()
    for frames in (first, second):
        assert len(frames) == 2 and all(
            f.shape == (48, 64, 3) and f.dtype == np.uint8 and f.std() > 0 for f in frames
        )
    assert (
        (first[0] != first[1]).any()
        and (first[0] == second[0]).all()
        and (first[1] == second[1]).all()
    )
    env.close()
    other.close()


def test_without_egl_the_error_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import bio_rl, gymnasium as gym\n"
        "gym.make_vec('bio_rl/HalfCheetah-v5', render_mode='rgb_array')"
    )
    result = run(
        code, tmp_path, MUJOCO_GL="egl", PYOPENGL_PLATFORM="glx"
    )  # a platform that MuJoCo's EGL refuses
    assert result.returncode != 0 and "apt-get install libegl1" in result.stderr
