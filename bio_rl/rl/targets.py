"""Targets of values: a network's outputs for sequences of experience and for what truly came next,
and returns over n steps.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.contracts import Network, Percept, State, Transition
from bio_rl.state import index, leaves, stack


class Unrolled(NamedTuple):
    """The outputs of a network along T steps."""

    now: Tensor
    """[T, B, out] for what the steps saw."""
    next: Tensor
    """[T, B, out] for what truly came after each step."""
    starts: State
    """[T // chunk, B, ...] the states before every chunk-th step; () where none are wanted."""
    state: State
    """[B, ...] the state after the last step."""


@torch.no_grad()
def unroll_with_next(
    network: Network,
    percepts: Percept,
    following: Percept,
    truncated: Tensor,
    state: State,
    *,
    chunk: int = 0,
    after: Percept | None = None,
) -> Unrolled:
    """The outputs of `network` along T steps, and for the true next observation of each of them.

    percepts: [T, B, ...]. following: [T, B, ...] the percepts of the true next observations, as if
    no episode had ended there (`following_percepts`). truncated: [T, B]. state: [B, ...] before the
    first step. chunk: steps between the states that are returned; 0 for none. after: [B, ...] the
    percept after the last step, where it is no other than the last of `following` but for rows
    that were truncated.

    Within an episode the next observation is that of the next step. Where a time limit cut one it
    is not: there the network looks at the true one with the state of that moment, which it leaves
    as it was. So the steps are unrolled in segments that end after a step that was cut anywhere:

        step        0   1   2   3   4   5          truncated in some row: 2
        segments   [0   1   2] [3   4   5]
        next        1   2   2'  4   5   after      2': the true next observation of step 2

    Where an episode has terminated no next observation counts, and the output there means nothing.
    """
    length = len(truncated)
    cuts = set(truncated.any(1).nonzero().flatten().tolist())
    if after is None:
        # The last step is looked beyond in any case.
        cuts.discard(length - 1)
    chunk_starts = set(range(0, length, chunk)) if chunk else set()
    edges = sorted({0, length} | {t + 1 for t in cuts} | chunk_starts)
    starts: list[State] = []
    outputs: list[Tensor] = []
    beyond: dict[int, Tensor] = {}
    for first, end in itertools.pairwise(edges):
        if first in chunk_starts:
            starts.append(state)
        output, state = network.unroll(index(percepts, slice(first, end)), state)
        outputs.append(output)
        if end - 1 in cuts:
            beyond[end - 1], _ = network(index(following, end - 1), state)
    now = torch.cat(outputs)
    last, _ = network(index(following, length - 1) if after is None else after, state)
    following_outputs = torch.cat((now[1:], last.unsqueeze(0)))
    for t, output in beyond.items():
        cut = truncated[t].unsqueeze(-1)
        following_outputs[t] = torch.where(cut, output, following_outputs[t])
    return Unrolled(now, following_outputs, stack(starts) if starts else (), state)


def following_percepts(steps: Transition) -> Percept:
    """[T, B, ...] the percepts of the true next observations, as if no episode had ended there.

    steps: its obs, `final_obs` among them, are features [T, B, ...].
    """
    no = torch.zeros_like(steps.terminated)
    return Percept(
        obs=steps.final_obs,
        action=steps.action,
        reward=steps.reward,
        terminated=no,
        reset=no,
    )


@torch.no_grad()
def next_outputs(network: Network, steps: Transition, state: State) -> Tensor:
    """The outputs [L, B, out] for the true next observation of each of L steps, from a `state` [B,
    ...] before the first.

    steps: its obs, `final_obs` among them, are features [L, B, ...].
    """
    following = following_percepts(steps)
    if not list(leaves(state)):
        # Without memory no step has to be unrolled to know what comes after it.
        return network.unroll(following, state)[0]
    return unroll_with_next(network, steps.percept, following, steps.truncated, state).next


def n_step_target(
    r_t: Tensor, v_next: Tensor, terminated: Tensor, cut: Tensor, gamma: float, n: int
) -> Tensor:
    """R_t = Σ_{i<m} γ^i r_{t+i} + γ^m (1 - terminated) V(s'),
        m ≤ n steps, fewer where the episode ends before.

    r_t, v_next, terminated, cut [L, B]: v_next is V of the true observation after each step, cut
    = terminated | truncated. Returns [L - n + 1, B], detached. Sutton & Barto 2018, eq. 7.1; Hessel
    et al. 2018.
    """
    length = len(r_t) - n + 1
    if length < 1:
        raise ValueError(f"n_step_target: {len(r_t)} steps are too few for n = {n}")
    bootstrap = r_t + gamma * torch.where(terminated, 0.0, v_next)
    # From the end of the sum to its beginning: `target` [length, B] starts as the value after the
    # last of the n steps, and each pass puts one more reward before it.
    target = bootstrap[n - 1 :]
    for i in range(n - 2, -1, -1):
        at = slice(i, i + length)
        target = torch.where(cut[at], bootstrap[at], r_t[at] + gamma * target)
    return target.detach()


def last_of_sum(cut: Tensor, n: int) -> Tensor:
    """Which of the first n steps [n, B] ends the sum of rewards of the first one, [B]: the first
    that is cut, else the last.

    Of `n_step_target`'s v_next for that first step it is the only one that counts.
    """
    within = cut[:n]
    # The first of the largest: where none is cut this is 0, and not asked.
    first_cut = within.to(torch.uint8).argmax(0)
    is_cut = within.any(0)
    return torch.where(is_cut, first_cut, n - 1)
