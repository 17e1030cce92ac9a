"""Firing-rate decoder: the share of a decision's ticks at which a neuron fired."""

from __future__ import annotations

from torch import Tensor

from bio_rl.codes._ticks import by_decision


def firing_rate(spikes: Tensor, ticks: int) -> Tensor:
    """Spikes per tick [T, B, N] of the spikes [T·K, B, N] of T decisions,  r_t = (1/K) Σ_k z_tk,
        K = `ticks`.

    K ticks can say K + 1 values; the `leaky_average` of the kernels says more with the same spikes,
    and is this one where it keeps everything. Differentiable. Raises ValueError unless `spikes` are
    whole decisions. Tang et al. 2020 (PopSAN) decode actions from it.
    """
    decisions = by_decision("firing_rate", spikes, ticks)
    return decisions.mean(1)
