"""What a network says of sequences of experience: of what it saw, and of what truly came next."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from bio_rl.contracts import Percept, State, Transition
from bio_rl.state import index, leaves


@torch.no_grad()
def next_outputs(network: Any, steps: Transition, state: State) -> Tensor:
    """The outputs [L, B, out] for the true next observation of each of L steps, from a `state` [B,
    ...] before the first.

    steps: its obs, `final_obs` among them, are features [L, B, ...]. A network with memory is
    unrolled along the steps in segments that end where an episode is cut by a time limit, and with
    the last step: there it looks at the true next observation with the state of that moment, which
    goes no further. Where an episode has terminated there is no next observation that counts.
    """
    never = torch.zeros_like(steps.terminated)
    following = Percept(steps.final_obs, steps.action, steps.reward, never, never)
    if not list(leaves(state)):
        return network.unroll(following, state)[0]
    length, outs = len(steps.reward), []
    cuts = {t + 1 for t in steps.truncated[:-1].any(1).nonzero().flatten().tolist()} | {0, length}
    looks: dict[int, Tensor] = {}
    for a, b in itertools.pairwise(sorted(cuts)):
        out, state = network.unroll(index(steps.percept, slice(a, b)), state)
        outs.append(out)
        looks[b - 1], _ = network(index(following, b - 1), state)
    out = torch.cat(outs)
    beyond = torch.cat((out[1:], looks[length - 1].unsqueeze(0)))
    for t, look in looks.items():
        beyond[t] = torch.where(steps.truncated[t].unsqueeze(-1), look, beyond[t])
    beyond[-1] = looks[length - 1]
    return beyond


def n_step_target(
    reward: Tensor, v_next: Tensor, terminated: Tensor, cut: Tensor, gamma: float, n: int
) -> Tensor:
    """R_t = Σ_{i<m} γ^i r_{t+i} + γ^m (1 - terminated) V(s'),
        m ≤ n steps, fewer where the episode ends before.

    reward, v_next, terminated, cut [L, B]: v_next is V of the true observation after each step, cut
    = terminated | truncated. Returns [L - n + 1, B], detached. Sutton & Barto 2018, eq. 7.1; Hessel
    et al. 2018.
    """
    length = len(reward) - n + 1
    if length < 1:
        raise ValueError(f"n_step_target: {len(reward)} steps are too few for n = {n}")
    bootstrap = reward + gamma * torch.where(terminated, 0.0, v_next)
    target = bootstrap[n - 1 :]
    for i in range(n - 2, -1, -1):
        at = slice(i, i + length)
        target = torch.where(cut[at], bootstrap[at], reward[at] + gamma * target)
    return target.detach()


def last_of_sum(cut: Tensor, n: int) -> Tensor:
    """Which of the first n steps [n, B] ends the sum of rewards of the first one, [B]: the first
    that is cut, else the last.

    Of `n_step_target`'s v_next for that first step it is the only one that counts.
    """
    return torch.where(cut[:n].any(0), cut[:n].to(torch.uint8).argmax(0), n - 1)
