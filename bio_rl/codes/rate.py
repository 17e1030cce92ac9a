"""Rate code: a value in [0, 1] is the probability of a spike at every tick.

    P(z_k = 1) = x,   independent over ticks, rows and neurons

It is a Poisson process sampled once per tick.
"""

from __future__ import annotations

from torch import Tensor

from bio_rl import seeding
from bio_rl.codes._ticks import check_ticks


def poisson(rates: Tensor, key: Tensor, ticks: int) -> Tensor:
    """Bernoulli spikes [K, B, N] float with the probabilities `rates` [B, N] at each tick, a pure
    function of key [B].

    A value of 0 or less never fires, one of 1 or more at every tick. No gradient flows to `rates`.
    Raises ValueError where the rows of `rates` and `key` differ or `ticks` is not positive.
    """
    check_ticks("poisson", ticks)
    if rates.dim() != 2 or key.shape != rates.shape[:1]:
        raise ValueError(
            f"poisson: rates have shape {tuple(rates.shape)} and key {tuple(key.shape)}, "
            "expected [B, N] and [B]; every row needs its own key (bio_rl.seeding.keys)"
        )
    # a row's draws follow from its key: [B, K, N], with the ticks first for the network
    draws = seeding.uniform(key, ticks, rates.shape[-1])
    spikes = draws.transpose(0, 1) < rates
    return spikes.to(rates.dtype)
