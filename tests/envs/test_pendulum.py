"""Our Pendulum-v1 is Gymnasium's, to the last bit, in all autoreset modes."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from bio_rl.envs.control.pendulum import CONSTANTS, DT, Pendulum, pendulum_step
from bio_rl.testing import check_vector_env

ID = "bio_rl/Pendulum-v1"
N = 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_equals_gymnasium_bit_for_bit(mode: AutoresetMode, dtype: type) -> None:
    ours = gym.make_vec(ID, N, autoreset_mode=mode, max_episode_steps=60)
    theirs = gym.make_vec(
        "Pendulum-v1",
        N,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        max_episode_steps=60,
    )
    assert (
        ours.observation_space == theirs.observation_space
        and ours.action_space == theirs.action_space
    )
    np.testing.assert_array_equal(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
    rng, ended = np.random.default_rng(0), 0
    for _ in range(200):
        actions = rng.uniform(-3, 3, (N, 1)).astype(dtype)  # beyond the bounds, too
        a, b = theirs.step(actions), ours.step(actions)
        for x, y in zip(a[:4], b[:4], strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
        done = a[2] | a[3]
        ended += done.sum()
        if mode is AutoresetMode.DISABLED and done.any():
            first = [env.reset(options={"reset_mask": done.copy()})[0] for env in (theirs, ours)]
            np.testing.assert_array_equal(*first)
    assert ended >= 3 * N


def test_single_equals_gymnasium() -> None:
    ours, theirs = gym.make(ID), gym.make("Pendulum-v1")
    assert (
        ours.spec.max_episode_steps
        == theirs.spec.max_episode_steps
        == gym.make_vec(ID).max_episode_steps
        == 200
    )
    for seed in (3, None, 4):
        (obs, _), (expected, _) = ours.reset(seed=seed), theirs.reset(seed=seed)
        truncated = False
        while not truncated:
            np.testing.assert_array_equal(obs, expected)
            action = np.array([np.sin(obs[2])], np.float32)
            (obs, *rest, _), (expected, *others, _) = ours.step(action), theirs.step(action)
            assert rest == others
            truncated = rest[2]


def test_by_hand() -> None:
    """θ = π/2, u = 1: θ'' = 3·10/2 · 1 + 3 = 18; the angle moves with the new speed."""
    after = pendulum_step(np.array([[np.pi / 2], [0.0]]), np.array([1.0]), **CONSTANTS)
    np.testing.assert_allclose(after[:, 0], [np.pi / 2 + DT * DT * 18, DT * 18], rtol=1e-14)


def test_contracts() -> None:
    check_vector_env(ID, max_episode_steps=9)
    pytest.importorskip("pygame")
    check_env(gym.make(ID).unwrapped)  # renders too


def test_renders_as_gymnasium_does() -> None:
    pytest.importorskip("pygame")
    env, theirs = (
        Pendulum(2, render_mode="rgb_array"),
        gym.make("Pendulum-v1", render_mode="rgb_array"),
    )
    env.reset(seed=4)
    theirs.reset(seed=5)
    np.testing.assert_array_equal(env.render()[1], theirs.render())
    actions = np.array([[1.0], [-1.5]], np.float32)
    env.step(actions)
    theirs.step(actions[1])
    np.testing.assert_array_equal(env.render()[1], theirs.render())
    env.close()
    theirs.close()
