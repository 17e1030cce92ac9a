"""WaterMaze-v0: find a platform hidden in a round pool, then swim straight to it from any start."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.discovery import suggestion
from bio_rl.envs.neuroscience._water_maze_search import Search, unit
from bio_rl.vector.native import Info, SingleEnv
from bio_rl.vector.trials import Drawn, Policy
from bio_rl.vector.uniform_trials import UniformTrialVectorEnv

ENV_IDS = {
    "bio_rl/WaterMaze-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":WaterMaze",
        "max_episode_steps": 1608,
    }
}

CELLS = 64  # place cells
# σ of a place field, in pool radii; Foster, Morris & Dayan 2000 have 0.16 m in a pool of 1 m
WIDTH = 0.15
PLATFORM = 0.1  # its radius, in pool radii
STEP = 0.05  # way of one step, in pool radii
MAX_TURN = np.pi / 2  # rad per step
CONTROLS = ("compass", "turn")
PIXELS = 160  # side of a picture
WATER, SAND, AGENT = (60, 110, 150), (220, 220, 200), (220, 60, 50)  # RGB


class WaterMaze(UniformTrialVectorEnv):
    """Search a pool for its hidden platform, and remember the place: in later trials swim there
    from wherever you are put.

    The pool is the unit disk. Each trial starts at a random place of its wall, heading for the
    centre. A step moves 0.05 along the heading; the wall stops what would lead beyond it. A step
    that ends within 0.1 of the platform's centre earns +1; its observation is of that place, the
    next step, whatever the action, leads to the start of the next trial. After `limit` moves
    without that, the next trial starts at once. The platform is uniform in the disk of radius 0.9
    and stays for the episode, or until trial `move_at`: then it is in the opposite half, 0.45 to
    0.9 from the centre.

    Observations, float32 [N, 68]: 64 place cells exp(-|x - c|² / 2σ²), σ = 0.15, their centres c on
    a sunflower spiral over the pool; cosine and sine of the heading; whether a trial begins (0 or
    1); the last reward. Reward 0 but for that +1. Actions: int [N], one of the directions 45° k
    anticlockwise from east; with control="turn" float [N, 1] in ±1, turns of up to 90° to the left
    (+) or right. The ideal observer (`Search`) sweeps the pool along an octagonal spiral, and once
    it has found the platform goes there straight. In trial 1 at most 0.786 can be had: 200 moves
    see no more than 200 · 0.05 · 0.2 of an area of 0.81 π. So the optimum of eight trials lies from
    the observer's score to 7.786. With other settings give `max_episode_steps` too: `trials` times
    (`limit` + 1). Morris 1984; as a task for learners Foster, Morris & Dayan 2000, Hippocampus 10.
    """

    # ideal: mean of 100,000 episodes, ± 0.002 (standard error), a lower bound of the optimum;
    # random: likewise, ± 0.003
    metadata: ClassVar[dict[str, Any]] = {
        **UniformTrialVectorEnv.metadata,
        "reference": {"random": 0.922, "ideal": 7.666},
    }
    memory_fields = ("position", "angle", "found")

    def __init__(
        self,
        num_envs: int = 1,
        *,
        trials: int = 8,
        limit: int = 200,
        move_at: int | None = None,
        control: str = "compass",
        **kwargs: Any,
    ) -> None:
        """limit: moves of a trial. move_at: the first trial, from 1 to trials - 1, with the
        platform elsewhere.
        """
        if limit < 1:
            raise ValueError(f"limit is {limit} moves, expected at least 1")
        if move_at is not None and not 1 <= move_at < trials:
            raise ValueError(
                f"move_at is trial {move_at}, expected None or a trial from 1 to {trials - 1}"
            )
        if control not in CONTROLS:
            raise ValueError(f"no control called {control!r}; {suggestion(control, CONTROLS)}")
        self.limit, self.control = limit, control
        self.move_at = trials if move_at is None else move_at
        self.numbers = trials + 4
        super().__init__(num_envs, trials=trials, **kwargs)
        self.cells = place_cells()
        low, high = np.zeros(CELLS + 4, np.float32), np.ones(CELLS + 4, np.float32)
        low[CELLS : CELLS + 2] = -1
        turns = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        actions = turns if control == "turn" else gym.spaces.Discrete(8)
        self._set_spaces(gym.spaces.Box(low, high, dtype=np.float32), actions)

    def _decode(self, u: np.ndarray) -> Drawn:
        """start [n, trials]: angle of the start at the wall in rad; platform [n, trials, 2]: its
        centre.
        """
        turn, first, second = (
            2 * np.pi * u[:, 0],
            0.9 * np.sqrt(u[:, 1]),
            0.9 * np.sqrt(0.25 + 0.75 * u[:, 3]),
        )
        opposite = turn + np.pi * (0.5 + u[:, 2])
        moved = np.arange(self.trials) >= self.move_at
        radius, angle = (
            np.where(moved, b[:, None], a[:, None]) for a, b in ((first, second), (turn, opposite))
        )
        return {"start": 2 * np.pi * u[:, 4:], "platform": radius[:, :, None] * unit(angle)}

    def _forget(self, rows: np.ndarray) -> None:
        if not hasattr(self, "position"):
            self.position, self.angle = np.zeros((self.num_envs, 2)), np.zeros(self.num_envs)
            self.found = np.zeros(self.num_envs, np.bool_)
        start = self.drawn["start"][rows, 0]
        self.position[rows], self.angle[rows], self.found[rows] = unit(start), start + np.pi, False

    def _react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        turn = self.control == "turn"
        angle = (
            self.angle + MAX_TURN * np.clip(actions[:, 0], -1, 1) if turn else actions * (np.pi / 4)
        )
        position = self.position + STEP * unit(angle)
        position /= np.maximum(np.hypot(*position.T), 1)[:, None]
        here = (np.hypot(*(position - self.now("platform")).T) <= PLATFORM) & ~self.found
        over = self.found | (~here & (self.t + 1 >= self.limit))
        start = self.drawn["start"][self.rows, np.minimum(self.trial + 1, self.trials - 1)]
        self.position = np.where(over[:, None], unit(start), position)
        self.angle = np.where(over, start + np.pi, angle)
        self.found = here
        return here.astype(np.float64), over, {}

    def _sense(self) -> np.ndarray:
        x, y = self.position.astype(np.float32)[:, :, None].swapaxes(0, 1)
        place = np.exp(
            (np.square(x - self.cells[:, 0]) + np.square(y - self.cells[:, 1]))
            * np.float32(-0.5 / WIDTH**2)
        )
        begins = (self.t == 0) & (self.trial < self.trials)
        return np.column_stack((place, unit(self.angle), begins, self.found)).astype(np.float32)

    def ideal(self) -> Policy:
        return Search(self.num_envs, self.cells, WIDTH, self.control == "turn")

    def _frames(self) -> tuple[np.ndarray, ...]:
        """The pool from above, east right and north up: the platform light, the agent a red dot."""
        y, x = -np.mgrid[-1.05 : 1.05 : PIXELS * 1j, 1.05 : -1.05 : PIXELS * 1j]
        frames = []
        for position, platform in zip(self.position, self.now("platform"), strict=True):
            frame = np.zeros((PIXELS, PIXELS, 3), np.uint8)
            for (a, b), radius, colour in (
                ((0, 0), 1.0, WATER),
                (platform, PLATFORM, SAND),
                (position, 0.04, AGENT),
            ):
                frame[np.hypot(x - a, y - b) <= radius] = colour
            frames.append(frame)
        return tuple(frames)


def place_cells() -> np.ndarray:
    """Centres float32 [64, 2], evenly dense over the unit disk: radius √((k + ½)/64), angle k times
    the golden angle.

    Vogel 1979, A better way to construct the sunflower head.
    """
    k = np.arange(CELLS)
    return (np.sqrt((k + 0.5) / CELLS)[:, None] * unit(k * np.pi * (3 - np.sqrt(5)))).astype(
        np.float32
    )


make: Callable[..., gym.Env] = partial(SingleEnv, WaterMaze)
