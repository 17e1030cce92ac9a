"""Membrane decoders: the potential of output neurons that integrate and never fire is read as a
number.

No spike is rounded away, so few ticks suffice for a graded value such as an action or a Q value.
"""

from __future__ import annotations

from torch import Tensor

from bio_rl.codes._ticks import by_decision


def last_membrane(v: Tensor, ticks: int) -> Tensor:
    """v_tK [T, B, N], the potential after the last of each decision's K = `ticks` ticks, of v [T·K,
    B, N].

    Differentiable. Raises ValueError unless `v` are whole decisions. Bellec et al. 2020, Methods
    (the leaky readout).
    """
    return by_decision("last_membrane", v, ticks)[:, -1]


def max_membrane(v: Tensor, ticks: int) -> Tensor:
    """max_k v_tk [T, B, N], the highest potential in each decision's K = `ticks` ticks, of v [T·K,
    B, N].

    Differentiable: the gradient goes to the tick of the maximum (in equal parts where several share
    it). Raises ValueError unless `v` are whole decisions. Chen et al. 2022 (DSQN), where it is the
    Q value of an action.
    """
    return by_decision("max_membrane", v, ticks).amax(1)
