"""One environment of a native batch, in Gymnasium's single form."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from bio_rl.vector.infos import Info, first_row
from bio_rl.vector.native import NativeVectorEnv


class SingleEnv(gym.Env):
    """A Gymnasium environment that is one row of a native batch; gymnasium.make adds its time
    limit.

    `SingleEnv(MyWorld, **settings)` makes one, so that `functools.partial(SingleEnv, MyWorld)` is
    the entry point that belongs to the vector entry point `MyWorld`.
    """

    def __init__(
        self,
        make_vec: Callable[..., NativeVectorEnv],
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        """make_vec: the native class, or a function that makes one; kwargs: its own settings."""
        self.batch = make_vec(
            1,
            max_episode_steps=None,
            render_mode=render_mode,
            autoreset_mode=AutoresetMode.DISABLED,
            **kwargs,
        )
        self.render_mode = render_mode
        self.metadata = dict(self.batch.metadata)
        del self.metadata["autoreset_mode"]
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, Info]:
        """The first observation [*obs] of a new episode, and its infos."""
        super().reset(seed=seed)

        # This environment and its batch draw from one generator, which super().reset has made.
        self.batch.rngs = [self.np_random]
        if seed is not None and self.batch.layer is not None:
            self.batch.layer.born(np.zeros(1, np.int64))
        obs, info = self.batch.reset(options=options)

        return obs[0], first_row(info)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, Info]:
        """Observation [*obs], reward, terminated, truncated and infos.

        Raises ResetNeeded after the end of an episode.
        """
        actions = np.asarray(action)[None]
        obs, reward, terminated, truncated, info = self.batch.step(actions)
        return (
            obs[0],
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            first_row(info),
        )

    def render(self) -> Any:
        """The frame, uint8 [height, width, 3] for rgb_array; None without a render_mode."""
        frames = self.batch.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Free what the batch holds."""
        self.batch.close()

    def __getstate__(self) -> dict[str, Any]:
        """Everything that a copy takes over.

        A generator that is the batch's own is left out: the batch's copy brings it, and the two
        copies must go on sharing one.
        """
        state = vars(self).copy()
        if self.batch.rngs[0] is self._np_random:
            state.pop("_np_random", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if "_np_random" not in state:
            self._np_random = self.batch.rngs[0]
