"""T-mazes: a cue at the start says which way to turn at the far end (TMaze-v0); now and then it
means the opposite.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.vector.native import Info, SingleEnv
from bio_rl.vector.trials import Drawn, Policy
from bio_rl.vector.uniform_trials import UniformTrialVectorEnv

ENV_IDS = {
    "bio_rl/TMaze-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":TMaze",
        "max_episode_steps": 55,
    },
    "bio_rl/TMaze-Reversal-v0": {
        "entry_point": ":make_reversal",
        "vector_entry_point": ":TMazeReversal",
        "max_episode_steps": 1100,
    },
}

NORTH, EAST, SOUTH, WEST = range(4)
BUMP = -0.01  # reward of walking into a wall
PIXELS = 20  # of a cell's side in a picture
FLOOR, CUE, GOAL, AGENT = (70, 70, 70), (250, 210, 60), (40, 110, 60), (220, 60, 50)  # RGB


class TMaze(UniformTrialVectorEnv):
    """Remember the cue seen at the start, walk `corridor` cells east to the junction, and turn the
    way the cue said.

    Cells are 0 (start) to `corridor` L (junction). Observation t is of the cell after t moves: in
    cell 0, at every visit, the cue is on; in cells 1 to L - 1 nothing is, so the way must be
    remembered over L observations. The choice is the first north or south in cell L. It ends the
    trial, and with it the episode; without a choice that happens after `limit` steps.

    Observations, float32 [N, 4]: cue north and cue south (0 or 1, in cell 0 only), junction (1 in
    cell L), the last reward. Actions, int [N]: north 0, east 1, south 2, west 3. Reward +1 for the
    arm that the cue names and -1 for the other one; -0.01 for a step into a wall; else 0. The
    shortest way takes L + 1 steps. Bakker 2002 (rewards scaled to ±1). With other settings give
    `max_episode_steps` too: `trials` times `limit`.
    """

    # ideal: 1 on the shortest way, exact; random: mean over 100,000 episodes, ± 0.0009 (standard
    # error)
    metadata: ClassVar[dict[str, Any]] = {
        **UniformTrialVectorEnv.metadata,
        "reference": {"random": -0.307, "ideal": 1.0},
    }
    memory_fields = ("cell", "last_reward")

    def __init__(
        self,
        num_envs: int = 1,
        *,
        corridor: int = 10,
        limit: int | None = None,
        trials: int = 1,
        hazard: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """limit: steps of a trial, None for 5 (corridor + 1). hazard: probability that a trial
        swaps the cues' meanings.
        """
        if corridor < 1:
            raise ValueError(f"corridor is {corridor} cells, expected at least 1")
        self.corridor, self.hazard, self.numbers = corridor, hazard, 2 * trials
        self.limit = 5 * (corridor + 1) if limit is None else limit
        if self.limit <= corridor:
            raise ValueError(
                f"limit is {limit} steps, expected at least {corridor + 1} for a corridor of {corridor} cells"
            )
        if not 0 <= hazard <= 1:
            raise ValueError(f"hazard is {hazard}, expected a probability from 0 to 1")
        super().__init__(num_envs, trials=trials, **kwargs)
        low, high = np.array([0, 0, 0, -1], np.float32), np.ones(4, np.float32)
        self._set_spaces(gym.spaces.Box(low, high, dtype=np.float32), gym.spaces.Discrete(4))

    def _decode(self, u: np.ndarray) -> Drawn:
        """cue_north, goal_north bool [n, trials]: the cue, and whether the rewarded arm is the
        northern one.
        """
        cue, swaps = u[:, : self.trials] < 0.5, u[:, self.trials :] < self.hazard
        swaps[:, 0] = False
        return {"cue_north": cue, "goal_north": cue ^ np.logical_xor.accumulate(swaps, 1)}

    def _forget(self, rows: np.ndarray) -> None:
        if not hasattr(self, "cell"):
            self.cell, self.last_reward = np.zeros(self.num_envs, np.int64), np.zeros(self.num_envs)
        self.cell[rows], self.last_reward[rows] = 0, 0.0

    def _react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        north, turn = actions == NORTH, actions % 2 == 0
        chosen = turn & (self.cell == self.corridor)
        cell = np.clip(self.cell + (actions == EAST) - (actions == WEST), 0, self.corridor)
        wall = np.where(cell == self.cell, BUMP, 0.0)
        self.last_reward = np.where(
            chosen, np.where(north == self.now("goal_north"), 1.0, -1.0), wall
        )
        over = chosen | (self.t + 1 >= self.limit)
        self.cell = np.where(over, 0, cell)
        return self.last_reward, over, {}

    def _sense(self) -> np.ndarray:
        cue, shown = self.now("cue_north"), (self.cell == 0) & (self.trial < self.trials)
        return np.column_stack(
            (shown & cue, shown & ~cue, self.cell == self.corridor, self.last_reward)
        ).astype(np.float32)

    def ideal(self) -> Policy:
        return remember_and_turn(self.hazard)

    def _frames(self) -> tuple[np.ndarray, ...]:
        """The maze from above, north up: the cue a bar in the start cell, the rewarded arm green,
        the agent red.
        """
        frames = []
        for cell, cue, goal in zip(
            self.cell, self.now("cue_north"), self.now("goal_north"), strict=True
        ):
            grid = np.zeros((3, self.corridor + 1, 3), np.uint8)
            grid[1], grid[[0, 2], -1] = FLOOR, FLOOR
            grid[0 if goal else 2, -1] = GOAL
            frame = grid.repeat(PIXELS, 0).repeat(PIXELS, 1)
            bar = PIXELS if cue else 2 * PIXELS - 4
            frame[bar : bar + 4, :PIXELS] = CUE
            left = cell * PIXELS + PIXELS // 4
            frame[PIXELS + PIXELS // 4 : 2 * PIXELS - PIXELS // 4, left : left + PIXELS // 2] = (
                AGENT
            )
            frames.append(frame)
        return tuple(frames)


class TMazeReversal(TMaze):
    """TMaze-v0 again and again, while before each trial but the first the cues swap their meanings
    with probability 1/20.

    The outcome of a trial is the last reward in the first observation of the next one. The first
    trial's cue names its arm. The ideal observer takes the meaning that the last outcome showed:
    with K trials and hazard h <= 1/2 it is right in the first, and in each later one with
    probability 1 - h, so its score is 1 + (K - 1)(1 - 2h). No policy does better, since a swap
    cannot be foreseen.
    """

    # ideal: the closed form above, 1 + 19 · 0.9; random: mean over 100,000 episodes, ± 0.004
    # (standard error)
    metadata: ClassVar[dict[str, Any]] = {
        **UniformTrialVectorEnv.metadata,
        "reference": {"random": -6.15, "ideal": 18.1},
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        corridor: int = 10,
        limit: int | None = None,
        trials: int = 20,
        hazard: float = 1 / 20,
        **kwargs: Any,
    ) -> None:
        """As TMaze-v0."""
        settings = {"corridor": corridor, "limit": limit, "trials": trials, "hazard": hazard}
        super().__init__(num_envs, **settings, **kwargs)


def remember_and_turn(hazard: float) -> Policy:
    """East along the shortest way, then the cue's arm under the meaning that is more probable after
    the last outcome.
    """
    memory: np.ndarray | None = (
        None  # [2, N]: whether the cue was north, whether meanings are swapped
    )

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal memory
        cue, swapped = (
            np.zeros((2, len(obs)), np.bool_)
            if memory is None or memory.shape[1] != len(obs)
            else memory
        )
        reward, at_start = obs[:, 3], obs[:, :2].any(1)
        was = swapped ^ (reward == -1)  # a wrong turn shows the other meaning
        swapped = np.where(np.abs(reward) == 1, was ^ (hazard > 0.5), swapped) & ~begun
        cue = np.where(at_start, obs[:, 0] > 0, cue)
        memory = np.stack((cue, swapped))
        return np.where(obs[:, 2] > 0, np.where(cue ^ swapped, NORTH, SOUTH), EAST)

    return policy


make: Callable[..., gym.Env] = partial(SingleEnv, TMaze)
make_reversal: Callable[..., gym.Env] = partial(SingleEnv, TMazeReversal)
