"""Delta code: events where the input has moved since the last event, as of an event camera
(send-on-delta).

    n = ⌊|x - x̂| / θ⌋ events, ON if x > x̂, OFF if x < x̂;   x̂ ← x̂ + θ (n_on - n_off)

Lichtsteiner, Posch & Delbruck 2008 (one pixel, with x the log intensity); Miskowicz 2006
(send-on-delta).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.state import where_reset


class DeltaState(NamedTuple):
    sent: Tensor
    """x̂ [B, N], the sum of the events so far, in units of the input."""


def init(batch: int, n: int, device: torch.device | str | None = None) -> DeltaState:
    """`batch` x `n` inputs of which nothing has been sent: x̂ = 0, so that the first events tell
    the level itself.
    """
    return DeltaState(torch.zeros(batch, n, device=device))


def events(
    state: DeltaState, x: Tensor, reset: Tensor, threshold: float
) -> tuple[Tensor, DeltaState]:
    """Events [B, 2N] float, the N ON channels before the N OFF channels, and the new state.
    Afterwards |x - x̂| < θ.

    x: [B, N]; reset: [B] bool, rows that start anew at x̂ = 0; threshold: θ, in units of x. Every
    entry is the number of events n of one step (a graded spike; 0 or 1 while the input moves slower
    than 2 θ per step), so that a fast input never outruns its events. No gradient flows to x.
    Raises ValueError for θ <= 0, or a state or reset of another shape than x.
    """
    if not threshold > 0.0:
        raise ValueError(
            f"delta: threshold is {threshold}, expected a positive number in units of the input"
        )
    if x.dim() != 2 or state.sent.shape != x.shape or reset.shape != x.shape[:1]:
        raise ValueError(
            f"delta: state has shape {tuple(state.sent.shape)}, x {tuple(x.shape)} and reset "
            f"{tuple(reset.shape)}, expected [B, N], [B, N] and [B]; "
            "call init(B, N) for a new batch"
        )
    fresh = DeltaState(torch.zeros_like(state.sent))
    sent = where_reset(reset, fresh, state).sent
    # whole events are sent; the rest stays between x and x̂
    thresholds_moved = (x.detach() - sent) / threshold
    on = thresholds_moved.clamp(min=0.0).floor()
    off = thresholds_moved.neg().clamp(min=0.0).floor()
    spikes = torch.cat((on, off), -1)
    return spikes, DeltaState(sent + threshold * (on - off))
