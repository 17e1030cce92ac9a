"""Returns and advantages over a rollout."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    r_t: Tensor,
    v_t: Tensor,
    v_next: Tensor,
    terminated: Tensor,
    cut: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    """Generalised advantage estimates  A_t = δ_t + γλ(1-cut_t) A_{t+1},
        δ_t = r_t + γ(1-terminated_t) V(s'_t) - V(s_t).

    r_t, v_t, v_next, terminated, cut: [T, B]. v_next is V of the observation before auto-reset, so
    a time limit still bootstraps; cut = terminated | truncated. Returns [T, B], detached. Schulman
    et al. 2016, eq. 16; Pardo et al. 2018.
    """
    if not (r_t.shape == v_t.shape == v_next.shape == terminated.shape == cut.shape):
        shapes = [tuple(x.shape) for x in (r_t, v_t, v_next, terminated, cut)]
        raise ValueError(f"gae: all arguments are [T, B], got {shapes}")
    bootstrap = gamma * torch.where(terminated, 0.0, v_next)
    delta = (r_t + bootstrap - v_t).detach()
    # Nothing is carried back over the end of an episode.
    carry = torch.where(cut, 0.0, gamma * lam).unbind(0)
    advantages = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        running = torch.addcmul(delta[t], carry[t], running)
        advantages[t] = running
    return advantages


def discounted_sum(r_t: Tensor, carry: Tensor, cut: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Running returns
        G_t = γ G_{t-1} + r_t, cleared after `cut` (what VecNormalize scales rewards by).

    r_t, cut [T, B]; carry [B] is γ-decayed into the first row. Returns ([T, B], the carry [B] for
    the next rollout).
    """
    sums = []
    for r, end in zip(r_t, cut, strict=True):
        g = gamma * carry + r
        sums.append(g)
        carry = torch.where(end, 0.0, g)
    return torch.stack(sums), carry
