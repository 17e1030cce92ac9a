"""Population-vector decoder: every neuron votes for its preferred value with its firing rate.

    a_i = Σ_k r_ik c_k / Σ_k r_ik,   c evenly over [-1, 1]

Georgopoulos, Schwartz & Kettner 1986, normalised by activity.
"""

from __future__ import annotations

import torch
from torch import Tensor


def population_vector(rates: Tensor, size: int) -> Tensor:
    """a [..., A] in [-1, 1] of the rates [..., A·size], not negative, of `size` neurons for each of
    A values.

    Where a whole group is silent a_i = 0, with the finite gradient c_k towards each rate;
    differentiable everywhere else. Raises ValueError for size < 2 or a last axis that is not whole
    groups.
    """
    if size < 2:
        raise ValueError(
            f"population_vector: size is {size}, expected at least 2 neurons for each value"
        )
    if rates.shape[-1] % size:
        raise ValueError(
            f"population_vector: rates have shape {tuple(rates.shape)}, expected [..., A·{size}]"
        )
    preferred = torch.linspace(-1.0, 1.0, size, dtype=rates.dtype, device=rates.device)
    # [..., A, size]: the neurons of each value
    groups = rates.unflatten(-1, (-1, size))
    votes = (groups * preferred).sum(-1)
    activity = groups.sum(-1)
    # a silent group has no votes either: 0 / 1
    return votes / torch.where(activity > 0, activity, 1.0)
