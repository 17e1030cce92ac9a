"""Our CartPole-v1 is Gymnasium's, and MaskedCartPole-v0 is that without its velocities, to the last
bit.
"""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import bio_rl  # noqa: F401  (registers the ids)
from bio_rl.envs.control.cart_pole import CONSTANTS, DT, MaskedCartPole, cart_pole_step
from bio_rl.testing import check_vector_env

IDS = {
    "bio_rl/CartPole-v1": [0, 1, 2, 3],
    "bio_rl/MaskedCartPole-v0": [0, 2],
}  # and what is seen of x, x', θ, θ'
MASKED = "bio_rl/MaskedCartPole-v0"
both = pytest.mark.parametrize(("name", "seen"), IDS.items())
N = 5


def balance(full_obs: np.ndarray) -> np.ndarray:
    """Actions of a hand-made controller that keeps the pole up for 500 steps; full_obs [N, 4], as
    CartPole-v1's.
    """
    x, x_dot, theta, theta_dot = full_obs.T
    return (0.1 * x + 0.3 * x_dot + 3.0 * theta + theta_dot > 0).astype(np.int64)


# parity with Gymnasium


@both
@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("seed", [0, 7, 123])
def test_equals_cartpole_bit_for_bit(
    name: str, seen: list[int], mode: AutoresetMode, seed: int
) -> None:
    ours = gym.make_vec(name, N, autoreset_mode=mode)
    theirs = gym.make_vec(
        "CartPole-v1", N, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}
    )
    expected, obs = theirs.reset(seed=seed)[0], ours.reset(seed=seed)[0]
    np.testing.assert_array_equal(obs, expected[:, seen])
    rng, episodes = np.random.default_rng(seed), 0
    for _ in range(300):
        actions = rng.integers(0, 2, N)
        a, b = theirs.step(actions), ours.step(actions)
        np.testing.assert_array_equal(b[0], a[0][:, seen])
        for x, y in zip(a[1:4], b[1:4], strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
        assert a[4].keys() == b[4].keys()
        done = a[2] | a[3]
        episodes += done.sum()
        if "final_obs" in a[4]:
            np.testing.assert_array_equal(
                b[4]["final_obs"][done], np.stack(a[4]["final_obs"][done])[:, seen]
            )
        if mode is AutoresetMode.DISABLED and done.any():
            expected, obs = (
                env.reset(options={"reset_mask": done.copy()})[0] for env in (theirs, ours)
            )
            np.testing.assert_array_equal(obs, expected[:, seen])
    assert episodes > 30


@both
def test_equals_cartpole_up_to_the_time_limit(name: str, seen: list[int]) -> None:
    ours, theirs = gym.make_vec(name, 3), gym.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    full, _ = theirs.reset(seed=1)
    ours.reset(seed=1)
    for t in range(1, 503):
        actions = balance(full)
        full, reward, terminated, truncated, _ = theirs.step(actions)
        obs, *rest, _ = ours.step(actions)
        np.testing.assert_array_equal(obs, full[:, seen])
        for x, y in zip((reward, terminated, truncated), rest, strict=True):
            np.testing.assert_array_equal(x, y)
        assert not terminated.any() and truncated.all() == (t == 500)


@both
def test_single_equals_cartpole(name: str, seen: list[int]) -> None:
    ours, theirs = gym.make(name), gym.make("CartPole-v1")
    assert isinstance(ours.observation_space, gym.spaces.Box) and isinstance(
        theirs.observation_space, gym.spaces.Box
    )
    for bound in ("low", "high"):
        given = getattr(ours.observation_space, bound)
        np.testing.assert_array_equal(given, getattr(theirs.observation_space, bound)[seen])
    assert (
        ours.observation_space.dtype == theirs.observation_space.dtype
        and ours.action_space == theirs.action_space
    )
    rng = np.random.default_rng(0)
    for seed in (3, None, 4):  # without a seed the generator goes on
        (obs, info), (expected, _) = ours.reset(seed=seed), theirs.reset(seed=seed)
        done = False
        while not done:
            np.testing.assert_array_equal(obs, expected[seen])
            action = rng.integers(0, 2)
            obs, *rest, info = ours.step(action)
            expected, *others, _ = theirs.step(action)
            assert (
                rest == others
                and [type(x) for x in rest] == [type(x) for x in others]
                and info == {}
            )
            done = rest[1] or rest[2]
    with pytest.raises(gym.error.ResetNeeded):
        ours.step(0)


@pytest.mark.parametrize("name", IDS)
def test_spec_is_cartpoles(name: str) -> None:
    ours, theirs = gym.spec(name), gym.spec("CartPole-v1")
    assert (ours.max_episode_steps, ours.reward_threshold) == (
        theirs.max_episode_steps,
        theirs.reward_threshold,
    )
    assert (
        gym.make_vec(name).max_episode_steps == 500 and gym.make(name).spec.max_episode_steps == 500
    )


# by hand


def test_a_still_upright_pole_is_pushed_over() -> None:
    """θ = θ' = 0: θ'' = -push / (0.5 (4/3 - 0.1/1.1)), x'' = push - 0.05 θ''/1.1; Euler moves the
    velocities alone.
    """
    push = 10 / 1.1
    theta_acc = -push / (0.5 * (4 / 3 - 0.1 / 1.1))
    x_acc = push - 0.05 * theta_acc / 1.1
    after = cart_pole_step(np.zeros((4, 1)), np.array([True]), **CONSTANTS)
    np.testing.assert_allclose(after[:, 0], [0, DT * x_acc, 0, DT * theta_acc], rtol=1e-14)


def test_velocities_are_not_observed() -> None:
    """Two rows that differ in nothing but their velocities look the same, until the next step."""
    env = MaskedCartPole(2)
    env.reset(seed=0)
    state = env.state_dict()
    state["physics"][:] = [[0.1, 1.0, 0.02, -0.5], [0.1, -1.0, 0.02, 0.5]]
    env.load_state_dict(state)
    obs = env.observe(slice(None))
    assert obs.shape == (2, 2) and (obs[0] == obs[1]).all()
    assert (obs[0] == np.float32([0.1, 0.02])).all()
    obs = env.step(np.array([0, 0]))[0]
    assert (obs[0] != obs[1]).all()


# contracts


@pytest.mark.parametrize("name", IDS)
def test_vector_contract_with_terminations(name: str) -> None:
    """test_vector_contract.py stops the episodes after 7 steps, before any pole can fall."""
    check_vector_env(name, max_episode_steps=12)


@pytest.mark.parametrize("name", IDS)
def test_single_contract(name: str) -> None:
    pytest.importorskip("pygame")
    check_env(gym.make(name).unwrapped)  # renders too


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_resume_continues_bitwise(mode: AutoresetMode) -> None:
    env, rng = MaskedCartPole(N, autoreset_mode=mode), np.random.default_rng(0)
    copy = MaskedCartPole(N, autoreset_mode=mode)
    env.reset(seed=0)

    def step(*envs: MaskedCartPole) -> list[np.ndarray]:
        actions, seen = rng.integers(0, 2, N), []
        for e in envs:
            obs, reward, terminated, truncated, _ = e.step(actions)
            seen.append(np.column_stack((obs, reward, terminated, truncated)))
            if mode is AutoresetMode.DISABLED and (terminated | truncated).any():
                e.reset(options={"reset_mask": terminated | truncated})
        return seen

    for _ in range(40):
        step(env)
    copy.load_state_dict(env.state_dict())
    for _ in range(200):
        a, b = step(env, copy)
        np.testing.assert_array_equal(a, b)


def test_faults_of_the_caller_are_named() -> None:
    env = MaskedCartPole(3)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"\[2\] in rows \[1\], expected integers from 0 to 1"):
        env.step(np.array([0, 2, 1]))
    with pytest.raises(ValueError, match=r"shape \(3, 1\), expected"):
        env.step(np.zeros((3, 1), int))
    with pytest.raises(ValueError, match="human"):
        gym.make(MASKED, render_mode="human")


def test_renders_each_cart_as_gymnasium_does() -> None:
    pytest.importorskip("pygame")
    env, theirs = (
        MaskedCartPole(2, render_mode="rgb_array"),
        gym.make("CartPole-v1", render_mode="rgb_array"),
    )
    with pytest.warns(UserWarning, match="without a render_mode"):
        assert MaskedCartPole(1).render() is None
    env.reset(seed=4)
    frames = env.render()
    for i, frame in enumerate(frames):
        theirs.reset(seed=4 + i)
        np.testing.assert_array_equal(frame, theirs.render())
    assert (
        (frames[0] != frames[1]).any()
        and frames[0].shape == (400, 600, 3)
        and frames[0].dtype == np.uint8
    )
    single = gym.make(MASKED, render_mode="rgb_array")
    single.reset(seed=4)
    np.testing.assert_array_equal(single.render(), frames[0])
    for e in (env, theirs, single):
        e.close()
