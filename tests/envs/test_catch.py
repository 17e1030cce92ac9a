"""Catch-v0 and CatchDelayed-v0: a ball by hand, and when it is paid."""

import numpy as np
import pytest

from bio_rl.envs.games.catch import Catch, catch_delayed, under_the_ball

LEFT, STAY, RIGHT = range(3)


def cells(picture: np.ndarray) -> list[list[int]]:
    return np.argwhere(picture[:, :, 0]).tolist()


def test_a_ball_by_hand() -> None:
    env = Catch(1)
    env.reset(seed=0)
    env.drawn["ball"][:] = 4
    obs, *_ = env.step(np.array([LEFT]))  # from column 2 to 1, the ball to row 1
    assert cells(obs[0]) == [[1, 4], [9, 1]] and set(np.unique(obs)) == {0, 255}
    for _ in range(2):
        obs, *_ = env.step(np.array([LEFT]))  # to 0, then against the wall
    assert cells(obs[0]) == [[3, 4], [9, 0]]
    for _ in range(3):
        env.step(np.array([RIGHT]))
    for _ in range(2):
        obs, reward, terminated, *_ = env.step(np.array([STAY]))
    assert cells(obs[0]) == [[8, 4], [9, 3]] and not terminated and reward == 0
    obs, reward, terminated, *_ = env.step(
        np.array([RIGHT])
    )  # the ninth action still moves the paddle
    assert cells(obs[0]) == [[9, 4]] and terminated and reward == 1


def test_a_miss_costs_one() -> None:
    env = Catch(500)
    obs, _ = env.reset(seed=0)
    missed = obs[:, 0, 2, 0] == 0
    for _ in range(9):
        obs, reward, *_ = env.step(np.full(500, STAY))
    assert (reward == np.where(missed, -1, 1)).all() and 0.7 < missed.mean() < 0.9


def payments(**settings) -> dict[int, float]:
    """{step: reward}, from 1, where an episode of perfect catches is paid."""
    env = Catch(1, **settings)
    obs, _ = env.reset(seed=0)
    paid: dict[int, float] = {}
    for step in range(1, 9 * env.trials + 1):
        obs, reward, terminated, *_ = env.step(under_the_ball(obs, np.zeros(1, bool)))
        assert bool(terminated[0]) == (step == 9 * env.trials)
        paid |= {step: float(reward[0])} if reward[0] else {}
    return paid


def test_balls_are_paid_after_the_delay_or_at_the_end() -> None:
    assert payments(runs=3) == {9: 1, 18: 1, 27: 1}
    assert payments(runs=3, delay=4) == {13: 1, 22: 1, 27: 1}
    assert payments(runs=3, delay=9) == {18: 1, 27: 2}
    assert payments(runs=3, delay=1000) == {27: 3}


def test_the_next_ball_comes_from_the_top_and_the_paddle_stays() -> None:
    env = catch_delayed(1)
    env.reset(seed=0)
    env.drawn["ball"][:] = 3
    for _ in range(9):
        obs, *_ = env.step(np.array([RIGHT]))
    assert cells(obs[0]) == [[0, 3], [9, 4]]


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="delay is -1 steps"):
        Catch(delay=-1)
    with pytest.raises(ValueError, match="trials is 0"):
        Catch(runs=0)
