"""Beliefs about what is hidden, which several ideal observers hold."""

import numpy as np


def two_state_filter(belief: np.ndarray, likelihood: np.ndarray, hazard: float) -> np.ndarray:
    """The probability b [N] that the second of two hidden states is the true one, after an outcome
    and a possible swap.

        b ← b P(r | second) / Σ,   b ← (1 - h) b + h (1 - b)

    likelihood: P(r | second) [N]; P(r | first) is 1 minus that. hazard h: of a swap. This is the
    Bayes filter of a two-state hidden Markov model.
    """
    second = belief * likelihood
    first = (1 - belief) * (1 - likelihood)
    posterior = second / (second + first)

    stays = (1 - hazard) * posterior
    swaps = hazard * (1 - posterior)
    return stays + swaps
