"""Worlds of other packages: the package that brings an id, the extra that installs it, and the
changes that our networks need.

Importing this module imports none of them.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


@dataclass(frozen=True)
class Family:
    """Ids of one package."""

    ids: str
    """A regular expression that matches the beginnings of its ids."""
    module: str
    """Importing it registers the ids."""
    extra: str
    """Ours, that installs it: pip install 'bio-rl[extra]'."""
    wrappers: tuple[Callable[[gym.Env], gym.Env], ...] = ()
    """Around each single environment."""
    vector: dict[str, Any] | None = field(default=None, hash=False)
    """Settings of the package's own vectorised environment, where it has one."""


class GridView(gym.ObservationWrapper):
    """MiniGrid's view with its codes (object, colour, state) as planes of bits [H, W, 20], and its
    mission as tokens [48].

    A code is a name, not a brightness. Words are numbered by `WORDS`; 0 fills a shorter mission and
    stands for unknown words.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        known = importlib.import_module("minigrid.core.constants")
        counts = [len(known.OBJECT_TO_IDX), len(known.COLOR_TO_IDX), len(known.STATE_TO_IDX)]
        # Row i of each table is the one bit that stands for code i.
        self.codes = [np.eye(n, dtype=np.uint8) for n in counts]
        inside: Any = env.observation_space
        height, width = inside["image"].shape[:2]
        self.observation_space = spaces.Dict(
            image=spaces.Box(0, 1, (height, width, sum(counts)), np.uint8),
            direction=inside["direction"],
            mission=spaces.Box(0, len(_NUMBERS), (MISSION,), np.int64),
        )

    def observation(self, observation: Any) -> dict[str, Any]:
        last = [len(table) - 1 for table in self.codes]
        # [H, W, 3]; a code that a newer MiniGrid has added counts as the last one.
        codes = np.minimum(observation["image"], last)
        planes = [table[codes[..., i]] for i, table in enumerate(self.codes)]
        return {
            "image": np.concatenate(planes, -1),
            "direction": observation["direction"],
            "mission": tokens(observation["mission"]),
        }


MISSION = 48
"""Words that are read; the longest mission met has 37."""
WORDS = (
    "a after agent and at avoid ball behind blue box door empty end fetch find floor from front "
    "get go goal green grey hallway in key lava left matching maze must near next object of on "
    "open opening pick purple put reach red right room rooms square the then to traverse unlock "
    "unseen up use wall yellow you your"
)
"""Words of 12 missions of each id of MiniGrid 3.2.0, BabyAI among them, and of its
DictObservationSpaceWrapper.
"""
_NUMBERS = {word: i for i, word in enumerate(WORDS.split(), 1)}


def tokens(mission: str) -> np.ndarray:
    """int64 [MISSION], the numbers of its words."""
    # Colours and things are single words; signs between them say nothing.
    words = re.findall("[a-z]+", mission.lower())[:MISSION]
    numbers = [_NUMBERS.get(word, 0) for word in words]
    padding = [0] * (MISSION - len(numbers))
    return np.array(numbers + padding, np.int64)


FAMILIES = (
    Family("ALE/", "ale_py", "atari", vector={"reward_clipping": False}),
    Family("MiniGrid-|BabyAI-", "minigrid", "minigrid", (GridView,)),
    Family(
        "(LunarLander|LunarLanderContinuous|BipedalWalker|BipedalWalkerHardcore|CarRacing)-",
        "Box2D",
        "box2d",
    ),
    Family(
        "(PointMaze|AntMaze|Fetch|HandReach|HandManipulate|AdroitHand|FrankaKitchen)",
        "gymnasium_robotics",
        "maze",
    ),
    Family(
        "(highway|merge|roundabout|parking|intersection|racetrack|exit|u-turn|two-way|lane-keeping)-",
        "highway_env",
        "driving",
    ),
    Family("popgym-", "popgym", "popgym"),
)


def family(env_id: str) -> Family | None:
    """The package that brings an id; None for an id of none of them."""
    return next((package for package in FAMILIES if re.match(package.ids, env_id)), None)


def register(env_id: str, module: str = "") -> None:
    """Import the package that brings `env_id`, so that the id is known. Raises ValueError naming
    the extra to install.

    module: the one that a user named for it; one that is not the package's own has an id of the
    same name, and is left alone.
    """
    package = family(env_id)
    if package is None or module not in ("", package.module):
        return
    try:
        gym.register_envs(importlib.import_module(package.module))
    except ImportError as error:
        raise ValueError(
            f"--env {env_id} is a world of {package.module}, which cannot be imported ({error}); "
            f"install it with: pip install 'bio-rl[{package.extra}]'"
        ) from error
