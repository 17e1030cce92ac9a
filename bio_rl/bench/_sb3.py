"""Stable-Baselines3 as a peer: PPO in its own environments and ours, and off-policy updates.

Importing this needs the bench extra.
"""

# The peers may be missing: the bench extra brings them.
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from bio_rl.bench._peers import quiet


class OurVecEnv(VecEnv):
    """A native SAME_STEP vector environment in SB3's interface."""

    def __init__(self, env: gym.vector.VectorEnv) -> None:
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._actions = np.zeros(0)

    def reset(self) -> np.ndarray:
        return self.env.reset(seed=0)[0].astype(np.float32)

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        obs, reward, terminated, truncated, info = self.env.step(self._actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        # SB3 wants a list of dictionaries with the last observations in them
        for i in np.flatnonzero(done):
            cut = bool(truncated[i] and not terminated[i])
            infos[i] = {"terminal_observation": info["final_obs"][i], "TimeLimit.truncated": cut}
        return obs.astype(np.float32), reward, done, infos

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        if attr_name == "render_mode":
            return [None] * self.num_envs
        raise AttributeError(attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs

    # The rest of the interface is never asked for by what is measured here.


def dummy(env: str, num_envs: int) -> VecEnv:
    """SB3's default: Gymnasium's environment, one after the other in this process."""
    with quiet():
        return DummyVecEnv([lambda: gym.make(env)] * num_envs)


class Learner:
    """SB3's PPO with an MLP (tanh), trained a few updates at a time."""

    def __init__(
        self, env: VecEnv, hidden: Sequence[int], normalise: bool, settings: dict[str, Any]
    ) -> None:
        """The settings are SB3's n_steps, batch_size and n_epochs."""
        env = VecNormalize(env) if normalise else env
        policy = {"net_arch": list(hidden), "activation_fn": torch.nn.Tanh}
        self.model = PPO("MlpPolicy", env, policy_kwargs=policy, device="cpu", seed=0, **settings)
        self.per_update = env.num_envs * settings["n_steps"]

    def train(self, updates: int, threads: int) -> int:
        """Steps trained, in `updates` rollouts and updates with torch on `threads` threads."""
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            self.model.learn(updates * self.per_update, reset_num_timesteps=False)
        finally:
            torch.set_num_threads(before)
        return updates * self.per_update


class Nowhere(gym.Env):
    """Spaces without a world: steps are made up."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space) -> None:
        self.observation_space = observation_space
        self.action_space = action_space

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}


def off_policy(
    agent: str, observation: gym.Space, action: gym.Space, hidden: Sequence[int], batch: int
) -> Callable[[int], None]:
    """A function that does so many updates of SB3's learner of that name, from a noisy replay."""
    kind = {"sac": SAC, "td3": TD3, "dqn": DQN}[agent]
    model = kind(
        "MlpPolicy",
        Nowhere(observation, action),
        policy_kwargs={"net_arch": list(hidden)},
        device="cpu",
        buffer_size=20_000,
        seed=0,
    )
    model.set_logger(configure(None, []))
    # as much as our replay holds
    for _ in range(1000):
        obs = observation.sample()[None]
        next_obs = observation.sample()[None]
        acted = np.array([action.sample()])
        reward = np.random.randn(1)
        model.replay_buffer.add(obs, next_obs, acted, reward, np.array([False]), [{}])
    return lambda updates: model.train(updates, batch)
