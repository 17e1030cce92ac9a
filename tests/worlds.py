"""Toy worlds for tests, registered as `tests.worlds:Clock-v0` and so on."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from bio_rl.vector.generators import rng_arrays, rngs_from_arrays


class Clock(gym.Env):
    """A world that shows (episode number, time in it) and rewards step t with t.

    It ends after `length` steps, by itself or by a limit.
    """

    def __init__(self, length: int = 3, ends: str = "terminated") -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.length = length
        self.ends = ends
        self.episode = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        self.t += 1
        over = self.t >= self.length
        terminated = over and self.ends == "terminated"
        truncated = over and self.ends == "truncated"
        return self._obs(), float(self.t), terminated, truncated, {}

    def _obs(self):
        return np.array([self.episode, self.t], np.float32)


class Identity(gym.Env):
    """A world of 20 steps that rewards the action that the observation names with 1.

    `delay` asks for the name shown so many steps ago. With `pictures` the name is the bright half
    of a picture.
    """

    def __init__(self, space: str = "discrete", delay: int = 0, pictures: bool = False) -> None:
        self.pictures = pictures
        self.observation_space = (
            gym.spaces.Box(0, 255, (12, 12, 1), np.uint8) if pictures else gym.spaces.Discrete(2)
        )
        spaces = {
            "discrete": gym.spaces.Discrete(2),
            "shifted": gym.spaces.Discrete(2, start=5),
            "multidiscrete": gym.spaces.MultiDiscrete([2, 2]),
            "multibinary": gym.spaces.MultiBinary(2),
            "box": gym.spaces.Box(0.0, 4.0, (1,), np.float32),
        }
        self.action_space = spaces[space]
        self.kind = space
        self.delay = delay

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        self.cues = self.np_random.integers(0, 2, 21 + self.delay)
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
        start = 5 if self.kind == "shifted" else 0
        return float(np.mean(np.asarray(action) == wanted + start))

    def _obs(self):
        if not self.pictures:
            return np.int64(self.cues[self.t])
        picture = np.zeros((12, 12, 1), np.uint8)
        picture[:, 6:] = 255 * self.cues[self.t]
        picture[:, :6] = 255 - picture[:, 6:]
        return picture


class Broken(gym.Env):
    """A pendulum-like world that goes wrong at step 5: `nan`, `reward` (infinite) or `raise`.

    With `inside` the observation that goes wrong lies in a dictionary.
    """

    def __init__(self, how: str = "nan", inside: bool = False) -> None:
        box = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.observation_space = gym.spaces.Dict(sound=box, touch=box) if inside else box
        self.action_space = gym.spaces.Discrete(2)
        self.how = how
        self.inside = inside

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(np.zeros(3, np.float32)), {}

    def step(self, action):
        self.t += 1
        bad = self.t == 5
        if bad and self.how == "raise":
            raise ZeroDivisionError("the robot's wheel came off")
        touch = np.full(3, np.nan if bad and self.how == "nan" else 0.1, np.float32)
        reward = np.inf if bad and self.how == "reward" else 0.0
        return self._obs(touch), reward, False, self.t >= 100, {}

    def _obs(self, touch):
        if not self.inside:
            return touch
        return {"sound": np.zeros(3, np.float32), "touch": touch}


SENSES = {
    "numbers": gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
    "picture": gym.spaces.Box(0, 255, (12, 12, 1), np.uint8),
    "tokens": gym.spaces.Box(0, 9, (8,), np.int64),
    "phrase": gym.spaces.MultiDiscrete([20] * 6),
    "choice": gym.spaces.Discrete(2, start=3),
    "factors": gym.spaces.MultiDiscrete([2, 3]),
    "bits": gym.spaces.MultiBinary(2),
}


class Riddle(gym.Env):
    """A world of 20 steps that rewards the action, 0 or 1, that a sense names with 1.

    With the space "box" an action beyond 0.5 is 1. `sense`: the one that there is, or `all`: a
    dictionary of all and of `asked`, one-hot numbers that say whose name counts.
    """

    def __init__(self, sense: str = "all", space: str = "discrete") -> None:
        self.sense = sense
        self.senses = list(SENSES) if sense == "all" else [sense]
        asked = gym.spaces.Box(0.0, 1.0, (len(SENSES),), np.float64)
        self.observation_space = (
            gym.spaces.Dict({**SENSES, "asked": asked}) if sense == "all" else SENSES[sense]
        )
        self.action_space = (
            gym.spaces.Box(0.0, 1.0, (1,), np.float32) if space == "box" else gym.spaces.Discrete(2)
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._next(), {}

    def step(self, action):
        self.t += 1
        reward = float((np.asarray(action).item() > 0.5) == self.wanted)
        return self._next(), reward, False, self.t >= 20, {}

    def _next(self):
        names = self.np_random.integers(0, 2, len(self.senses))
        which = self.np_random.integers(len(self.senses))
        self.wanted = names[which]
        pairs = zip(self.senses, names, strict=True)
        shown = {sense: self._show(sense, name) for sense, name in pairs}
        if self.sense != "all":
            return shown[self.sense]
        return {**shown, "asked": np.eye(len(SENSES))[which]}

    def _show(self, sense, name):
        other = self.np_random.integers(0, 2)
        if sense == "picture":
            picture = np.zeros((12, 12, 1), np.uint8)
            picture[:, 6 * name : 6 * name + 6] = 255
            return picture
        if sense in ("tokens", "phrase"):
            # the word 1 or 2 stands somewhere in a row of others
            words = self.np_random.integers(3, 9, SENSES[sense].shape)
            words[self.np_random.integers(len(words))] = 1 + name
            return words
        shown = {
            "numbers": [2.0 * name - 1.0, other],
            "choice": 3 + name,
            "factors": [name, other],
            "bits": [name, other],
        }
        return np.array(shown[sense], SENSES[sense].dtype)


class RiddleVector(SyncVectorEnv):
    """Riddles that can save themselves."""

    def __init__(
        self,
        num_envs: int,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        sense: str = "all",
    ) -> None:
        super().__init__([lambda: Riddle(sense)] * num_envs, autoreset_mode=autoreset_mode)

    def state_dict(self):
        rngs = [None if env._np_random is None else env.np_random for env in self.envs]
        return {
            "rng": rng_arrays(rngs),
            "life": np.array([(env.t, env.wanted) for env in self.envs]),
        }

    def load_state_dict(self, state):
        rngs = rngs_from_arrays(np.asarray(state["rng"], np.uint64))
        for env, rng, (t, wanted) in zip(self.envs, rngs, np.asarray(state["life"]), strict=True):
            env.np_random, env.t, env.wanted = rng, int(t), int(wanted)


for _name in ("Clock", "Identity", "Broken", "Riddle"):
    if f"{_name}-v0" not in gym.registry:
        gym.register(f"{_name}-v0", entry_point=f"tests.worlds:{_name}", disable_env_checker=True)
if "RiddleVector-v0" not in gym.registry:
    gym.register("RiddleVector-v0", vector_entry_point="tests.worlds:RiddleVector")
