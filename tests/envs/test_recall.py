"""Recall-v0: an episode by hand, and what is drawn."""

import numpy as np
import pytest

from bio_rl.envs.neuroscience.recall import Recall


def test_an_episode_by_hand() -> None:
    """Two pairs are shown, key and value in turn; only the answer at the query counts, and it ends
    the episode.
    """
    env = Recall(2, pairs=2, keys=3, values=2)
    env.reset(seed=0)
    env.drawn["key"][:] = [2, -1, 0, -1, 2, -1]
    env.drawn["value"][:] = [-1, 1, -1, 0, -1, -1]
    env.drawn["answer"][:] = 1
    seen, rewards = [env.sense()[0]], []
    for _ in range(5):
        obs, reward, terminated, _, _ = env.step(np.array([1, 0]))
        seen.append(obs[0])
        rewards.append(reward.tolist())
        assert terminated.all() == (len(rewards) == 5)
    key, value = np.eye(3), np.eye(2)
    none = np.zeros(3)
    expected = [
        (*key[2], 0, 0, 0),
        (*none, *value[1], 0),
        (*key[0], 0, 0, 0),
        (*none, *value[0], 0),
        (*key[2], 0, 0, 1),
        (0,) * 6,
    ]
    np.testing.assert_array_equal(seen, expected)
    assert rewards == [[0, 0]] * 4 + [[1, 0]]


def test_what_is_drawn_is_consistent() -> None:
    env = Recall(3000, pairs=3, keys=5, values=4)
    drawn = env.decode(np.random.default_rng(0).random((3000, env.numbers)))
    key, value, answer = drawn["key"], drawn["value"], drawn["answer"]
    shown = key[:, 0:6:2]
    assert (np.diff(np.sort(shown, 1), axis=1) > 0).all()  # all different
    asked = shown == key[:, 6:7]
    assert (asked.sum(1) == 1).all() and (value[:, 1:6:2][asked] == answer).all()
    assert np.allclose(asked.mean(0), 1 / 3, atol=0.04)  # each pair as often
    assert np.allclose(np.bincount(answer) / 3000, 1 / 4, atol=0.04) and np.allclose(
        np.bincount(shown.ravel()) / 9000, 1 / 5, atol=0.02
    )


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="pairs is 7, expected 1 to keys = 6"):
        Recall(pairs=7)
    with pytest.raises(ValueError, match="values is 1"):
        Recall(values=1)
