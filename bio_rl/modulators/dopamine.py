"""Dopamine: rewards beyond those that were expected, and how its concentration lingers.

δ = r + γ (1 - terminated) V(s') - V(s)         Schultz, Dayan & Montague 1997; Sutton & Barto
                                                2018, eq. 6.5
d ← d e^(-dt/τ_d) + pulse,   D = d + tonic      Izhikevich 2007, eq. 3 (τ_d 200 ms)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


def dopamine_rpe(
    reward: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, gamma: float | Tensor
) -> Tensor:
    """The reward prediction error δ [B], detached: the phasic response of dopamine neurons.

    reward, value: [B], of the decision taken and of the state before it; next_value: [B], of the
    state after it, before any reset, so that a time limit still bootstraps; terminated: [B] bool;
    gamma: γ, or [B] where serotonin sets it. Raises ValueError for other shapes.
    """
    if not (reward.shape == value.shape == next_value.shape == terminated.shape):
        shapes = [tuple(x.shape) for x in (reward, value, next_value, terminated)]
        raise ValueError(f"dopamine_rpe: all arguments are [B], got {shapes}")
    # a state beyond a termination is worth nothing
    next_value = torch.where(terminated, 0.0, next_value)
    error = reward + gamma * next_value - value
    return error.detach()


class DopamineState(NamedTuple):
    phasic: Tensor
    """[B] concentration above the tonic level."""


class Dopamine(NamedTuple):
    """Constants of the concentration that synapses see."""

    tau_d: float = 200.0
    """Time constant of its decay in ms; 0 where a pulse is gone at the next tick."""
    tonic: float = 0.0
    """Level in the absence of pulses."""

    def init(self, batch: int, device: torch.device | None = None) -> DopamineState:
        phasic = torch.zeros(batch, device=device)
        return DopamineState(phasic)

    def step(
        self, state: DopamineState, pulse: Tensor, dt: float = 1.0
    ) -> tuple[Tensor, DopamineState]:
        """(The concentration D [B] at the end of a tick of dt ms, state). pulse: [B], released at
        the end of the tick.
        """
        keep = 0.0
        if self.tau_d > 0:
            keep = math.exp(-dt / self.tau_d)
        phasic = keep * state.phasic + pulse
        level = phasic + self.tonic
        return level, DopamineState(phasic)
