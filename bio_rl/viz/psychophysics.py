"""Psychometric and chronometric tables: how choices and their times depend on the evidence."""

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
    """The first trials of each row that a policy ends, [num_envs · trials], row after row.

    env is in mode NEXT_STEP. The same number is taken in every row: the trials that end first would
    favour quick choices.
    """
    n = env.num_envs
    # one more column, which what comes after the last trial overwrites
    coherence = np.zeros((n, trials + 1))
    action = np.zeros((n, trials + 1))
    viewed = np.zeros((n, trials + 1))
    rows = np.arange(n)
    count = np.zeros(n, int)
    begun = np.ones(n, bool)
    done = np.zeros(n, bool)
    obs, _ = env.reset(seed=seed)
    while (count < trials).any():
        actions = policy(obs, begun)
        obs, _, terminated, truncated, info = env.step(actions)
        # Every step of a trial writes to its place, so that the last one stays.
        at = np.minimum(count, trials)
        coherence[rows, at] = info["coherence"]
        action[rows, at] = actions
        viewed[rows, at] = info["viewed"]
        # viewed is 0 in fixation, and in rows that were reset
        chosen = (actions != WAIT) | (info["viewed"] == env.viewing)
        count += (info["viewed"] > 0) & chosen
        # the step after an end is the reset, after which an episode has begun
        begun = done
        done = terminated | truncated
    return Choices(*(array[:, :trials].ravel() for array in (coherence, action, viewed)))


def psychometric(choices: Choices) -> np.ndarray:
    """Rows (signed coherence, share of choices to the right, number of choices).

    Trials without a choice are left out.
    """
    made = choices.action != WAIT
    coherence = choices.coherence[made]
    to_the_right = choices.action[made] == RIGHT
    return _means(coherence, to_the_right)


def chronometric(choices: Choices, dt: float) -> np.ndarray:
    """Rows (size of the coherence, mean decision time in ms, number of trials).

    dt: ms per step.
    """
    size = np.abs(choices.coherence)
    time = choices.viewed * dt
    return _means(size, time)


def _means(key: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rows (key, mean of its values, number of its values), by key."""
    table = []
    for k in np.unique(key):
        rows = key == k
        table.append((k, values[rows].mean(), rows.sum()))
    # the shape is needed where there are no trials
    return np.array(table).reshape(-1, 3)
