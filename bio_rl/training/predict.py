"""Decisions outside of a vector environment: of one observation, or of several, as Gymnasium gives
them.

    action, memory = predict(agent, obs)                # the first decision of an episode
    action, memory = predict(agent, obs, memory)        # those after it
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from bio_rl.contracts import Percept, State
from bio_rl.rl.base import Agent
from bio_rl.vector.coding import decoder, encoder, keys_of


class Memory(NamedTuple):
    """The state that lasts from one decision to the next; rows are lives."""

    state: State
    action: Tensor
    """[B, ...] the decision before, as the agent gave it."""


@torch.no_grad()
def predict(
    agent: Agent,
    obs: Any,
    memory: Memory | None = None,
    *,
    reward: float | np.ndarray = 0.0,
    explore: bool = False,
) -> tuple[Any, Memory]:
    """(action, memory) for an observation of the agent's space, or for B of them, [B, *obs].

    memory: what the decision before returned; None begins an episode. reward: what that decision
    earned, a number or [B], which only networks of meta-learners look at. explore: draw the action
    as in training, where the best one is given otherwise. Raises ValueError for an observation of
    another shape, and for a memory of another number of rows.
    """
    space, alone = agent.spec.observation_space, _is_one(agent.spec.observation_space, obs)
    rows = _rows(space, obs) if alone else obs
    n = len(next(iter(rows.values())) if isinstance(rows, dict) else rows)
    device = agent.device
    arrays = [torch.from_numpy(x).to(device) for x in encoder(space)(rows)]
    keys = keys_of(space)
    seen = arrays[0] if keys is None else dict(zip(keys, arrays, strict=True))
    begins = memory is None
    if begins:
        memory = Memory(agent.initial_state(n), _no_action(agent, n))
    elif len(memory.action) != n:
        raise ValueError(
            f"{n} observations came with a memory of {len(memory.action)} lives; give each life's "
            "own memory, or None to begin"
        )
    earned = torch.as_tensor(reward, dtype=torch.float32, device=device).expand(n)
    start = torch.full((n,), begins, dtype=torch.bool, device=device)
    percept = Percept(seen, memory.action, earned, torch.zeros_like(start), start)
    out = agent.act(percept, memory.state, explore)
    action = decoder(agent.spec.action_space)(out.action.cpu().numpy())
    return (_single(agent, action) if alone else action), Memory(out.state, out.action)


def _has_keys(space: Any) -> bool:
    return isinstance(space, spaces.Dict)


def _is_one(space: Any, obs: Any) -> bool:
    """Whether `obs` is a single observation, and not several of them."""
    if _has_keys(space):
        if not isinstance(obs, dict) or set(obs) != set(space.spaces):
            raise ValueError(f"the observation has no such keys: expected {sorted(space.spaces)}")
        key = next(iter(space.spaces))
        return _is_one(space[key], obs[key])
    shape, expected = np.shape(obs), space.shape or ()
    if shape == expected:
        return True
    if shape[1:] == expected and len(shape) == len(expected) + 1:
        return False
    raise ValueError(
        f"the observation has shape {list(shape)}, expected {list(expected)}, "
        f"or [B, ...] of that for B of them"
    )


def _rows(space: Any, obs: Any) -> Any:
    """One observation as a row of its own."""
    if _has_keys(space):
        return {key: np.asarray(obs[key])[None] for key in space.spaces}
    return np.asarray(obs)[None]


def _no_action(agent: Agent, n: int) -> Tensor:
    """[n, ...] zeros in the place of decisions that nobody has made."""
    space = agent.spec.action_space
    dtype = np.dtype(np.float32) if isinstance(space, spaces.Box) else space.dtype
    zeros = np.zeros((n, *(space.shape or ())), dtype)
    return torch.from_numpy(zeros).to(agent.device)


def _single(agent: Agent, action: np.ndarray) -> Any:
    """The action of the only row; a whole number for Discrete."""
    if isinstance(agent.spec.action_space, spaces.Discrete):
        return int(action[0])
    return action[0]
