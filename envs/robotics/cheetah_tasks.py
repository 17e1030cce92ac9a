"""CheetahDir-v0 and CheetahVel-v0: a half cheetah that has to find out from its rewards which way,
or how fast, to run.

One episode is a life with one hidden task: several trials, between which the robot is put back.
After Finn, Abbeel & Levine 2017 (MAML, arXiv:1703.03400, §5.3), as lives of several trials after
Duan et al. 2016 (RL², arXiv:1611.02779).
"""

from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from bio_rl.envs.robotics._robots import (
    named_state,
    normal_velocities,
    positions_and_velocities,
)
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco import BatchVectorEnv
from bio_rl.vector.native import Rows
from bio_rl.vector.single import SingleEnv

ENV_IDS = {
    "bio_rl/CheetahDir-v0": {
        "entry_point": ":make_dir",
        "vector_entry_point": ":cheetah_dir",
        "max_episode_steps": 400,
    },
    "bio_rl/CheetahVel-v0": {
        "entry_point": ":make_vel",
        "vector_entry_point": ":cheetah_vel",
        "max_episode_steps": 400,
    },
}

FASTEST = 2.0  # m/s, of the hidden velocities (MAML, §5.3)


class Tasks(Protocol):
    """A family of tasks, told apart by a number."""

    def draw(self, rng: np.random.Generator) -> float:
        """A task for a new life."""
        ...

    def reward(self, task: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """The reward [N] of moving at velocity [N], in m/s, under task [N]."""
        ...


class Directions(NamedTuple):
    """Run forwards (1) or backwards (-1)."""

    always: int | None
    """The one direction; None for either."""

    def draw(self, rng: np.random.Generator) -> float:
        """Either direction, with even odds."""
        if self.always:
            return self.always
        return float(rng.choice([-1.0, 1.0]))

    def reward(self, task: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """The velocity in the hidden direction."""
        return task * velocity


class Velocities(NamedTuple):
    """Run at a velocity, in m/s."""

    always: float | None
    """The one velocity; None for any up to FASTEST."""

    def draw(self, rng: np.random.Generator) -> float:
        """Any velocity, all as likely."""
        if self.always is not None:
            return self.always
        return rng.uniform(0.0, FASTEST)

    def reward(self, task: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Minus what is missing to the hidden velocity, or too much."""
        error = velocity - task
        return -np.abs(error)


class HiddenTask(BatchVectorEnv):
    """HalfCheetah-v5 with a number `task` [N] that is drawn for every life, reported in infos and
    not observed.
    """

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = 400,
        *,
        tasks: Tasks,
        trial_steps: int = 200,
        xml_file: str = "half_cheetah.xml",
        frame_skip: int = 5,
        default_camera_config: dict[str, Any] | None = None,
        ctrl_cost_weight: float = 0.05,
        reset_noise_scale: float = 0.1,
        exclude_current_positions_from_observation: bool = True,
        **kwargs: Any,
    ) -> None:
        """trial_steps: the step after so many puts the robot back instead of moving it, at no
        reward. A life is max_episode_steps long. The rest as in HalfCheetah-v5.
        """
        if trial_steps < 1:
            raise ValueError(f"trial_steps is {trial_steps}, expected at least 1")
        model = (xml_file, frame_skip, default_camera_config)
        super().__init__(num_envs, *model, max_episode_steps=max_episode_steps, **kwargs)
        self.tasks = tasks
        self.trial_steps = trial_steps
        self.ctrl_cost_weight = ctrl_cost_weight
        self.reset_noise_scale = reset_noise_scale
        self.skip = int(exclude_current_positions_from_observation)
        self.task = self.state_array("task", start=None)
        self.put_back = np.zeros(num_envs, np.bool_)
        """Rows that the last step has put back."""
        self.make_spaces()

    def reset_state(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Positions are drawn uniformly, velocities normally."""
        return normal_velocities(self, rng)

    def reset_rows(self, rows: np.ndarray) -> None:
        """Draw the tasks and the start states."""
        for i in rows.tolist():
            rng = self.rngs[i]
            self.task[i] = self.tasks.draw(rng)
        super().reset_rows(rows)

    def advance(self, actions: np.ndarray, begun: np.ndarray | None) -> None:
        """Step the simulations, or put them back where a trial is over."""
        lived = self.elapsed - 1
        self.put_back = (lived > 0) & (lived % self.trial_steps == 0)
        if begun is not None:
            self.put_back &= ~begun
        if not self.put_back.any():
            super().advance(actions, begun)
            return

        stay = self.put_back if begun is None else self.put_back | begun
        super().advance(actions, stay)
        rows = np.flatnonzero(self.put_back)
        super().reset_rows(rows)
        self.batch.forward(rows)

    def observe(self, rows: Rows) -> np.ndarray:
        """Positions and velocities."""
        return positions_and_velocities(self, rows)

    def channels(self) -> tuple[str, ...]:
        """The names of the joints."""
        return named_state(self)

    def evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """The reward of the task, less the cost of the controls."""
        x = self.qpos[:, 0].copy()
        x_velocity = (x - qpos_before[:, 0]) / self.dt
        forward = self.tasks.reward(self.task, x_velocity)
        ctrl = -(self.ctrl_cost_weight * np.square(actions).sum(1))
        for moved in (x_velocity, forward, ctrl):
            moved[self.put_back] = 0.0
        info = {
            "x_position": x,
            "x_velocity": x_velocity,
            "reward_forward": forward,
            "reward_ctrl": ctrl,
            "task": self.task.copy(),
        }
        terminated = np.zeros(self.num_envs, np.bool_)
        return forward + ctrl, terminated, info

    def reset_info(self, rows: Rows) -> Info:
        """The place and the task."""
        return {
            "x_position": self.qpos[rows, 0],
            "task": self.task[rows].copy(),
        }


def cheetah_dir(num_envs: int = 1, *, direction: int | None = None, **kwargs: Any) -> HiddenTask:
    """r = ± (x' - x) / dt - 0.05 |a|², forwards or backwards with even odds, the same for a whole
    life; never terminates.

    direction: 1 or -1 for always the same. Observations and actions as in HalfCheetah-v5.
    """
    if direction not in (None, 1, -1):
        raise ValueError(f"direction is {direction!r}, expected 1, -1 or None for either")
    # random: mean of 300 episodes; expert: a design target, to be replaced by what is reached
    reference = {"random": -38.0, "expert": 600.0}
    return HiddenTask(num_envs, tasks=Directions(direction), reference=reference, **kwargs)


def cheetah_vel(num_envs: int = 1, *, velocity: float | None = None, **kwargs: Any) -> HiddenTask:
    """r = -|v - v*| - 0.05 |a|², v = (x' - x) / dt, v* uniform in [0, 2] m/s, the same for a whole
    life; never terminates.

    velocity: v* for always the same. Observations and actions as in HalfCheetah-v5.
    """
    # random: mean of 300 episodes; expert: the highest that any policy could have, out of reach
    # from a standing start
    reference = {"random": -547.0, "expert": 0.0}
    return HiddenTask(num_envs, tasks=Velocities(velocity), reference=reference, **kwargs)


make_dir = partial(SingleEnv, cheetah_dir)
make_vel = partial(SingleEnv, cheetah_vel)
