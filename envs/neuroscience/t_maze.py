"""T-mazes: a cue at the start says which way to turn at the far end (TMaze-v0); now and then it
means the opposite (TMaze-Reversal-v0).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from bio_rl.vector.infos import Info
from bio_rl.vector.single import SingleEnv
from bio_rl.vector.trials import Drawn, Policy, TrialVectorEnv

ENV_IDS = {
    "bio_rl/TMaze-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":TMaze",
        "max_episode_steps": 55,
    },
    "bio_rl/TMaze-Reversal-v0": {
        "entry_point": ":make_reversal",
        "vector_entry_point": ":t_maze_reversal",
        "max_episode_steps": 1100,
    },
}

NORTH, EAST, SOUTH, WEST = range(4)
BUMP = -0.01  # reward of walking into a wall
PIXELS = 20  # of a cell's side in a picture
# RGB
FLOOR = (70, 70, 70)
CUE = (250, 210, 60)
GOAL = (40, 110, 60)
AGENT = (220, 60, 50)


class TMaze(TrialVectorEnv):
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
        **TrialVectorEnv.metadata,
        "channels": ("cue north", "cue south", "junction", "last reward"),
        "actions": ("north", "east", "south", "west"),
        "reference": {"random": -0.307, "ideal": 1.0},
    }

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
        self.limit = 5 * (corridor + 1) if limit is None else limit
        if self.limit <= corridor:
            raise ValueError(
                f"limit is {limit} steps, expected at least {corridor + 1} for a corridor of "
                f"{corridor} cells"
            )
        if not 0 <= hazard <= 1:
            raise ValueError(f"hazard is {hazard}, expected a probability from 0 to 1")
        super().__init__(num_envs, trials=trials, numbers=2 * trials, **kwargs)

        self.corridor = corridor
        self.hazard = hazard
        self.cell = self.state_array("cell", dtype=np.int64)
        self.last_reward = self.state_array("last_reward")
        low = np.array([0, 0, 0, -1], np.float32)
        high = np.ones(4, np.float32)
        self.set_spaces(gym.spaces.Box(low, high, dtype=np.float32), gym.spaces.Discrete(4))

    def decode(self, u: np.ndarray) -> Drawn:
        """cue_north, goal_north bool [n, trials]: the cue, and whether the rewarded arm is the
        northern one.
        """
        cue = u[:, : self.trials] < 0.5
        swaps = u[:, self.trials :] < self.hazard
        swaps[:, 0] = False  # the first trial's cue names its arm

        swapped = np.logical_xor.accumulate(swaps, 1)
        return {"cue_north": cue, "goal_north": cue ^ swapped}

    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Move, and judge the choice at the junction."""
        turn = actions % 2 == 0
        chosen = turn & (self.cell == self.corridor)
        over = chosen | (self.t + 1 >= self.limit)

        east = actions == EAST
        west = actions == WEST
        cell = np.clip(self.cell + east - west, 0, self.corridor)
        bump = np.where(cell == self.cell, BUMP, 0.0)

        north = actions == NORTH
        correct = north == self.now("goal_north")
        choice = np.where(correct, 1.0, -1.0)
        self.last_reward = np.where(chosen, choice, bump)
        self.cell = np.where(over, 0, cell)
        return self.last_reward, over, {}

    def sense(self) -> np.ndarray:
        """The cue, the junction and the last reward."""
        cue = self.now("cue_north")
        shown = (self.cell == 0) & self.going_on()
        junction = self.cell == self.corridor

        parts = (
            shown & cue,
            shown & ~cue,
            junction,
            self.last_reward,
        )
        return np.column_stack(parts).astype(np.float32)

    def ideal(self) -> Policy:
        """The cue's arm, under the meaning that cues have now."""
        return remember_and_turn(self.hazard)

    def frames(self) -> tuple[np.ndarray, ...]:
        """The maze from above, north up: the cue a bar in the start cell, the rewarded arm green,
        the agent red.
        """
        cue = self.now("cue_north")
        goal = self.now("goal_north")
        rows = zip(self.cell, cue, goal, strict=True)
        return tuple(self._frame(*row) for row in rows)

    def _frame(self, cell: int, cue_north: bool, goal_north: bool) -> np.ndarray:
        """One row's picture, uint8 [3 cells, corridor + 1 cells, 3]."""
        grid = np.zeros((3, self.corridor + 1, 3), np.uint8)
        grid[1] = FLOOR
        grid[[0, 2], -1] = FLOOR
        grid[0 if goal_north else 2, -1] = GOAL
        frame = grid.repeat(PIXELS, 0).repeat(PIXELS, 1)

        # The cue is at the upper or the lower side of the start cell, in the middle of the grid.
        bar = PIXELS if cue_north else 2 * PIXELS - 4
        frame[bar : bar + 4, :PIXELS] = CUE

        # The agent is half as wide and as high as its cell.
        quarter = PIXELS // 4
        left = cell * PIXELS + quarter
        height = slice(PIXELS + quarter, 2 * PIXELS - quarter)
        width = slice(left, left + PIXELS // 2)
        frame[height, width] = AGENT
        return frame


def t_maze_reversal(
    num_envs: int = 1, *, trials: int = 20, hazard: float = 1 / 20, **kwargs: Any
) -> TMaze:
    """TMaze-v0 again and again, while before each trial but the first the cues swap their meanings
    with probability 1/20.

    The outcome of a trial is the last reward in the first observation of the next one. The first
    trial's cue names its arm. The ideal observer takes the meaning that the last outcome showed:
    with K trials and hazard h <= 1/2 it is right in the first, and in each later one with
    probability 1 - h, so its score is 1 + (K - 1)(1 - 2h). No policy does better, since a swap
    cannot be foreseen. Settings as in TMaze-v0.
    """
    # ideal: the closed form above, 1 + 19 · 0.9; random: mean over 100,000 episodes, ± 0.004
    # (standard error)
    reference = {"random": -6.15, "ideal": 18.1}
    return TMaze(num_envs, trials=trials, hazard=hazard, reference=reference, **kwargs)


def remember_and_turn(hazard: float) -> Policy:
    """East along the shortest way, then the cue's arm under the meaning that is more probable after
    the last outcome.
    """
    # [2, N]: whether the cue was north, whether meanings are swapped
    memory: np.ndarray | None = None

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal memory
        if memory is None or memory.shape[1] != len(obs):
            memory = np.zeros((2, len(obs)), np.bool_)
        cue_north, swapped = memory

        # A wrong turn shows the other meaning.
        reward = obs[:, 3]
        is_outcome = np.abs(reward) == 1
        was_swapped = swapped ^ (reward == -1)
        expected = was_swapped ^ (hazard > 0.5)
        swapped = np.where(is_outcome, expected, swapped) & ~begun

        at_start = obs[:, :2].any(1)
        cue_north = np.where(at_start, obs[:, 0] > 0, cue_north)
        memory = np.stack((cue_north, swapped))

        arm = np.where(cue_north ^ swapped, NORTH, SOUTH)
        junction = obs[:, 2] > 0

        return np.where(junction, arm, EAST)

    return policy


make: Callable[..., gym.Env] = partial(SingleEnv, TMaze)
make_reversal: Callable[..., gym.Env] = partial(SingleEnv, t_maze_reversal)
