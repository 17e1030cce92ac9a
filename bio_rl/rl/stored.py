"""The stored form of experience: what a replay has of a step, and the step that it gives back."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bio_rl.contracts import Percept, Transition

# Bits of a step's flags.
TERMINATED = 1
TRUNCATED = 2
VALID = 4
RESET = 8


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
    bits = torch.tensor(
        [TERMINATED, TRUNCATED, VALID, RESET],
        dtype=torch.uint8,
        device=device,
    )
    return bits.view(4, 1, 1)


def stored(steps: Transition) -> Stored:
    """The stored form of steps [T, B, ...]."""
    percept = steps.percept
    # One byte for four answers.
    flags = TERMINATED * steps.terminated + TRUNCATED * steps.truncated + VALID * steps.valid
    flags = flags + RESET * percept.reset
    return Stored(
        obs=percept.obs,
        final_obs=steps.final_obs,
        action=steps.action,
        reward=steps.reward,
        flags=flags.to(torch.uint8),
    )


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
        obs=steps.obs,
        action=_later(steps.action),
        reward=_later(steps.reward),
        terminated=_later(terminated),
        reset=reset,
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
    nothing = torch.zeros_like(x[:1])
    return torch.cat((nothing, x[:-1]))
