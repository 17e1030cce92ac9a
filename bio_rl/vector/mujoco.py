"""The base of robot worlds, on `mujoco.batch.Batch`: C++ threads step N simulations of one model.

A world writes two hooks, `observe` and `evaluate`, and more if it likes: `reset_state`,
`reset_info` and `channels`. Physics and rendering are here, autoreset and the rest of Gymnasium's
interface in `NativeVectorEnv`.
"""

from abc import abstractmethod
from typing import Any, ClassVar

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_env import DEFAULT_SIZE, expand_model_path
from gymnasium.vector import AutoresetMode
from mujoco.batch import Batch

from bio_rl.vector import mujoco_names
from bio_rl.vector.infos import Info
from bio_rl.vector.mujoco_model import (
    BatchRenderer,
    following_camera,
    load_model,
    useful_threads,
)
from bio_rl.vector.native import ALL, NativeVectorEnv
from bio_rl.vector.perturb import physics, signals
from bio_rl.vector.perturb.layer import Layer, Perturb
from bio_rl.vector.rendering import choose_gl

RENDER_MODES = ["rgb_array", "depth_array", "rgbd_tuple"]
NO_STAGE = int(mujoco.mjtStage.mjSTAGE_NONE)
# The warnings of a simulation that diverged: bad positions, velocities or accelerations.
DIVERGED = slice(
    int(mujoco.mjtWarning.mjWARN_BADQPOS),
    int(mujoco.mjtWarning.mjWARN_BADQACC) + 1,
)


class BatchVectorEnv(NativeVectorEnv):
    """N simulations of one MuJoCo model; every method returns fresh arrays, never views of the
    simulations.

    A subclass's constructor calls this one, sets what its hooks need, and ends with `make_spaces`.
    Hooks may read `qpos [N, nq]` and `qvel [N, nv]` (live views),
    `derived[name]` (one substep behind, as after mj_step), `dt` in s, `init_qpos [nq]` and
    `init_qvel [nv]`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": RENDER_MODES}
    derived_fields: ClassVar[tuple[str, ...]] = ()
    """MjData fields beyond the state that the world reads."""
    reset_noise_scale: float = 0.0
    """Half width of the noise at an episode's start, see `reset_state`."""
    camera_distance: float = 1.0
    """Factor of the distance from which the model's own camera follows the robot."""
    skip: int = 0
    """Entries of qpos, from the first on, that the observations leave out."""

    def __init__(
        self,
        num_envs: int,
        xml_file: str,
        frame_skip: int,
        default_camera_config: dict[str, Any] | None = None,
        *,
        max_episode_steps: int | None = 1000,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        nthread: int = 0,
        width: int = DEFAULT_SIZE,
        height: int = DEFAULT_SIZE,
        camera_id: int | None = None,
        camera_name: str | None = None,
        max_geom: int = 1000,
        visual_options: dict[int, bool] | None = None,
        perturb: Perturb = (),
        simulations: type[Batch] = Batch,
        integrator: mujoco.mjtIntegrator | None = None,
        **kwargs: Any,
    ) -> None:
        """max_episode_steps: None or -1 for no limit. nthread: 0 for as many as help. perturb: see
        docs/perturbations.md. simulations: the class that steps them. integrator: another than the
        model's own. kwargs: those of NativeVectorEnv. The rest is as in Gymnasium's MujocoEnv, but
        that the camera follows the robot where its model has one that does and none was chosen.
        """
        super().__init__(num_envs, max_episode_steps, render_mode, autoreset_mode, **kwargs)
        if render_mode is not None:
            choose_gl()
        self.frame_skip = frame_skip
        self.xml_file = expand_model_path(xml_file)
        self.model = load_model(self.xml_file, width, height)
        if integrator is not None:
            self.model.opt.integrator = integrator
        if default_camera_config is None and camera_id is None and camera_name is None:
            camera_id = following_camera(self.model)
            if camera_id != -1:
                self.model.cam_poscom0[camera_id] *= self.camera_distance
        self.batch = simulations(self.model, num_envs, nthread or useful_threads(num_envs))
        self._bind()
        self.dt = self.model.opt.timestep * frame_skip
        self.metadata["render_fps"] = int(np.round(1.0 / self.dt))
        self.metadata["dt"] = self.dt
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
        self._lost: np.ndarray | None = None
        self._perturb = perturb

    def _bind(self) -> None:
        """Take live views of the simulations' arrays, and the state that the model starts in."""
        self.qpos = self.batch.bind("qpos")
        self.qvel = self.batch.bind("qvel")
        self.ctrl = self.batch.bind("ctrl")

        # Derived fields are zero until the first reset.
        self.derived = {name: self.batch.bind(name) for name in self.derived_fields}
        self.init_qpos = self.qpos[0].copy()
        self.init_qvel = self.qvel[0].copy()
        self._qpos_before = self.qpos.copy()

        # Counters of the simulations, which a reset clears.
        self._diverged = self.batch.warning[:, DIVERGED, 1]

    def make_spaces(self, observation: gym.Space | None = None) -> None:
        """Finish the construction: actions as the model bounds them, and the perturbations.

        observation: by default an unbounded space of the shape that `observe` returns.
        """
        obs = self.observe(ALL)
        if observation is None:
            observation = gym.spaces.Box(-np.inf, np.inf, obs.shape[1:], np.float64)
        low, high = self.model.actuator_ctrlrange.astype(np.float32).T
        self.set_spaces(observation, gym.spaces.Box(low, high, dtype=np.float32))
        self.metadata["channels"] = self.channels()
        self.metadata["actions"] = mujoco_names.actuators(self.model)
        self._obs = obs  # until the first reset
        if self._perturb:
            self.layer = Layer(self, self._perturb, physics.KINDS | signals.KINDS)
            physics.attach(self.layer, self.batch)

    # hooks of a world

    @abstractmethod
    def evaluate(
        self, actions: np.ndarray, qpos_before: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Info]:
        """Rewards float64 [N], terminated bool [N] and infos {key: [N]} of the step just made, all
        of them fresh arrays.
        """

    def reset_state(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Positions qpos [nq] and velocities qvel [nv] of a new episode: each within ±
        reset_noise_scale of the model's, uniformly.
        """
        noise = self.reset_noise_scale
        qpos = self.init_qpos + rng.uniform(-noise, noise, self.model.nq)
        qvel = self.init_qvel + rng.uniform(-noise, noise, self.model.nv)
        return qpos, qvel

    def channels(self) -> tuple[str, ...]:
        """A name for each number that `observe` returns (see `mujoco_names`); () for numbers."""
        return ()

    # the interface and hooks of NativeVectorEnv

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Info]:
        """As in NativeVectorEnv; infos name simulations that diverged, whose episodes end there
        with reward 0.
        """
        obs, rewards, terminated, truncated, info = super().step(actions)
        if self._lost is not None:
            info["diverged"] = self._lost
            info["_diverged"] = np.ones(self.num_envs, np.bool_)
        return obs, rewards, terminated, truncated, info

    def reset_rows(self, rows: np.ndarray) -> None:
        """Put rows, int [n], in new start states."""
        states = [self.reset_state(self.rngs[i]) for i in rows.tolist()]
        # Everything else returns to the model's defaults, as in mj_resetData.
        self.batch.reset(rows, stage=NO_STAGE)
        self.qpos[rows] = [qpos for qpos, _ in states]
        self.qvel[rows] = [qvel for _, qvel in states]

    def after_reset(self, rows: np.ndarray) -> None:
        """Compute what follows from the start states: mj_forward of a single environment."""
        self.batch.forward(rows)

    def advance(self, actions: np.ndarray, begun: np.ndarray | None) -> None:
        """Step the simulations, those of begun aside."""
        self._qpos_before = self.qpos.copy()
        self.ctrl[:] = actions
        if begun is None:
            self.batch.step(nstep=self.frame_skip)
        elif not begun.all():
            self.batch.step(~begun, nstep=self.frame_skip)

    def outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """The outcome of `evaluate`, and the end of episodes whose simulations diverged."""
        rewards, terminated, info = self.evaluate(actions, self._qpos_before)
        self._lost = self._diverged.any(1) if self._diverged.any() else None
        if self._lost is not None:
            # The engine has set such a simulation back to its default state.
            rewards[self._lost] = 0.0
            terminated |= self._lost
        return rewards, terminated, info

    def world_state(self) -> dict[str, np.ndarray]:
        """physics [N, nstate]: MuJoCo's integration state, with warm starts; and the arrays of the
        state.
        """
        return super().world_state() | {"physics": self.batch.state}

    def set_world_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `world_state` returned."""
        super().set_world_state(state)
        # The divergence counters are cleared; they are no part of the state.
        self.batch.reset(stage=NO_STAGE)
        self.batch.state[:] = state["physics"]

    def frames(self) -> tuple[Any, ...]:
        """One frame for each simulation, in the form that render_mode names."""
        if self._renderer is None:
            self._renderer = BatchRenderer(self.batch, *self._renderer_settings)
        assert self.render_mode is not None  # render() has seen to it
        return self._renderer.frames(self.render_mode)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
