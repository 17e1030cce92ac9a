"""Neurons, one a file: a NamedTuple of constants (`NEURON`) with pure `init` and `step`, and a NamedTuple of state.

    state = p.init(batch, n)                        at rest, every field [B, N]
    spikes, state = p.step(state, drive, dt)        one tick of dt ms; drive [B, N]; spikes [B, N] in {0, 1}

A constant may be a tensor [N] or [] where neurons differ or learn. Those whose time loop is fused say what it runs:
`p.core(dt)`. The file's name is the neuron's on the command line.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bio_rl import discovery
from bio_rl.state import rows, tree_map
from bio_rl.types import State


class Neuron(Protocol):
    """Constants of a neuron; a NamedTuple."""

    v_threshold: float

    def init(self, batch: int, n: int, device: torch.device | None = None) -> Any:
        """The state of `batch` x `n` neurons at rest."""
        ...

    def step(self, s: Any, drive: Tensor, dt: float = 1.0) -> tuple[Tensor, Any]:
        """Spikes [B, N] of one tick, and the state after it."""
        ...


class Core(NamedTuple):
    """What the fused time loops run: a leaky integrator with an optional synaptic current i, adaptation a and refractoriness r.

        i ← α i + drive        h = v_leak + β (v - v_leak) + g i       x = h - v_threshold - κ a        spike where x >= 0
        v ← v_reset, or h - v_threshold (soft), where it spiked, else h          a ← ρ a + spike

    Without a synaptic current i is the drive. While r > dt/2 a neuron is held: v stays, no spike, r ← r - dt.
    """

    decay: float | Tensor
    """β; a tensor [N] or [] is learned, and its gradient flows (then g = 1 - β)."""
    gain: float = 1.0
    """g."""
    v_threshold: float = 1.0
    v_leak: float = 0.0
    v_reset: float | None = 0.0
    """None: soft."""
    decay_synapse: float = 0.0
    """α."""
    decay_adaptation: float = 0.0
    """ρ."""
    adaptation: float = 0.0
    """κ."""
    refractory: float = 0.0
    """ms."""
    surrogate: str = "atan"
    slope: float = 2.0


def load(name: str) -> type:
    """The constants of the neuron called `name`. Raises ValueError with the nearest name when there is none."""
    return discovery.load(sys.modules[__name__], name).NEURON


def after_spike(v: Tensor, z: Tensor, v_threshold: float, v_reset: float | None) -> Tensor:
    """v where z is 0; where it is 1, v_reset (hard), or for v_reset None what exceeds the threshold (soft). z is detached."""
    fired = z.detach()
    return v - fired * v_threshold if v_reset is None else torch.where(fired.bool(), v_reset, v)


def capped(v: Tensor, limit: float) -> Tensor:
    """min(v, limit) whose gradient passes through: a neuron that spikes can still learn to spike less."""
    return v + (v.clamp(max=limit) - v).detach()


def reset_rows(p: Neuron, mask: Tensor, state: State) -> State:
    """The state at rest in the rows where `mask` [B] is set. A noise key goes on: episodes must not share their noise."""
    fresh = p.init(*state[0].shape, device=state[0].device)
    if hasattr(state, "key"):
        fresh = fresh._replace(key=state.key)
    return tree_map(lambda new, old: torch.where(rows(mask, old), new, old), fresh, state)
