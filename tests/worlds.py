"""Toy worlds for tests, registered as `tests.worlds:Clock-v0` and so on."""

from __future__ import annotations

import gymnasium as gym
import numpy as np


class Clock(gym.Env):
    """Shows (episode number, time in it); the reward of step t is t. Ends after `length` steps, by itself or by a limit."""

    def __init__(self, length: int = 3, ends: str = "terminated") -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.length, self.ends, self.episode = length, ends, -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action):
        self.t += 1
        over = self.t >= self.length
        return self._obs(), float(self.t), over and self.ends == "terminated", over and self.ends == "truncated", {}

    def _obs(self):
        return np.array([self.episode, self.t], np.float32)


class Identity(gym.Env):
    """Reward 1 for the action that the observation names; 20 steps. `delay` asks for the name seen so many steps ago.

    With `pictures` the name is shown as the bright half of a picture."""

    def __init__(self, space: str = "discrete", delay: int = 0, pictures: bool = False) -> None:
        self.pictures = pictures
        self.observation_space = gym.spaces.Box(0, 255, (12, 12, 1), np.uint8) if pictures else gym.spaces.Discrete(2)
        spaces = {
            "discrete": gym.spaces.Discrete(2),
            "shifted": gym.spaces.Discrete(2, start=5),
            "multidiscrete": gym.spaces.MultiDiscrete([2, 2]),
            "multibinary": gym.spaces.MultiBinary(2),
            "box": gym.spaces.Box(0.0, 4.0, (1,), np.float32),
        }
        self.action_space = spaces[space]
        self.kind, self.delay = space, delay

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.cues = 0, self.np_random.integers(0, 2, 21 + self.delay)
        return self._obs(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        wanted = self.cues[self.t - self.delay] if self.t >= self.delay else None
        reward = 0.0 if wanted is None else self._score(action, wanted)
        self.t += 1
        return self._obs(), reward, False, self.t >= 20, {}

    def _score(self, action, wanted) -> float:
        if self.kind == "box":
            return 1.0 - abs(float(action[0]) - (1.0 + 2.0 * wanted)) / 2.0
        return float(np.mean(np.asarray(action) == wanted + (5 if self.kind == "shifted" else 0)))

    def _obs(self):
        if not self.pictures:
            return np.int64(self.cues[self.t])
        picture = np.zeros((12, 12, 1), np.uint8)
        picture[:, 6:] = 255 * self.cues[self.t]
        picture[:, :6] = 255 - picture[:, 6:]
        return picture


class Broken(gym.Env):
    """A pendulum-like world that goes wrong at step 5: `nan`, `reward` (infinite) or `raise`."""

    def __init__(self, how: str = "nan") -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.how = how

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.t += 1
        bad = self.t == 5
        if bad and self.how == "raise":
            raise ZeroDivisionError("the robot's wheel came off")
        obs = np.full(3, np.nan if bad and self.how == "nan" else 0.1, np.float32)
        return obs, np.inf if bad and self.how == "reward" else 0.0, False, self.t >= 100, {}


for _name, _class in (("Clock", "Clock"), ("Identity", "Identity"), ("Broken", "Broken")):
    if f"{_name}-v0" not in gym.registry:
        gym.register(f"{_name}-v0", entry_point=f"tests.worlds:{_class}", disable_env_checker=True)
