"""The trial core, and every trial-based world: the ideal observer reaches its score, random actions
theirs.
"""

import gymnasium as gym
import numpy as np
import pytest

from bio_rl.envs import discover
from bio_rl.envs.neuroscience.bandit import bandit_reversal
from bio_rl.vector.trials import Periods, scores

IDS = sorted(
    i
    for i, s in discover().items()
    if any(f".{k}." in s["vector_entry_point"] for k in ("neuroscience", "games"))
)
EPISODES = 1000
ERRORS = 3.5  # standard errors: one false alarm in 2,000 draws, and the seeds are fixed


def check(env_id: str, key: str, policy_of) -> None:
    env = gym.make_vec(env_id, EPISODES)
    returns = scores(env, policy_of(env), EPISODES, seed=1)
    error = max(returns.std() / len(returns) ** 0.5, 1e-3)
    figure = env.metadata["reference"][key]
    assert abs(returns.mean() - figure) < ERRORS * error, (
        f"{key}: {returns.mean():.3f} ± {error:.3f}, reference {figure}"
    )


def at_random(env):
    rng, n = np.random.default_rng(0), env.single_action_space.n
    return lambda obs, begun: rng.integers(0, n, len(obs))


@pytest.mark.parametrize("env_id", IDS)
def test_ideal_observer_reaches_its_score(env_id: str) -> None:
    check(env_id, "ideal", lambda env: env.ideal())


@pytest.mark.parametrize("env_id", IDS)
def test_random_actions_score_the_floor(env_id: str) -> None:
    check(env_id, "random", at_random)


@pytest.mark.parametrize("env_id", IDS)
def test_renders_a_picture_that_changes(env_id: str) -> None:
    env = gym.make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    env.action_space.seed(0)
    frames = []
    for _ in range(12):
        frames.append(env.render())
        if any(env.step(env.action_space.sample())[2:4]):
            env.reset()
    assert all(f.dtype == np.uint8 and f.ndim == 3 and f.shape[2] == 3 for f in frames)
    assert any((f != frames[0]).any() for f in frames[1:])


def test_periods_follow_one_another() -> None:
    periods = Periods(10, fixation=20, delay=(10, 40), choice=10)
    ends = periods.draw(np.random.default_rng(0), 500)
    lengths = np.diff(ends, axis=1, prepend=0)
    assert (
        (lengths[:, 0] == 2).all()
        and (lengths[:, 2] == 1).all()
        and set(lengths[:, 1]) == {1, 2, 3, 4}
    )
    assert periods.phase(np.array([0, 1, 2, 4, 5]), np.tile([2, 4, 5], (5, 1))).tolist() == [
        0,
        0,
        1,
        2,
        3,
    ]
    with pytest.raises(ValueError, match="period cue lasts 4 ms"):
        Periods(10, cue=4)


def test_scores_takes_the_same_number_of_episodes_in_every_row() -> None:
    env = bandit_reversal(5, pulls=4)
    assert scores(env, at_random(env), 15).shape == (15,)
    with pytest.raises(ValueError, match="16 episodes in 5 environments"):
        scores(env, at_random(env), 16)


def test_reversals_come_at_the_hazard_rate_and_good_arms_pay() -> None:
    env = bandit_reversal(1, pulls=40_000, p_good=0.9, hazard=0.1)
    pays = env.draw(np.random.default_rng(0))["pays"].astype(float)
    # of two pulls in a row arm 0 pays alike unless luck or a swap differ: P(alike) = (1 - h) q + h
    # (1 - q), q = p² + (1-p)²
    alike, q = (pays[1:, 0] == pays[:-1, 0]).mean(), 0.9**2 + 0.1**2
    assert abs(alike - (0.9 * q + 0.1 * (1 - q))) < 0.01 and abs(pays.mean() - 0.5) < 0.02
