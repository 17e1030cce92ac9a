"""Axonal delays in front of dense weights:  drive_j(t) = Σ_i w_ji s_i(t - d_i) + b_j.

d_i: whole ticks from 0 (arrives in the tick of its spike) to max_delay, one per presynaptic neuron;
a tick is dt ms long, so delays in ms scale with it. With delays a neuron can tell in which order
its inputs fired (Izhikevich 2006, polychronization).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bio_rl.connections._base import BaseConnection
from bio_rl.connections._check import check_sizes
from bio_rl.connections._init import orthogonal_weight, zero_bias

LONGEST = 1000
"""Ticks: the spikes of as many are kept for every row, and axons delay by some tens of ms."""


class DelayState(NamedTuple):
    past: Tensor
    """[B, D, pre] spikes of the last D = max_delay ticks, the newest first."""


class Connection(BaseConnection):
    """Spikes [B, pre] to drive [B, post]; the state holds the spikes that are still under way.

    max_delay: ticks, by default fewer than a network's decision has; the delays are drawn evenly
    from 0..max_delay at construction (buffer `delays` [pre], int64, which may be overwritten within
    that range). gain: scale of the orthogonal initial weights; the bias starts at zero.
    """

    name = "delay"
    stateful = True

    def __init__(
        self, n_pre: int, n_post: int, *, max_delay: int = 3, gain: float = 1.0, graded: bool = True
    ) -> None:
        super().__init__(n_pre, n_post, graded)
        check_sizes(self.name, max_delay=max_delay)
        if max_delay > LONGEST:
            raise ValueError(f"delay: max_delay is {max_delay}, expected at most {LONGEST} ticks")
        self.max_delay = max_delay
        delays = torch.randint(max_delay + 1, (n_pre,))
        self.delays = nn.Buffer(delays)
        self.weight = orthogonal_weight(n_post, n_pre, gain=gain)
        self.bias = zero_bias(n_post)

    def initial_state(self, batch: int) -> DelayState:
        n_pre = self.weight.shape[1]
        past = self.weight.new_zeros(batch, self.max_delay, n_pre)
        return DelayState(past)

    def transmit(self, spikes: Tensor, state: DelayState, dt: float) -> tuple[Tensor, DelayState]:
        """(The spikes [B, pre] that arrive at this tick, state)."""
        # [B, D + 1, pre], by their age in ticks: each neuron's delay picks one age
        newest = spikes.unsqueeze(1)
        by_age = torch.cat([newest, state.past], 1)
        age = self.delays.expand(len(spikes), 1, -1)
        arriving = by_age.gather(1, age).squeeze(1)

        # the oldest spikes have arrived everywhere
        past = by_age[:, :-1]
        return arriving, DelayState(past)
