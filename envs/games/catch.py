"""Catch: move a paddle under a falling ball (Catch-v0), and many balls with one payment at the end
(CatchDelayed-v0).
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
    "bio_rl/Catch-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":Catch",
        "max_episode_steps": 9,
    },
    "bio_rl/CatchDelayed-v0": {
        "entry_point": ":make_delayed",
        "vector_entry_point": ":catch_delayed",
        "max_episode_steps": 90,
    },
}

ROWS = 10
COLUMNS = 5
FALL = ROWS - 1  # steps from the top row to the bottom row
BRIGHT = 255
PADDLE_COLOUR = (230, 150, 40)  # RGB
PIXELS = 20  # of a cell's side in a picture


class Catch(TrialVectorEnv):
    """Catch the ball: be under it with the paddle when it arrives in the bottom row.

    A trial is one ball. At its step t = 0 to 8 the observation shows the ball in row t; the action
    moves the paddle, and the ball falls by a row. With the ninth action the ball arrives in row 9
    and is caught where the paddle is; the next ball is then shown in row 0. The paddle starts in
    the middle and stays where it is between balls. With `runs` balls and `delay`, the reward of a
    ball is paid so many steps after its arrival, and what is still due at the last step then.

    Observations, uint8 [N, 10, 5, 1]: a picture, 255 where the ball and the paddle are, else 0.
    Actions, int [N]: left 0, stay 1, right 2. Reward +1 for a ball that is caught, -1 for one that
    is not. The ideal policy goes under the ball. Mnih et al. 2014, arXiv 1406.6247; in the form of
    Osband et al. 2020, arXiv 1908.03568. With other settings give `max_episode_steps` too: 9 times
    `runs`.
    """

    metadata: ClassVar[dict[str, Any]] = {
        **TrialVectorEnv.metadata,
        "channels": tuple(f"row {row}, column {c}" for row in range(ROWS) for c in range(COLUMNS)),
        "actions": ("left", "stay", "right"),
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        runs: int = 1,
        delay: int = 0,
        **kwargs: Any,
    ) -> None:
        """runs: balls of an episode. delay: steps from a ball's arrival to its reward."""
        if delay < 0:
            raise ValueError(f"delay is {delay} steps, expected at least 0")

        # Exact for each ball. ideal: the paddle is never more than 4 columns from the ball;
        # random: 2 · 1/5 - 1, since the ball's column is drawn without regard to the paddle.
        reference = {"random": -0.6 * runs, "ideal": 1.0 * runs}
        super().__init__(num_envs, trials=runs, numbers=runs, reference=reference, **kwargs)

        # Steps made in the episode when each ball is paid.
        arrival = FALL * np.arange(1, runs + 1)
        self.paid_at = np.minimum(arrival + delay, FALL * runs)

        self.paddle = self.state_array("paddle", start=COLUMNS // 2, dtype=np.int64)
        self.caught = self.state_array("caught", shape=(runs,))
        picture = gym.spaces.Box(0, BRIGHT, (ROWS, COLUMNS, 1), np.uint8)
        self.set_spaces(picture, gym.spaces.Discrete(3))

    def decode(self, u: np.ndarray) -> Drawn:
        """ball int [n, runs]: its column."""
        column = COLUMNS * u
        return {"ball": column.astype(np.int64)}

    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Move the paddle, and pay the balls that are due."""
        moved = self.paddle + actions - 1
        self.paddle = np.clip(moved, 0, COLUMNS - 1)
        over = self.t == FALL - 1

        under = self.paddle == self.now("ball")
        caught = np.where(under, 1.0, -1.0)
        # Written at every step of a ball: the value at its arrival is the one that stays.
        self.caught[self.rows, self.present_trial()] = caught

        made = FALL * self.trial + self.t + 1
        due = self.paid_at == made[:, None]
        paid = self.caught * due
        return paid.sum(1), over, {}

    def sense(self) -> np.ndarray:
        """The picture of the ball and the paddle."""
        board = np.zeros((self.num_envs, ROWS, COLUMNS, 1), np.uint8)

        # The last picture of an episode shows the arrival.
        going_on = self.going_on()
        row = np.where(going_on, self.t, FALL)
        board[self.rows, row, self.now("ball"), 0] = BRIGHT
        board[self.rows, -1, self.paddle, 0] = BRIGHT

        return board

    def ideal(self) -> Policy:
        """Go under the ball."""
        return under_the_ball

    def frames(self) -> tuple[np.ndarray, ...]:
        """The board, cells as squares: the ball white, the paddle orange."""
        board = self.sense().repeat(3, 3)
        board[self.rows, -1, self.paddle] = PADDLE_COLOUR
        large = board.repeat(PIXELS, 1).repeat(PIXELS, 2)
        return tuple(large)


def catch_delayed(num_envs: int = 1, *, runs: int = 10, **kwargs: Any) -> Catch:
    """Catch ten balls; what they earned is paid in one sum at the last step, so that no catch is
    rewarded when it is made.

    Otherwise as Catch-v0; runs: balls of an episode. Raposo et al. 2021, arXiv 2102.12425.
    """
    whole_episode = FALL * runs
    return Catch(num_envs, runs=runs, delay=whole_episode, **kwargs)


def under_the_ball(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
    """Left, stay or right towards the ball's column; its pictures are [N, 10, 5, 1]."""
    board = obs[:, :, :, 0]
    # The last row shows the paddle; a ball may be in any of the others.
    paddle = board[:, -1].argmax(1)
    ball = board[:, :-1].max(1).argmax(1)
    direction = np.sign(ball - paddle)
    return (direction + 1).astype(np.int64)


make: Callable[..., gym.Env] = partial(SingleEnv, Catch)
make_delayed: Callable[..., gym.Env] = partial(SingleEnv, catch_delayed)
