"""The base of worlds that are stepped as one batch: autoreset, seeds, infos, exact resume, copies.

A world, or a family of worlds, derives from `NativeVectorEnv` and writes its hooks; `SingleEnv`
serves one row of it as a Gymnasium environment. Results are bit-identical with Gymnasium's
SyncVectorEnv over the single environments. docs/fast_worlds.md builds one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self, cast

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, create_empty_array
from numpy.typing import DTypeLike

from bio_rl.vector import generators
from bio_rl.vector.actions import check_actions
from bio_rl.vector.infos import Info, add_masks, final_infos, merge_resets
from bio_rl.vector.perturb.layer import Layer

Rows = slice | np.ndarray
"""Some rows of a batch: all of them, `ALL`, or their numbers, int [n]."""
ALL = slice(None)
NEVER_RESET = -1


class Call(NamedTuple):
    """The arguments that a world was made with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class NativeVectorEnv(VectorEnv, ABC):
    """N environments stepped as one batch; every method returns fresh arrays, never views of the
    world's own.

    A subclass must write three hooks: `advance` moves the world on, `outcome` says what the step
    was worth, `observe` what is seen. It may write `reset_rows` (start states that are drawn),
    `after_reset`, `reset_info`, `world_state` with `set_world_state`, and `frames`. Its constructor
    calls this one, declares with `state_array` every array that the next step depends on, and ends
    with `set_spaces`.

    Hooks may read `num_envs` N, `elapsed` int [N] (steps since each episode began, the present one
    included) and `rngs` (one generator for each row: what is drawn for a row must come from its own
    alone, else a row of a batch would live otherwise than alone).
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    """Gymnasium's; "reference": returns, {"random", "expert" or "ideal"}; keys of `labels`."""
    carried: ClassVar[tuple[str, ...]] = (
        "spec",
        "single_observation_space",
        "single_action_space",
        "observation_space",
        "action_space",
    )
    """Attributes that a copy takes over beside `state_dict`: no step depends on them."""
    _made_with: Call

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """A new environment that remembers its arguments, so that it can be copied."""
        env = super().__new__(cls)
        env._made_with = Call(args, kwargs)
        return env

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        *,
        reference: Mapping[str, float] | None = None,
    ) -> None:
        """max_episode_steps: None or -1 for no limit. reference: known returns, in place of those
        of the class's metadata.
        """
        modes = type(self).metadata["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise ValueError(f"render_mode is {render_mode!r}, expected None or one of {modes}")
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.max_episode_steps = None if max_episode_steps == -1 else max_episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.metadata = metadata  # type: ignore[misc]  # an instance's own, as in gymnasium
        if reference is not None:
            self.metadata["reference"] = dict(reference)

        # A row holds None until its first reset; no hook runs before that.
        self.rngs = cast(list[np.random.Generator], [None] * num_envs)
        self.elapsed = np.full(num_envs, NEVER_RESET, np.int64)
        self.layer: Layer | None = None
        """The perturbations, for a world that offers them and was given some."""
        self._starts: dict[str, float | None] = {}

        # Rows whose episode ended and that were not reset since.
        self._done = np.zeros(num_envs, np.bool_)
        self._obs: Any = None

    # for the constructor of a world

    def state_array(
        self,
        name: str,
        start: float | None = 0.0,
        dtype: DTypeLike = np.float64,
        shape: tuple[int, ...] = (),
    ) -> np.ndarray:
        """A new array [N, *shape] that is part of the state, to be kept as the attribute `name`.

        It is saved, restored and copied with the world. Its rows become `start` when their episodes
        begin, before `reset_rows`; with None that hook sets them itself.

            self.position = self.state_array("position", start=0.5)
        """
        if name in self._starts:
            raise ValueError(f"state_array {name!r} is declared twice")
        self._starts[name] = start
        return np.full((self.num_envs, *shape), start or 0, dtype)

    def set_spaces(self, observation: gym.Space, action: gym.Space) -> None:
        """Finish the construction with the spaces of one row."""
        self.single_observation_space = observation
        self.single_action_space = action
        self.observation_space = batch_space(observation, self.num_envs)
        self.action_space = batch_space(action, self.num_envs)
        self._obs = create_empty_array(observation, self.num_envs)

    # hooks that a world must write

    @abstractmethod
    def advance(self, actions: np.ndarray, begun: np.ndarray | None) -> None:
        """Move the world on by one step.

        Rows of begun, bool [N], are reset right after: they may be left out or not.
        """

    @abstractmethod
    def outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Rewards float64 [N], terminated bool [N] and infos {key: [N]} of the step just made, all
        of them fresh arrays.
        """

    @abstractmethod
    def observe(self, rows: Rows) -> np.ndarray:
        """Observations of rows, a fresh array [rows, *obs]."""

    # hooks that a world may write

    def reset_rows(self, rows: np.ndarray) -> None:
        """Set rows, int [n], to the start of new episodes, drawing from `rngs[i]` for row i."""

    def after_reset(self, rows: np.ndarray) -> None:
        """Compute what follows from the start states of rows, int [n], perturbations included."""

    def reset_info(self, rows: Rows) -> Info:
        """Infos {key: [rows]} of episodes that begin."""
        return {}

    def world_state(self) -> dict[str, np.ndarray]:
        """The world's part of `state_dict`: arrays [N, ...], the world's own or copies of them.

        A world whose state is more than its `state_array`s adds to what this one returns.
        """
        return {name: getattr(self, name) for name in self._starts}

    def set_world_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `world_state` returned; state holds more entries than those."""
        for name in self._starts:
            setattr(self, name, np.array(state[name]))

    def frames(self) -> tuple[Any, ...]:
        """One picture of the present state for each environment."""
        raise NotImplementedError(f"{type(self).__name__} draws no pictures")

    # Gymnasium's interface

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, Info]:
        """Observations [N, *obs] and infos; with options["reset_mask"] only those rows begin anew,
        the others go on.
        """
        if self._obs is None:
            raise TypeError(
                f"{type(self).__name__} has no spaces: its constructor has to end with "
                "self.set_spaces(observation, action)"
            )
        mask = generators.reset_mask(options, self.num_envs)
        rows = np.flatnonzero(mask)
        generators.reseed(self.rngs, generators.seed_list(seed, self.num_envs), rows)
        if seed is not None and self.layer is not None:
            self.layer.born(rows)
        self._begin(rows)
        self._done[mask] = False
        if len(rows) == self.num_envs:
            self._obs = self._perceive(ALL)
        else:
            self._obs[rows] = self._perceive(rows)
        return self._obs.copy(), merge_resets({}, mask, self._begin_info(rows))

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Info]:
        """Observations [N, *obs], rewards [N], terminated [N], truncated [N] and infos."""
        actions = self._checked(actions)
        begun = self._rows_to_begin()
        self.elapsed += 1
        received = actions if self.layer is None else self.layer.advance(actions, begun)
        self.advance(received, begun)

        if begun is not None:
            self._begin(np.flatnonzero(begun))
        rewards, terminated, info = self.outcome(actions)
        if begun is not None:
            # They made no step: their reward is 0, and they do not end again.
            rewards[begun] = 0.0
            terminated[begun] = False
        truncated = self._truncated()
        self._done = terminated | truncated
        if self.layer is not None:
            info |= self.layer.info(ALL)
        self._obs = self._perceive(ALL)
        info = self._with_resets(info, begun)
        return self._obs.copy(), rewards, terminated, truncated, info

    def render(self) -> tuple[Any, ...] | None:
        """One frame for each environment, uint8 [height, width, 3] for rgb_array; None without a
        render_mode.
        """
        if self.render_mode is None:
            gym.logger.warn(
                "render() was called without a render_mode: make the environment with "
                "render_mode='rgb_array'"
            )
            return None
        return self.frames()

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The environments' own generators, one each."""
        no_seeds: list[int | None] = [None] * self.num_envs
        generators.reseed(self.rngs, no_seeds, np.arange(self.num_envs))
        return tuple(self.rngs)

    # exact resume

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything that the next step depends on, as copied arrays; with the same actions a
        loaded copy continues bitwise.

        The world's own arrays (see its `world_state`); obs [N, *obs]: the last observations;
        elapsed int64 [N]: steps since the episodes began; done bool [N]; rng uint64 [N, 7] (see
        `generators.rng_arrays`).
        """
        common = {"obs": self._obs, "elapsed": self.elapsed, "done": self._done}
        state = self.world_state() | common
        if self.layer is not None:
            state |= self.layer.state()
        copies = {name: value.copy() for name, value in state.items()}
        copies["rng"] = generators.rng_arrays(self.rngs)
        return copies

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Continue from `state_dict()` of an environment with the same settings.

        No reset is needed.
        """
        self._check_state(state)
        self.set_world_state(state)
        if self.layer is not None:
            self.layer.load(state)
        self._obs = np.array(state["obs"])
        self.elapsed = np.array(state["elapsed"])
        self._done = np.array(state["done"])
        rngs = generators.rngs_from_arrays(np.asarray(state["rng"], np.uint64))
        self.rngs = cast(list[np.random.Generator], rngs)

    def _check_state(self, state: dict[str, np.ndarray]) -> None:
        """Raise ValueError where state is not one of an environment with these settings."""
        now = self.state_dict()
        if state.keys() != now.keys():
            raise ValueError(f"state has entries {sorted(state)}, expected {sorted(now)}")
        for name, value in now.items():
            if state[name].shape != value.shape:
                raise ValueError(
                    f"state[{name!r}] has shape {state[name].shape}, expected {value.shape}; it "
                    "was saved with another num_envs, world or version of its simulator"
                )

    # copies

    def __reduce__(self) -> tuple[Any, ...]:
        """How copy.deepcopy and pickle copy a world: made anew with the same arguments, then
        brought to the same state.

        Simulations, threads and renderers cannot be copied, so attributes that were changed from
        outside are not either, but for `carried`.
        """
        attributes = vars(self)
        carried = {name: attributes[name] for name in self.carried if name in attributes}
        state = (carried, self.state_dict())
        return _made, (type(self), self._made_with), state

    def __setstate__(self, state: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
        carried, now = state
        # The spaces among them bring their own generators along.
        vars(self).update(carried)
        self.load_state_dict(now)

    # steps of the methods above

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        """The actions in a form that worlds compute with; raises where no step can be made."""
        # Sums over a row of a contiguous array run in the order of a single environment's.
        actions = np.ascontiguousarray(actions)
        if actions.shape != self.action_space.shape:
            raise ValueError(
                f"actions have shape {actions.shape}, expected [num_envs, *action] = "
                f"{self.action_space.shape}"
            )
        check_actions(actions, self.single_action_space)
        if isinstance(self.single_action_space, gym.spaces.Discrete):
            # Worlds compute with choices: of unsigned ones 0 - 1 would be no -1.
            actions = actions.astype(np.int64, copy=False)
        if self.elapsed.min() < 0:
            raise gym.error.ResetNeeded("step() was called before reset()")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._done.any():
            raise gym.error.ResetNeeded(
                f"environments {np.flatnonzero(self._done).tolist()} ended and autoreset is off: "
                "call reset(options={'reset_mask': terminated | truncated}) first"
            )
        return actions

    def _rows_to_begin(self) -> np.ndarray | None:
        """Rows that begin anew in this step instead of moving on, bool [N]; None for no row.

        Under NEXT_STEP these are the rows that ended in the step before.
        """
        if self.autoreset_mode is AutoresetMode.NEXT_STEP and self._done.any():
            return self._done
        return None

    def _truncated(self) -> np.ndarray:
        """Rows that have reached the time limit, bool [N]."""
        if self.max_episode_steps is None:
            return np.zeros(self.num_envs, np.bool_)
        return self.elapsed >= self.max_episode_steps

    def _begin(self, rows: np.ndarray) -> None:
        """Begin new episodes in rows, int [n]."""
        for name, start in self._starts.items():
            if start is not None:
                getattr(self, name)[rows] = start
        self.reset_rows(rows)
        if self.layer is not None:
            self.layer.begin(rows)
        self.after_reset(rows)
        self.elapsed[rows] = 0

    def _perceive(self, rows: Rows) -> np.ndarray:
        """Observations of rows, as the perturbed sensors give them."""
        obs = self.observe(rows)
        return obs if self.layer is None else self.layer.observe(obs, rows)

    def _begin_info(self, rows: Rows) -> Info:
        """Infos {key: [rows]} of episodes that begin, with those of the perturbations."""
        info = self.reset_info(rows)
        return info if self.layer is None else info | self.layer.info(rows)

    def _with_resets(self, info: Info, begun: np.ndarray | None) -> Info:
        """The infos of a step in Gymnasium's layout; under SAME_STEP ended rows begin anew here."""
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._done.any():
            return self._reset_same_step(info)
        if begun is not None:
            return merge_resets(info, begun, self._begin_info(np.flatnonzero(begun)))
        return add_masks(info)

    def _reset_same_step(self, info: Info) -> Info:
        """Begin the ended episodes anew within this step: infos with final_obs and final_info."""
        done = self._done
        rows = np.flatnonzero(done)
        final = final_infos(self._obs, info, done)
        self._begin(rows)
        self._obs = self._obs.copy()
        self._obs[rows] = self._perceive(rows)
        self._done = np.zeros_like(done)
        return merge_resets(info, done, self._begin_info(rows)) | final


def _made(env_class: Callable[..., NativeVectorEnv], call: Call) -> NativeVectorEnv:
    """A new environment; `NativeVectorEnv.__reduce__` names this function."""
    return env_class(*call.args, **call.kwargs)
