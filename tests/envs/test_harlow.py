"""Harlow-v0: trials by hand, and codes that differ."""

import numpy as np
import pytest

from bio_rl.envs.neuroscience.harlow import Harlow


def test_trials_by_hand() -> None:
    """Object 0 is good, and lies left, right, left: left pays, left costs, left pays."""
    env = Harlow(1, trials=3, size=2)
    env.reset(seed=0)
    env.drawn["codes"][0] = [[1, 1], [-1, 1]]
    env.drawn["good"][0] = False
    env.drawn["left"][0] = [False, True, False]
    sees = [env.sense()[0]]
    rewards, ends = [], []
    for _ in range(3):
        obs, reward, terminated, _, _ = env.step(np.array([0]))
        sees.append(obs[0])
        rewards.append(reward[0])
        ends.append(bool(terminated[0]))
    assert rewards == [1, -1, 1] and ends == [False, False, True]
    np.testing.assert_array_equal(sees[0], [1, 1, -1, 1, 0, 0, 0])
    np.testing.assert_array_equal(sees[1], [-1, 1, 1, 1, 1, 0, 1])
    np.testing.assert_array_equal(sees[2], [1, 1, -1, 1, 1, 0, -1])


@pytest.mark.parametrize("size", [1, 2, 8, 32])
def test_codes_always_differ_and_are_all_drawn(size: int) -> None:
    codes = Harlow(2000, size=size).decode(np.random.default_rng(0).random((2000, 9)))["codes"]
    assert set(np.unique(codes)) == {-1, 1} and (codes[:, 0] != codes[:, 1]).any(1).all()
    assert abs(codes.mean((0, 1))).max() < 0.08  # every sign of both, one as often as the other
    if size <= 2:
        assert len(np.unique(codes.reshape(2000, -1), axis=0)) == 2**size * (2**size - 1)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="size is 0"):
        Harlow(size=0)
    with pytest.raises(ValueError, match="trials is 0"):
        Harlow(trials=0)
