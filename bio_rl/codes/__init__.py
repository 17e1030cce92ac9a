"""Codes, one a file: numbers to spikes (encoders), spikes to numbers, and the homeostat.

An encoder turns intensities [B, N] in [0, 1] into the spikes [K, B, N] of a decision of K ticks;
`encode` calls any of them by its name.
"""

from __future__ import annotations

from torch import Tensor

from bio_rl import discovery
from bio_rl.codes.latency import first_spike, linear_latency
from bio_rl.codes.population import deterministic
from bio_rl.codes.rate import poisson

ENCODERS = ("deterministic", "first_spike", "latency", "poisson")
"""The codes that `encode` knows."""
DRAWS = ("poisson",)
"""Those that draw, and so need a key."""


def encode(code: str, intensity: Tensor, ticks: int, key: Tensor | None = None) -> Tensor:
    """Spikes [K, B, N] of the intensities [B, N] in [0, 1], K being `ticks`, by the encoder `code`.

    key: [B], a noise key for each row, for those in DRAWS. Raises ValueError for an unknown code,
    or one that draws where there is no key.
    """
    if code == "deterministic":
        spikes, _ = deterministic(intensity, ticks)
        return spikes
    if code == "first_spike":
        return first_spike(intensity, ticks)
    if code == "latency":
        return linear_latency(intensity, ticks)
    if code != "poisson":
        raise ValueError(f"code is {code!r}; {discovery.suggestion(code, ENCODERS)}")
    if key is None:
        raise ValueError("the code poisson draws, and needs a noise key for each row")
    return poisson(intensity, key, ticks)


__all__ = ["DRAWS", "ENCODERS", "encode"]
