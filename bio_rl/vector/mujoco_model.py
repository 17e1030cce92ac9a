"""Parts that a MuJoCo world is made from: compiled models, Gymnasium's single environments,
threads, frames.
"""

import os
import sys
import warnings
from functools import cache
from typing import Any, ClassVar

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from mujoco.batch import Batch

from bio_rl.vector.actions import check_actions
from bio_rl.vector.native import NativeVectorEnv
from bio_rl.vector.rendering import INSTALL_HINT, choose_gl
from bio_rl.vector.single import SingleEnv

ENVS_PER_THREAD = 4  # below this a thread costs more to wake than it saves
FOLLOWS = "track"
"""The name of the camera that follows a robot, in Gymnasium's models of those that get about."""
OUR_LOG = "MUJOCO_LOG.TXT"  # the file that MuJoCo writes to by itself
FIRST_WITH_LOG_SETTINGS = 4_000_000  # MuJoCo 4.0.0; before it there is nothing to set
CAMERA_SETTINGS = {"default_camera_config", "camera_id", "camera_name"}
"""Arguments of a MujocoEnv that choose a camera."""


def following_camera(model: mujoco.MjModel) -> int:
    """The number of the model's camera that follows the robot, or -1: the free camera."""
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, FOLLOWS)


def move_floor(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Draw floor and lights where the robot is: the floor has an end for the eye, and none for the
    physics. It moves by whole tiles, so that it seems to stand still.

    data: is drawn next and not simulated; `mj_forward` has placed its geoms.
    """
    place = data.subtree_com[1, :2]
    data.light_xpos[:, :2] += place
    for plane in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE):
        material = model.geom_matid[plane]
        if material >= 0 and model.geom_size[plane, :2].all():
            tile = 2.0 * model.geom_size[plane, :2] / model.mat_texrepeat[material]
            data.geom_xpos[plane, :2] += tile * np.round(place / tile)


def single_env(env_class: type[MujocoEnv], native: type[NativeVectorEnv], **kwargs: Any) -> gym.Env:
    """Gymnasium's own environment, with the reference scores of `native`, able to render without a
    display and without log files; with perturbations it is one row of `native`, which knows them.
    """
    if kwargs.get("perturb"):
        return SingleEnv(native, **kwargs)
    kwargs.pop("perturb", None)
    if kwargs.get("render_mode") not in (None, "human"):
        choose_gl()
    no_log_file()
    with quiet_compiler():
        env = _checked_and_copied(env_class)(**kwargs)
    if not CAMERA_SETTINGS.intersection(kwargs):
        env.mujoco_renderer.camera_id = following_camera(env.model)
    # A new dictionary: Gymnasium's is shared by all environments of the class.
    env.metadata = {**env.metadata, "reference": native.metadata["reference"]}
    return env


@cache
def _checked_and_copied(env_class: type[MujocoEnv]) -> type[MujocoEnv]:
    """Gymnasium's class with what `_CheckedAndCopied` adds, under its own name."""
    return type(
        env_class.__name__,
        (_CheckedAndCopied, env_class),
        {"__module__": env_class.__module__, "_base": env_class},
    )


class _CheckedAndCopied(MujocoEnv):
    """A MujocoEnv that refuses actions which are not finite, and whose copies continue where it is.

    Gymnasium's own copies are made anew from the constructor's arguments and forget the episode.
    """

    _base: ClassVar[type[MujocoEnv]]
    _OPENGL: ClassVar[tuple[str, ...]] = ("model", "data", "_viewers", "viewer")
    """Attributes of a renderer that cannot be copied: a copy makes its own."""

    def step(self, action: Any) -> Any:
        """As in Gymnasium; raises ValueError for NaN and infinity."""
        assert self.action_space is not None
        check_actions(np.asarray(action)[None], self.action_space)
        return super().step(action)

    def __reduce__(self) -> tuple[Any, ...]:
        state = vars(self).copy()
        renderer = vars(state.pop("mujoco_renderer"))
        settings = {name: x for name, x in renderer.items() if name not in self._OPENGL}
        return _blank, (self._base,), (state, settings)

    def __setstate__(self, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
        from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

        attributes, settings = state
        vars(self).update(attributes)
        self.mujoco_renderer = MujocoRenderer(self.model, self.data)
        vars(self.mujoco_renderer).update(settings)


def _blank(env_class: type[MujocoEnv]) -> gym.Env:
    """An environment without a state yet; `_CheckedAndCopied.__reduce__` names this function."""
    checked = _checked_and_copied(env_class)
    return checked.__new__(checked)


def load_model(path: str, width: int, height: int) -> mujoco.MjModel:
    """The compiled MJCF, its offscreen buffer grown to width x height pixels if it is smaller."""
    no_log_file()
    with quiet_compiler():
        model = mujoco.MjModel.from_xml_path(path)
    screen = model.vis.global_
    screen.offwidth = max(screen.offwidth, width)
    screen.offheight = max(screen.offheight, height)
    return model


def no_log_file() -> None:
    """Keep MuJoCo from leaving MUJOCO_LOG.TXT in the working folder.

    What it writes to stderr, and a log file of the user's, stay.
    """
    if mujoco.mj_version() < FIRST_WITH_LOG_SETTINGS:
        return
    config = mujoco.MjLogConfig.get()
    if config.logfile == OUR_LOG:
        config.logto_file = False
        config.set()


class quiet_compiler:  # noqa: N801  (a context manager)
    """Drop MuJoCo's note that half_cheetah.xml uses the deprecated settotalmass; pass other
    warnings on to Python.
    """

    def __enter__(self) -> None:
        self._before = mujoco.get_mju_user_warning()
        mujoco.set_mju_user_warning(self._warn)

    def __exit__(self, *_: object) -> None:
        mujoco.set_mju_user_warning(self._before)

    def _warn(self, message: str) -> None:
        if "settotalmass" not in message:
            warnings.warn(f"MuJoCo: {message}", stacklevel=3)


def useful_threads(num_envs: int) -> int:
    """Threads worth starting for num_envs simulations on this machine."""
    if sys.platform == "linux":
        # A container or a batch system may allow fewer processors than there are.
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = os.cpu_count() or 1
    return max(1, min(cpus, num_envs // ENVS_PER_THREAD))


class BatchRenderer:
    """Frames of a Batch's simulations, one after the other through one Gymnasium renderer."""

    def __init__(self, batch: Batch, *settings: Any) -> None:
        """settings: camera config, width, height, max_geom, camera_id, camera_name, visual_options
        (MujocoRenderer).
        """
        from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

        self._batch = batch
        self._model = batch.get_model(0)
        self._data = batch.get_data(0)
        self._gets_about = following_camera(self._model) != -1
        # A free camera looks at the middle of the geoms, which must be in their places by now.
        mujoco.mj_forward(self._model, self._data)
        self._renderer = MujocoRenderer(self._model, self._data, *settings)

    def frames(self, mode: str) -> tuple[Any, ...]:
        """One frame for each simulation, of its present state."""
        if self._renderer.viewer is not None:
            # Another renderer of this process may have taken its place.
            self._renderer.viewer.make_context_current()
        try:
            return tuple(self._frame(i, mode) for i in range(self._batch.nsim))
        except (mujoco.FatalError, RuntimeError, ImportError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise RuntimeError(f"{INSTALL_HINT} ({reason})") from error

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()

    def _frame(self, i: int, mode: str) -> Any:
        self._batch.get_model(i, self._model)
        self._batch.get_data(i, self._data)
        mujoco.mj_forward(self._model, self._data)
        if self._gets_about:
            move_floor(self._model, self._data)
        return self._renderer.render(mode)
