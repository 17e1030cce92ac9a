"""Vectorised MuJoCo environments on `mujoco.batch.Batch`: C++ threads step N simulations of one
model.

A world gives two hooks, and two more if it likes (`_observe`, `_evaluate`; `_reset_state`,
`_reset_info`); physics and rendering are here, autoreset and the rest of Gymnasium's interface in
`NativeVectorEnv`.
"""

from typing import Any, ClassVar

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_env import DEFAULT_SIZE, expand_model_path
from gymnasium.vector import AutoresetMode
from mujoco.batch import Batch

from bio_rl.vector.mujoco_model import BatchRenderer, load_model, useful_threads
from bio_rl.vector.native import ALL, Info, NativeVectorEnv, Rows
from bio_rl.vector.perturb import physics, signals
from bio_rl.vector.perturb.layer import Layer, Perturb
from bio_rl.vector.rendering import choose_gl

RENDER_MODES = ["rgb_array", "depth_array", "rgbd_tuple"]
NO_STAGE = int(mujoco.mjtStage.mjSTAGE_NONE)
DIVERGED = slice(
    int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1
)  # positions, v, acc.


class BatchVectorEnv(NativeVectorEnv):
    """N simulations of one MuJoCo model; every method returns fresh arrays, never views of the
    simulations.

    A subclass sets its own constants, then calls this constructor. It may read `qpos [N, nq]`,
    `qvel [N, nv]` (live views), `derived[name]` (one substep behind, as after mj_step), `dt` in s,
    `init_qpos [nq]`, `init_qvel [nv]`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": RENDER_MODES}
    _reset_noise_scale = 0.0  # of the usual start, see `_reset_state`
    derived_fields: ClassVar[
        tuple[str, ...]
    ] = ()  # MjData fields beyond the state that the world reads
    simulations: ClassVar[type[Batch]] = Batch  # what steps them
    integrator: ClassVar[mujoco.mjtIntegrator | None] = None  # another than the model's own

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
        perturb: Perturb = (),
    ) -> None:
        """max_episode_steps: None or -1 for no limit. nthread: 0 for as many as help. perturb: see
        docs/perturbations.md. The rest as in MujocoEnv.
        """
        super().__init__(num_envs, max_episode_steps, render_mode, autoreset_mode)
        if render_mode is not None:
            choose_gl()
        self.frame_skip = frame_skip
        self.xml_file = expand_model_path(xml_file)
        self.model = load_model(self.xml_file, width, height)
        if self.integrator is not None:
            self.model.opt.integrator = self.integrator
        self.batch = self.simulations(self.model, num_envs, nthread or useful_threads(num_envs))
        self.qpos, self.qvel, self.ctrl = (
            self.batch.bind(name) for name in ("qpos", "qvel", "ctrl")
        )
        self.derived = {
            name: self.batch.bind(name) for name in self.derived_fields
        }  # zero until the first reset
        self.init_qpos, self.init_qvel = self.qpos[0].copy(), self.qvel[0].copy()
        self.dt = self.model.opt.timestep * frame_skip
        self.metadata["render_fps"] = int(np.round(1.0 / self.dt))
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
        self._diverged = self.batch.warning[:, DIVERGED, 1]  # live counters, cleared by a reset
        low, high = self.model.actuator_ctrlrange.astype(np.float32).T
        obs = self._observe(ALL)
        observation = gym.spaces.Box(-np.inf, np.inf, obs.shape[1:], np.float64)
        self._set_spaces(observation, gym.spaces.Box(low, high, dtype=np.float32))
        self._obs = obs  # until the first reset
        if perturb:
            self._layer = Layer(self, perturb, physics.KINDS | signals.KINDS)
            physics.attach(self._layer, self.batch)

    # hooks of a world

    def _reset_state(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """qpos [nq] and qvel [nv] of a new episode: here each within ± reset_noise_scale of the
        model's, uniformly.
        """
        noise = self._reset_noise_scale
        qpos = self.init_qpos + rng.uniform(-noise, noise, self.model.nq)
        return qpos, self.init_qvel + rng.uniform(-noise, noise, self.model.nv)

    def _observe(self, rows: Rows) -> np.ndarray:
        """Observations of rows, a fresh float64 array [rows, obs]."""
        raise NotImplementedError

    def _evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """Rewards float64 [N], terminated bool [N] and infos {key: [N]}, fresh arrays, of the step
        just made.
        """
        raise NotImplementedError

    # the interface and hooks of NativeVectorEnv

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Info]:
        """As in NativeVectorEnv; infos name simulations that diverged, whose episodes end there
        with reward 0.
        """
        *returned, info = super().step(actions)
        if self._lost is not None:
            info["diverged"], info["_diverged"] = self._lost, np.ones(self.num_envs, np.bool_)
        return *returned, info

    def _reset_rows(self, rows: np.ndarray) -> None:
        """mj_resetData, set_state and mj_forward of a single environment."""
        self._place(rows)
        self._perturb(rows)
        self.batch.forward(rows)

    def _place(self, rows: np.ndarray) -> None:
        """Put rows, int [n], in new start states; what follows from these is not computed yet."""
        states = [self._reset_state(self._rngs[i]) for i in rows.tolist()]
        self.batch.reset(rows, stage=NO_STAGE)
        self.qpos[rows] = [qpos for qpos, _ in states]
        self.qvel[rows] = [qvel for _, qvel in states]

    def _advance(self, actions: np.ndarray, begun: np.ndarray | None) -> None:
        self._qpos_before = self.qpos.copy()
        self.ctrl[:] = actions
        if begun is None:
            self.batch.step(nstep=self.frame_skip)
        elif not begun.all():
            self.batch.step(~begun, nstep=self.frame_skip)

    def _outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        rewards, terminated, info = self._evaluate(actions, self._qpos_before)
        self._lost = self._diverged.any(1) if self._diverged.any() else None
        if self._lost is not None:  # the engine has set such a simulation back to its default state
            rewards[self._lost] = 0.0
            terminated |= self._lost
        return rewards, terminated, info

    def _world_state(self) -> dict[str, np.ndarray]:
        """physics [N, nstate]: MuJoCo's integration state, with warm starts."""
        return {"physics": self.batch.state}

    def _set_world_state(self, state: dict[str, np.ndarray]) -> None:
        self.batch.reset(stage=NO_STAGE)  # clears the divergence counters
        self.batch.state[:] = state["physics"]

    def _frames(self) -> tuple[Any, ...]:
        if self._renderer is None:
            self._renderer = BatchRenderer(self.batch, *self._renderer_settings)
        return self._renderer.frames(self.render_mode)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
