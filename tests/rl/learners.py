"""Small off-policy learners and batches for tests."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch

from bio_rl import agents as every_agent
from bio_rl import discovery
from bio_rl.contracts import Percept, Transition
from bio_rl.networks import Blueprint, mlp
from bio_rl.rl.clock import Horizon
from bio_rl.rl.off_policy import OffPolicyState
from bio_rl.rl.replay import Sample

N_IN, N, HIDDEN = 3, 32, (16, 16)
BOX = gym.spaces.Box(-1.0, 1.0, (N_IN,), np.float32)
ACTIONS = {name: gym.spaces.Box(-1.0, 1.0, (2,), np.float32) for name in ("sac", "td3")}
ACTIONS |= {name: gym.spaces.Discrete(3) for name in ("dqn", "sac of choices")}


def agent(name: str, seed: Any = 0, device: str = "cpu", **settings: Any) -> Any:
    module = discovery.load(every_agent, name.split()[0])
    critic = {} if name == "dqn" else {"critic_hidden": HIDDEN}
    config = module.Config(**{"batch": N, "replay": 1000, **critic, **settings})
    blueprint = Blueprint("mlp", mlp.Config(hidden=HIDDEN, activation="relu"))
    return module.Agent(
        config, blueprint, BOX, ACTIONS[name], horizon=Horizon(1000), seed=seed, device=device
    )


def batch(seed: int, action_space: gym.Space, groups: int = 1) -> Sample:
    """Steps of which some end an episode, for `groups` seeds."""
    g = torch.Generator().manual_seed(seed)
    n = groups * N
    obs, final = (torch.randn(1, n, N_IN, generator=g) for _ in range(2))
    action = torch.rand(1, n, 2, generator=g) * 2 - 1
    if isinstance(action_space, gym.spaces.Discrete):
        action = torch.randint(action_space.n, (1, n), generator=g)
    reward, ends = torch.randn(1, n, generator=g), torch.rand(2, 1, n, generator=g) < 0.2
    terminated, truncated = ends[0], ends[1] & ~ends[0]
    no = torch.zeros_like(terminated)
    percept = Percept(obs, torch.zeros_like(action), torch.zeros_like(reward), no, no)
    steps = Transition(percept, action, reward, terminated, truncated, final, ~no, {})
    return Sample(steps, OffPolicyState((), ()))


def copy_weights(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        b.data.copy_(a.detach())
