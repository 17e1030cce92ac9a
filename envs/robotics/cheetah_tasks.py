"""CheetahDir-v0 and CheetahVel-v0: a half cheetah that has to find out from its rewards which way,
or how fast, to run.

One episode is a life with one hidden task: several trials, between which the robot is put back.
After Finn, Abbeel & Levine 2017 (MAML, arXiv:1703.03400, §5.3), as lives of several trials after
Duan et al. 2016 (RL², arXiv:1611.02779).
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np

from bio_rl.envs.robotics.half_cheetah import HalfCheetah
from bio_rl.vector.native import Info, SingleEnv

ENV_IDS = {
    "bio_rl/CheetahDir-v0": {
        "entry_point": ":make_dir",
        "vector_entry_point": ":CheetahDir",
        "max_episode_steps": 400,
    },
    "bio_rl/CheetahVel-v0": {
        "entry_point": ":make_vel",
        "vector_entry_point": ":CheetahVel",
        "max_episode_steps": 400,
    },
}

FASTEST = 2.0  # m/s, of the hidden velocities (MAML, §5.3)


class _HiddenTask(HalfCheetah):
    """HalfCheetah with a number `task` [N] that is drawn for every life, reported in infos and not
    observed.
    """

    def __init__(
        self,
        num_envs: int = 1,
        trial_steps: int = 200,
        max_episode_steps: int | None = 400,
        **kwargs: Any,
    ) -> None:
        """trial_steps: the step after so many puts the robot back instead of moving it, at no
        reward. A life is max_episode_steps long. kwargs: HalfCheetah's.
        """
        if trial_steps < 1:
            raise ValueError(f"trial_steps is {trial_steps}, expected at least 1")
        self.trial_steps = trial_steps
        self.task, self._put_back = np.zeros(num_envs), np.zeros(num_envs, np.bool_)
        super().__init__(
            num_envs, max_episode_steps=max_episode_steps, **{"ctrl_cost_weight": 0.05, **kwargs}
        )

    def _draw_task(self, rng: np.random.Generator) -> float:
        raise NotImplementedError

    def _reward_velocity(self, x_velocity: np.ndarray) -> np.ndarray:
        """The reward of moving at x_velocity, in m/s, [N]."""
        raise NotImplementedError

    def _reset_rows(self, rows: np.ndarray) -> None:
        for i in rows.tolist():
            self.task[i] = self._draw_task(self._rngs[i])
        super()._reset_rows(rows)

    def _advance(self, actions: np.ndarray, begun: np.ndarray | None) -> None:
        lived = self._elapsed - 1
        self._put_back = (lived > 0) & (lived % self.trial_steps == 0)
        if begun is not None:
            self._put_back &= ~begun
        if not self._put_back.any():
            super()._advance(actions, begun)
            return
        super()._advance(actions, self._put_back if begun is None else self._put_back | begun)
        rows = np.flatnonzero(self._put_back)
        self._place(rows)
        self.batch.forward(rows)

    def _evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        _, terminated, info = super()._evaluate(actions, qpos_before)
        info["reward_forward"] = self._reward_velocity(info["x_velocity"])
        for name in ("x_velocity", "reward_forward", "reward_ctrl"):
            info[name][self._put_back] = 0.0
        info["task"] = self.task.copy()
        return info["reward_forward"] + info["reward_ctrl"], terminated, info

    def _reset_info(self, rows: Any) -> Info:
        return super()._reset_info(rows) | {"task": self.task[rows].copy()}

    def _world_state(self) -> dict[str, np.ndarray]:
        return super()._world_state() | {"task": self.task}

    def _set_world_state(self, state: dict[str, np.ndarray]) -> None:
        super()._set_world_state(state)
        self.task = np.array(state["task"])


class CheetahDir(_HiddenTask):
    """r = ± (x' - x) / dt - 0.05 |a|², forwards or backwards with even odds, the same for a whole
    life; never terminates.

    direction: 1 or -1 for always the same. Observations and actions as in HalfCheetah-v5.
    """

    # random: mean of 300 episodes; expert: a design target, to be replaced by what is reached
    metadata: ClassVar[dict[str, Any]] = {
        **HalfCheetah.metadata,
        "reference": {"random": -38.0, "expert": 600.0},
    }

    def __init__(self, num_envs: int = 1, direction: int | None = None, **kwargs: Any) -> None:
        if direction not in (None, 1, -1):
            raise ValueError(f"direction is {direction!r}, expected 1, -1 or None for either")
        self.direction = direction
        super().__init__(num_envs, **kwargs)

    def _draw_task(self, rng: np.random.Generator) -> float:
        return self.direction or float(rng.choice([-1.0, 1.0]))

    def _reward_velocity(self, x_velocity: np.ndarray) -> np.ndarray:
        return self.task * x_velocity


class CheetahVel(_HiddenTask):
    """r = -|v - v*| - 0.05 |a|², v = (x' - x) / dt, v* uniform in [0, 2] m/s, the same for a whole
    life; never terminates.

    velocity: v* for always the same. Observations and actions as in HalfCheetah-v5.
    """

    # random: mean of 300 episodes; expert: the highest that any policy could have, out of reach
    # from a standing start
    metadata: ClassVar[dict[str, Any]] = {
        **HalfCheetah.metadata,
        "reference": {"random": -547.0, "expert": 0.0},
    }

    def __init__(self, num_envs: int = 1, velocity: float | None = None, **kwargs: Any) -> None:
        self.velocity = velocity
        super().__init__(num_envs, **kwargs)

    def _draw_task(self, rng: np.random.Generator) -> float:
        return rng.uniform(0.0, FASTEST) if self.velocity is None else self.velocity

    def _reward_velocity(self, x_velocity: np.ndarray) -> np.ndarray:
        return -np.abs(x_velocity - self.task)


make_dir = partial(SingleEnv, CheetahDir)
make_vel = partial(SingleEnv, CheetahVel)
