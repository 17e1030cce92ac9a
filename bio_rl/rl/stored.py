"""The stored form of experience: what a replay has of a step, and the step that it gives back."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bio_rl.contracts import Percept, Transition

TERMINATED, TRUNCATED, VALID, RESET = 1, 2, 4, 8
"""Bits of a step's flags."""


class Stored(NamedTuple):
    """The stored form of steps, [T, B, ...]."""

    obs: Any
    final_obs: Any
    action: Tensor
    reward: Tensor
    flags: Tensor
    """uint8."""


def flag_bits(device: torch.device) -> Tensor:
    """[4, 1, 1] the bits of a step's flags, in the order in which `restored` reads them."""
    bits = torch.tensor([TERMINATED, TRUNCATED, VALID, RESET], dtype=torch.uint8)
    return bits.to(device).view(4, 1, 1)


def stored(steps: Transition) -> Stored:
    """The stored form of steps [T, B, ...]."""
    flags = TERMINATED * steps.terminated + TRUNCATED * steps.truncated + VALID * steps.valid
    flags = (flags + RESET * steps.percept.reset).to(torch.uint8)
    return Stored(steps.percept.obs, steps.final_obs, steps.action, steps.reward, flags)


def restored(steps: Stored, bits: Tensor) -> Transition:
    """Sequences [L, N, ...] as they were lived; the action and the reward before the first step of
    each are zero.

    bits: `flag_bits`.
    """
    flags = (steps.flags.unsqueeze(0) & bits).bool()
    terminated, truncated, valid, reset = flags.unbind()
    if len(reset) > 1:
        # A run that was resumed in a new episode broke off the one before.
        truncated[:-1] |= reset[1:] & ~terminated[:-1]
    percept = Percept(
        steps.obs, _later(steps.action), _later(steps.reward), _later(terminated), reset
    )
    return Transition(
        percept=percept,
        action=steps.action,
        reward=steps.reward,
        terminated=terminated,
        truncated=truncated,
        final_obs=steps.final_obs,
        valid=valid,
        extras={},
    )


def _later(x: Tensor) -> Tensor:
    """[L, N, ...] the value that the step before had; zero at first."""
    if len(x) == 1:
        return torch.zeros_like(x)
    return torch.cat((torch.zeros_like(x[:1]), x[:-1]))
