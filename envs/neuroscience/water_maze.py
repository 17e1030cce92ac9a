"""WaterMaze-v0: find a platform hidden in a round pool, then swim straight to it from any start."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.discovery import suggestion
from bio_rl.envs.neuroscience._water_maze_search import Search, unit
from bio_rl.vector.infos import Info
from bio_rl.vector.labels import numbered
from bio_rl.vector.single import SingleEnv
from bio_rl.vector.trials import Drawn, Policy, TrialVectorEnv

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
COMPASS = (
    "east",
    "north-east",
    "north",
    "north-west",
    "west",
    "south-west",
    "south",
    "south-east",
)
"""The directions of the actions, anticlockwise."""
PIXELS = 160  # side of a picture
INNER = 0.9  # radius of the disk in which the platform lies
# RGB
WATER = (60, 110, 150)
SAND = (220, 220, 200)
AGENT = (220, 60, 50)


class WaterMaze(TrialVectorEnv):
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
        **TrialVectorEnv.metadata,
        "channels": (
            *numbered("place cell", CELLS),
            "cos heading",
            "sin heading",
            "trial begins",
            "last reward",
        ),
        "reference": {"random": 0.922, "ideal": 7.666},
    }

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
        super().__init__(num_envs, trials=trials, numbers=trials + 4, **kwargs)
        self.limit = limit
        self.turns = control == "turn"
        self.move_at = trials if move_at is None else move_at
        self.cells = place_cells()
        self.position = self.state_array("position", start=None, shape=(2,))
        self.angle = self.state_array("angle", start=None)
        self.found = self.state_array("found", dtype=np.bool_)
        low = np.zeros(CELLS + 4, np.float32)
        high = np.ones(CELLS + 4, np.float32)
        low[CELLS : CELLS + 2] = -1  # cosine and sine of the heading
        turns = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        actions = turns if self.turns else gym.spaces.Discrete(8)
        # one number, positive to the left
        self.metadata["actions"] = ("turn left",) if self.turns else COMPASS
        self.set_spaces(gym.spaces.Box(low, high, dtype=np.float32), actions)

    def decode(self, u: np.ndarray) -> Drawn:
        """start [n, trials]: angle of the start at the wall in rad; platform [n, trials, 2]: its
        centre.
        """
        # Angle and radius of the first place and of the second one, in the half opposite to it; the
        # square roots make places as likely in each part of the area.
        angle = 2 * np.pi * u[:, 0]
        radius = INNER * np.sqrt(u[:, 1])
        second_angle = angle + np.pi * (0.5 + u[:, 2])
        second_radius = INNER * np.sqrt(0.25 + 0.75 * u[:, 3])

        # [n, trials]: the second place from trial move_at on.
        moved = np.arange(self.trials) >= self.move_at
        angles = np.where(moved, second_angle[:, None], angle[:, None])
        radii = np.where(moved, second_radius[:, None], radius[:, None])
        return {
            "start": 2 * np.pi * u[:, 4:],
            "platform": radii[:, :, None] * unit(angles),
        }

    def reset_rows(self, rows: np.ndarray) -> None:
        """Draw the episodes of rows, int [n], and put the agent at the first start."""
        super().reset_rows(rows)
        self.put_at_start(rows)

    def put_at_start(self, rows: np.ndarray) -> None:
        """Put the agent at the first start of rows, int [n]."""
        start = self.drawn["start"][rows, 0]
        self.position[rows] = unit(start)
        self.angle[rows] = start + np.pi

    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Swim, and reward the platform where it is reached."""
        if self.turns:
            turn = np.clip(actions[:, 0], -1, 1)
            angle = self.angle + MAX_TURN * turn
        else:
            angle = actions * (np.pi / 4)

        position = self.position + STEP * unit(angle)
        # The wall is the unit circle.
        beyond = np.maximum(np.hypot(*position.T), 1)
        position /= beyond[:, None]

        distance = np.hypot(*(position - self.now("platform")).T)
        here = (distance <= PLATFORM) & ~self.found
        over = self.found | (~here & (self.t + 1 >= self.limit))

        next_trial = np.minimum(self.trial + 1, self.trials - 1)
        start = self.drawn["start"][self.rows, next_trial]
        self.position = np.where(over[:, None], unit(start), position)
        self.angle = np.where(over, start + np.pi, angle)
        self.found = here
        return here.astype(np.float64), over, {}

    def sense(self) -> np.ndarray:
        """The place cells, the heading, the start of a trial and the last reward."""
        # Each [N, 1], against the cells' [64].
        x, y = self.position.astype(np.float32)[:, :, None].swapaxes(0, 1)
        cell_x, cell_y = self.cells.T
        squared = np.square(x - cell_x) + np.square(y - cell_y)
        precision = np.float32(-0.5 / WIDTH**2)

        parts = (
            np.exp(squared * precision),
            unit(self.angle),
            (self.t == 0) & self.going_on(),
            self.found,
        )
        return np.column_stack(parts).astype(np.float32)

    def ideal(self) -> Policy:
        """A sweep of the pool, then the straight way."""
        return Search(self.num_envs, self.cells, WIDTH, self.turns)

    def frames(self) -> tuple[np.ndarray, ...]:
        """The pool from above, east right and north up: the platform light, the agent a red dot."""
        platforms = self.now("platform")
        rows = zip(self.position, platforms, strict=True)
        return tuple(picture(*row) for row in rows)


def picture(position: np.ndarray, platform: np.ndarray) -> np.ndarray:
    """The pool from above, uint8 [PIXELS, PIXELS, 3]; position and platform: [2]."""
    y, x = -np.mgrid[-1.05 : 1.05 : PIXELS * 1j, 1.05 : -1.05 : PIXELS * 1j]
    frame = np.zeros((PIXELS, PIXELS, 3), np.uint8)
    disks = (
        (np.zeros(2), 1.0, WATER),
        (platform, PLATFORM, SAND),
        (position, 0.06, AGENT),
    )
    for centre, radius, colour in disks:
        distance = np.hypot(x - centre[0], y - centre[1])
        frame[distance <= radius] = colour
    return frame


def place_cells() -> np.ndarray:
    """Centres float32 [64, 2], evenly dense over the unit disk: radius √((k + ½)/64), angle k times
    the golden angle.

    Vogel 1979, A better way to construct the sunflower head.
    """
    k = np.arange(CELLS)
    radius = np.sqrt((k + 0.5) / CELLS)
    golden = np.pi * (3 - np.sqrt(5))
    direction = unit(k * golden)
    centres = radius[:, None] * direction
    return centres.astype(np.float32)


make: Callable[..., gym.Env] = partial(SingleEnv, WaterMaze)
