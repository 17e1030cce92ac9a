"""Gymnasium's own environments as peers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gymnasium as gym
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv


@contextmanager
def quiet() -> Iterator[None]:
    """A context without MuJoCo's notes, one per environment, of a deprecated attribute.

    Gymnasium's XML uses it.
    """
    import mujoco

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def sync(env: str, num_envs: int) -> VectorEnv:
    """Gymnasium's SyncVectorEnv of `num_envs` of its environments, in SAME_STEP mode."""
    makers = [lambda: gym.make(env)] * num_envs
    with quiet():
        return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
