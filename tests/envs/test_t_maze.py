"""TMaze-v0 and TMaze-Reversal-v0: one trial by hand, memory, swaps and errors."""

import numpy as np
import pytest

from bio_rl.envs.neuroscience.t_maze import EAST, NORTH, SOUTH, WEST, TMaze, t_maze_reversal
from bio_rl.vector.trials import scores


def test_one_trial_by_hand() -> None:
    env = TMaze(2, corridor=2)
    obs, _ = env.reset(seed=0)
    cue = obs[:, :2].copy()
    assert cue.sum(1).tolist() == [1, 1] and not obs[:, 2:].any()
    course = []
    for action in (
        WEST,
        EAST,
        NORTH,
        WEST,
        EAST,
        EAST,
        EAST,
    ):  # wall, on, wall, back to the start, on, junction, wall
        obs, reward, terminated, _, _ = env.step(np.full(2, action))
        assert not terminated.any() and np.allclose(obs[:, 3], reward)
        course.append(((obs[:, :2] == cue).all(), obs[0, :2].any(), obs[0, 2], reward[0]))
    assert [bool(shown) for _, shown, *_ in course] == [
        True,
        False,
        False,
        True,
        False,
        False,
        False,
    ]
    assert all(same for same, shown, *_ in course if shown)
    assert [at for *_, at, _ in course] == [0, 0, 0, 0, 0, 1, 1]
    assert [r for *_, r in course] == [-0.01, 0, -0.01, 0, 0, 0, -0.01]
    wanted = np.where(cue[:, 0] > 0, NORTH, SOUTH)
    _, reward, terminated, _, _ = env.step(np.array([wanted[0], NORTH + SOUTH - wanted[1]]))
    assert reward.tolist() == [1, -1] and terminated.all()


def test_a_trial_without_a_choice_ends_after_its_limit() -> None:
    env = TMaze(1, corridor=3, limit=6)
    env.reset(seed=0)
    ends = [bool(env.step(np.array([WEST]))[2][0]) for _ in range(6)]
    assert ends == [False] * 5 + [True]


def test_without_memory_of_the_cue_no_policy_wins() -> None:
    env = TMaze(1000)
    returns = scores(env, lambda obs, begun: np.where(obs[:, 2] > 0, NORTH, EAST), 1000)
    assert set(returns) == {1.0, -1.0} and abs(returns.mean()) < 0.1


@pytest.mark.parametrize("hazard", [0.0, 0.1, 0.8])
def test_the_optimum_of_reversal_is_its_closed_form(hazard: float) -> None:
    env = t_maze_reversal(1000, corridor=1, trials=11, hazard=hazard)
    returns = scores(env, env.ideal(), 4000)
    error = max(returns.std() / len(returns) ** 0.5, 1e-6)
    assert abs(returns.mean() - (1 + 10 * abs(1 - 2 * hazard))) < 3.5 * error


def test_the_next_trial_starts_with_the_outcome_and_a_cue() -> None:
    env = t_maze_reversal(200, corridor=1, hazard=0.0)
    env.reset(seed=0)
    env.step(np.full(200, EAST))
    obs, reward, terminated, _, _ = env.step(np.full(200, NORTH))
    assert (obs[:, 3] == reward).all() and (np.abs(reward) == 1).all() and not terminated.any()
    assert (obs[:, :2].sum(1) == 1).all() and not obs[:, 2].any()


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="corridor is 0 cells"):
        TMaze(corridor=0)
    with pytest.raises(ValueError, match="limit is 10 steps, expected at least 11"):
        TMaze(limit=10)
    with pytest.raises(ValueError, match=r"hazard is 1\.5"):
        t_maze_reversal(hazard=1.5)
