"""Vectorised MuJoCo environments on `mujoco.batch.Batch`: C++ threads step N simulations of one model.

A world gives four hooks (`_reset_state`, `_observe`, `_evaluate`, `_reset_info`); stepping, autoreset, seeds, infos,
state and rendering are here. Results are bit-identical with Gymnasium's SyncVectorEnv over the single environments.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_env import DEFAULT_SIZE, expand_model_path
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from mujoco.batch import Batch

from bio_rl.envs._vector import (
    Info,
    add_masks,
    final_infos,
    merge_resets,
    reseed,
    reset_mask,
    rng_arrays,
    rngs_from_arrays,
    seed_list,
)
from bio_rl.envs.robotics._model import BatchRenderer, load_model, useful_threads
from bio_rl.rendering import choose_gl

Rows = slice | np.ndarray
ALL = slice(None)
RENDER_MODES = ["rgb_array", "depth_array", "rgbd_tuple"]
NO_STAGE = int(mujoco.mjtStage.mjSTAGE_NONE)
DIVERGED = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)  # positions, v, acc.


class BatchVectorEnv(VectorEnv):
    """N simulations of one MuJoCo model; every method returns fresh arrays, never views of the simulations.

    A subclass sets its own constants, then calls this constructor. It may read `qpos [N, nq]`, `qvel [N, nv]` (live
    views), `derived[name]` (one substep behind, as after mj_step), `dt` in s, `init_qpos [nq]`, `init_qvel [nv]`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": RENDER_MODES}
    derived_fields: ClassVar[tuple[str, ...]] = ()  # MjData fields beyond the state that the world reads

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = 1000,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        nthread: int = 0,
        *,
        xml_file: str,
        frame_skip: int,
        default_camera_config: dict[str, Any] | None = None,
        width: int = DEFAULT_SIZE,
        height: int = DEFAULT_SIZE,
        camera_id: int | None = None,
        camera_name: str | None = None,
        max_geom: int = 1000,
        visual_options: dict[int, bool] | None = None,
    ) -> None:
        """max_episode_steps: None or -1 for no limit. nthread: 0 for as many as help. The rest as in MujocoEnv."""
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise ValueError(f"render_mode is {render_mode!r}, expected None or one of {RENDER_MODES}")
        if render_mode is not None:
            choose_gl()
        self.num_envs, self.render_mode, self.frame_skip = num_envs, render_mode, frame_skip
        self.max_episode_steps = None if max_episode_steps == -1 else max_episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.model = load_model(expand_model_path(xml_file), width, height)
        self.batch = Batch(self.model, num_envs, nthread or useful_threads(num_envs))
        self.qpos, self.qvel, self.ctrl = (self.batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
        self.derived = {name: self.batch.bind(name) for name in self.derived_fields}  # zero until the first reset
        self.init_qpos, self.init_qvel = self.qpos[0].copy(), self.qvel[0].copy()
        self.dt = self.model.opt.timestep * frame_skip
        fps = int(np.round(1.0 / self.dt))
        self.metadata = {**type(self).metadata, "render_fps": fps, "autoreset_mode": self.autoreset_mode}
        self._renderer_settings = (
            default_camera_config,
            width,
            height,
            max_geom,
            camera_id,
            camera_name,
            visual_options,
        )
        self._renderer: BatchRenderer | None = None
        self._set_spaces()
        self._rngs: list[np.random.Generator | None] = [None] * num_envs
        self._elapsed = np.full(num_envs, -1, np.int64)  # steps since the episode began; -1: never reset
        self._done = np.zeros(num_envs, np.bool_)  # the episode ended and no reset has followed yet
        self._diverged = self.batch.warning[:, DIVERGED, 1]  # live counters, cleared by a reset

    # hooks of a world

    def _reset_state(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """qpos [nq] and qvel [nv] of a new episode."""
        raise NotImplementedError

    def _observe(self, rows: Rows) -> np.ndarray:
        """Observations of rows, a fresh float64 array [rows, obs]."""
        raise NotImplementedError

    def _evaluate(self, actions: np.ndarray, qpos_before: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Rewards float64 [N], terminated bool [N] and infos {key: [N]}, fresh arrays, of the step just made."""
        raise NotImplementedError

    def _reset_info(self, rows: Rows) -> Info:
        """Infos {key: [rows]} of episodes that begin."""
        return {}

    # Gymnasium's interface

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, Info]:
        """Observations [N, obs] and infos; with options["reset_mask"] only those rows begin anew, the others go on."""
        mask = reset_mask(options, self.num_envs)
        rows = np.flatnonzero(mask)
        reseed(self._rngs, seed_list(seed, self.num_envs), rows)
        self._begin(rows)
        self._done[mask] = False
        if len(rows) == self.num_envs:
            self._obs = self._observe(ALL)
        else:
            self._obs[rows] = self._observe(rows)
        return self._obs.copy(), merge_resets({}, mask, self._reset_info(rows))

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Info]:
        """Observations [N, obs], rewards [N], terminated [N], truncated [N] and infos."""
        actions = self._checked(actions)
        qpos_before = self.qpos.copy()
        self.ctrl[:] = actions
        self._elapsed += 1
        begun = self._step_physics()
        rewards, terminated, info = self._evaluate(actions, qpos_before)
        diverged = self._diverged.any(1) if self._diverged.any() else None
        if diverged is not None:  # the engine has set such a simulation back to its default state
            rewards[diverged] = 0.0
            terminated |= diverged
        if begun is not None:
            rewards[begun] = 0.0
            terminated[begun] = False
        truncated = np.zeros(self.num_envs, np.bool_)
        if self.max_episode_steps is not None:
            np.greater_equal(self._elapsed, self.max_episode_steps, out=truncated)
        self._done = terminated | truncated
        self._obs = self._observe(ALL)
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._done.any():
            info = self._reset_same_step(info)
        elif begun is not None:
            info = merge_resets(info, begun, self._reset_info(np.flatnonzero(begun)))
        else:
            info = add_masks(info)
        if diverged is not None:
            info["diverged"], info["_diverged"] = diverged, np.ones(self.num_envs, np.bool_)
        return self._obs.copy(), rewards, terminated, truncated, info

    def render(self) -> tuple[Any, ...] | None:
        """One frame per environment, uint8 [height, width, 3] each for rgb_array; None without a render_mode."""
        if self.render_mode is None:
            gym.logger.warn("render() was called without a render_mode: make the environment with render_mode='rgb_array'")
            return None
        if self._renderer is None:
            self._renderer = BatchRenderer(self.batch, *self._renderer_settings)
        return self._renderer.frames(self.render_mode)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:
        """The environments' own generators, one each."""
        reseed(self._rngs, [None] * self.num_envs, np.arange(self.num_envs))
        return tuple(self._rngs)

    # exact resume

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything the next step depends on, as copied arrays; actions aside, a loaded copy continues bitwise.

        physics [N, nstate]: MuJoCo's integration state, with warm starts; obs [N, obs]: the last observations;
        elapsed int64 [N]: steps since the episodes began; done bool [N]; rng uint64 [N, 7] (see `rng_arrays`).
        """
        state = {"physics": self.batch.state, "obs": self._obs, "elapsed": self._elapsed, "done": self._done}
        return {name: value.copy() for name, value in state.items()} | {"rng": rng_arrays(self._rngs)}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Continue from `state_dict()` of an environment with the same settings; no reset is needed."""
        now = self.state_dict()
        if state.keys() != now.keys():
            raise ValueError(f"state has entries {sorted(state)}, expected {sorted(now)}")
        for name, value in now.items():
            if state[name].shape != value.shape:
                raise ValueError(
                    f"state[{name!r}] has shape {state[name].shape}, expected {value.shape}; it was saved with another "
                    "num_envs, world or MuJoCo version"
                )
        self.batch.reset(stage=NO_STAGE)  # clears the divergence counters
        self.batch.state[:] = state["physics"]
        self._obs, self._elapsed, self._done = (np.array(state[name]) for name in ("obs", "elapsed", "done"))
        self._rngs = rngs_from_arrays(np.asarray(state["rng"], np.uint64))

    # internals

    def _set_spaces(self) -> None:
        low, high = self.model.actuator_ctrlrange.astype(np.float32).T
        self._obs = self._observe(ALL)
        self.single_action_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, self._obs.shape[1:], np.float64)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        actions = np.ascontiguousarray(actions)  # sums over a row then run in the order of a single environment's
        if actions.shape != self.ctrl.shape:
            raise ValueError(f"actions have shape {actions.shape}, expected [num_envs, actuators] = {self.ctrl.shape}")
        if self._elapsed.min() < 0:
            raise gym.error.ResetNeeded("step() was called before reset()")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._done.any():
            raise gym.error.ResetNeeded(
                f"environments {np.flatnonzero(self._done).tolist()} ended and autoreset is off: "
                "call reset(options={'reset_mask': terminated | truncated}) first"
            )
        return actions

    def _step_physics(self) -> np.ndarray | None:
        """Step the simulations; under NEXT_STEP those that ended begin anew instead: their mask, or None for none."""
        if self.autoreset_mode is not AutoresetMode.NEXT_STEP or not self._done.any():
            self.batch.step(nstep=self.frame_skip)
            return None
        begun = self._done
        if not begun.all():
            self.batch.step(~begun, nstep=self.frame_skip)
        self._begin(np.flatnonzero(begun))
        return begun

    def _begin(self, rows: np.ndarray) -> None:
        """Begin new episodes in rows, int [n]: mj_resetData, set_state and mj_forward of a single environment."""
        states = [self._reset_state(self._rngs[i]) for i in rows.tolist()]
        self.batch.reset(rows, stage=NO_STAGE)
        self.qpos[rows] = [qpos for qpos, _ in states]
        self.qvel[rows] = [qvel for _, qvel in states]
        self.batch.forward(rows)
        self._elapsed[rows] = 0

    def _reset_same_step(self, info: Info) -> Info:
        """Begin the ended episodes anew within this step: infos with final_obs and final_info."""
        done, rows = self._done, np.flatnonzero(self._done)
        final = final_infos(self._obs, info, done)
        self._begin(rows)
        self._obs = self._obs.copy()
        self._obs[rows] = self._observe(rows)
        self._done = np.zeros_like(done)
        return merge_resets(info, done, self._reset_info(rows)) | final
