"""Pictures of Gymnasium's classic control tasks, drawn by Gymnasium's own environments."""

from importlib.util import find_spec
from typing import Any

import gymnasium as gym
import numpy as np


class Painter:
    """One of Gymnasium's environments that is never stepped: it only draws what it is told to be
    in.
    """

    def __init__(self, env_class: type[gym.Env], render_mode: str | None) -> None:
        """Raises DependencyNotInstalled for a render_mode that could not be served."""
        if render_mode is not None and find_spec("pygame") is None:
            raise gym.error.DependencyNotInstalled(
                f"pictures of {env_class.__name__} need the extra `video`: pip install "
                "'bio-rl[video]'"
            )
        self.env_class = env_class
        self._env: gym.Env | None = None

    def frame(self, **attributes: Any) -> np.ndarray:
        """The picture, uint8 [height, width, 3], with these attributes of the environment set."""
        if self._env is None:
            self._env = self.env_class(render_mode="rgb_array")  # pyright: ignore[reportCallIssue]
        vars(self._env).update(attributes)
        picture: Any = self._env.render()
        return picture

    def close(self) -> None:
        """Free the canvas."""
        if self._env is not None:
            self._env.close()
            self._env = None
