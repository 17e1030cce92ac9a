"""Axonal delays in front of dense weights:  drive_j(t) = Σ_i w_ji s_i(t - d_i) + b_j.

d_i: whole ticks from 0 (arrives in the tick of its spike) to max_delay, one per presynaptic neuron;
a tick is dt ms long, so delays in ms scale with it. With delays a neuron can tell in which order
its inputs fired (Izhikevich 2006, polychronization).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bio_rl.connections._check import check_sizes, check_spikes
from bio_rl.connections._init import orthogonal
from bio_rl.connections.dense import spike_linear
from bio_rl.state import check_batch


class DelayState(NamedTuple):
    past: Tensor
    """[B, D, pre] spikes of the last D = max_delay ticks, the newest first."""


class Connection(nn.Module):
    """Spikes [B, pre] to drive [B, post]; the state holds what is still under way.

    max_delay: ticks; the delays are drawn evenly from 0..max_delay at construction (buffer `delays`
    [pre], int64, which may be overwritten within that range). gain: of the orthogonal initial
    weights; the bias starts at zero. graded: as in dense.
    """

    def __init__(
        self, n_pre: int, n_post: int, *, max_delay: int = 8, gain: float = 1.0, graded: bool = True
    ) -> None:
        super().__init__()
        check_sizes("delay", n_pre=n_pre, n_post=n_post, max_delay=max_delay)
        self.max_delay, self.graded = max_delay, graded
        self.delays = nn.Buffer(torch.randint(max_delay + 1, (n_pre,)))
        self.weight = orthogonal(n_post, n_pre, gain=gain)
        self.bias = nn.Parameter(torch.zeros(n_post))

    def initial_state(self, batch: int) -> DelayState:
        return DelayState(self.weight.new_zeros(batch, self.max_delay, self.weight.shape[1]))

    def forward(
        self, spikes: Tensor, state: DelayState, dt: float = 1.0
    ) -> tuple[Tensor, DelayState]:
        """(drive, state). Raises ValueError for spikes of another layer's size or a state of
        another batch.
        """
        check_spikes("delay", spikes, self.weight.shape[1], batched=True)
        check_batch(state, spikes.shape[0], "delay")
        seen = torch.cat([spikes.unsqueeze(1), state.past], 1)  # [B, D + 1, pre], indexed by age
        arriving = seen.gather(1, self.delays.expand(len(spikes), 1, -1)).squeeze(1)
        linear = F.linear if self.graded else spike_linear
        return linear(arriving, self.weight, self.bias), DelayState(seen[:, :-1])
