"""Vectorised worlds that do one thing wrong; `_hostile_worlds` registers them."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

LENGTH = 12
"""Steps of an episode."""


class Batch(VectorEnv):
    """A vectorised world without faults."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        self.num_envs = num_envs
        self.single_observation_space = spaces.Box(-9.0, 9.0, (2,), np.float32)
        self.single_action_space = spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.t = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.t = 0
        return self.obs(), {}

    def step(self, actions: Any) -> Any:
        # all rows end together, so that there are infos either for all or for none
        self.t += 1
        done = np.full(self.num_envs, self.t % LENGTH == 0)
        reward = np.ones(self.num_envs)
        return self.obs(), reward, np.zeros_like(done), done, self.infos(done)

    def obs(self) -> Any:
        return np.zeros((self.num_envs, 2), np.float32)

    def infos(self, done: Any) -> dict[str, Any]:
        if not done.any():
            return {}
        return {"final_obs": self.obs(), "_final_obs": done, "final_info": {}, "_final_info": done}


# Each breaks one promise of Gymnasium's vector interface


class BatchOfThree(Batch):
    """It makes three environments whatever it is asked for."""

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        super().__init__(3)


class BatchNoFinal(Batch):
    def infos(self, done: Any) -> dict[str, Any]:
        return {}


class BatchReused(Batch):
    """It returns its own buffer, and overwrites it."""

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        super().__init__(num_envs, **settings)
        self.buffer = np.zeros((num_envs, 2), np.float32)

    def obs(self) -> Any:
        self.buffer += 0.01
        return self.buffer


class BatchShort(Batch):
    """Its observations have a row too few."""

    def obs(self) -> Any:
        return np.zeros((max(1, self.num_envs - 1), 2), np.float32)


class BatchRewardList(Batch):
    def step(self, actions: Any) -> Any:
        obs, reward, terminated, truncated, infos = super().step(actions)
        return obs, reward.tolist(), terminated, truncated, infos


class BatchNaN(Batch):
    def obs(self) -> Any:
        return np.full((self.num_envs, 2), np.nan, np.float32)


BATCHES = (
    Batch,
    BatchOfThree,
    BatchNoFinal,
    BatchReused,
    BatchShort,
    BatchRewardList,
    BatchNaN,
)
