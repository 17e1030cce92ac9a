"""Psychometric and chronometric tables of recorded choices: how accuracy and decision time depend
on the evidence.
"""

from typing import NamedTuple

import numpy as np

from bio_rl.envs.neuroscience.evidence_dm import RIGHT, WAIT, EvidenceDM
from bio_rl.vector.trials import Policy


class Choices(NamedTuple):
    """Recorded trials, arrays [n]."""

    coherence: np.ndarray
    """Signed, negative to the left."""
    action: np.ndarray
    """The action that ended the trial; WAIT where none was chosen in time."""
    viewed: np.ndarray
    """Steps with dots until then."""


def record(env: EvidenceDM, policy: Policy, trials: int, seed: int = 0) -> Choices:
    """The first trials of each row that a policy ends in env (mode NEXT_STEP), [num_envs · trials],
    row after row.

    The same number is taken in every row: what ends first would favour quick choices.
    """
    kept = Choices(*np.zeros((3, env.num_envs, trials + 1)))  # one more, for what comes after them
    obs, _ = env.reset(seed=seed)
    rows, count = np.arange(env.num_envs), np.zeros(env.num_envs, int)
    begun, done = np.ones(env.num_envs, bool), np.zeros(env.num_envs, bool)
    while (count < trials).any():
        actions = policy(obs, begun)
        obs, _, terminated, truncated, info = env.step(actions)
        viewed = info["viewed"]  # 0 in fixation, and in rows that were reset
        over = (viewed > 0) & ((actions != WAIT) | (viewed == env.viewing))
        for array, value in zip(kept, (info["coherence"], actions, viewed), strict=True):
            array[rows, np.minimum(count, trials)] = value
        begun, done = done, terminated | truncated
        count += over
    return Choices(*(array[:, :trials].ravel() for array in kept))


def psychometric(choices: Choices) -> np.ndarray:
    """Rows (signed coherence, share of choices to the right, number of choices); trials without a
    choice are left out.
    """
    made = choices.action != WAIT
    return _by(choices.coherence[made], choices.action[made] == RIGHT)


def chronometric(choices: Choices, dt: float) -> np.ndarray:
    """Rows (size of the coherence, mean decision time in ms, number of trials), by size. dt: ms per
    step.
    """
    return _by(np.abs(choices.coherence), choices.viewed * dt)


def _by(key: np.ndarray, value: np.ndarray) -> np.ndarray:
    keys = np.unique(key)
    return np.array([(k, value[key == k].mean(), (key == k).sum()) for k in keys]).reshape(-1, 3)
