"""What our natively vectorised worlds share: stepping, autoreset, seeds, Gymnasium's infos, exact
resume.

A world, or a family of worlds, derives from `NativeVectorEnv` and gives its hooks; `SingleEnv`
serves one row of it as a Gymnasium environment. Results are bit-identical with Gymnasium's
SyncVectorEnv over the single environments.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, create_empty_array

from bio_rl.vector.perturb.layer import Layer

Info = dict[str, Any]
Rows = slice | np.ndarray
ALL = slice(None)
_LOW_64 = (1 << 64) - 1


class NativeVectorEnv(VectorEnv):
    """N environments stepped as one batch; every method returns fresh arrays, never views of the
    world's own.

    A subclass calls this constructor, makes its state, then calls `_set_spaces`. Each row has its
    own generator, and what is drawn at random for a row comes from it alone.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}
    carried: ClassVar[tuple[str, ...]] = (
        "spec",
        "single_observation_space",
        "single_action_space",
        "observation_space",
        "action_space",
    )
    """Attributes that a copy takes over beside `state_dict`: those that no step depends on, and
    what pictures show.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """A new environment that remembers what it was made with, so that it can be copied (see
        `__reduce__`).
        """
        env = super().__new__(cls)
        env._made_with = args, kwargs
        return env

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        """max_episode_steps: None or -1 for no limit."""
        modes = type(self).metadata["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise ValueError(f"render_mode is {render_mode!r}, expected None or one of {modes}")
        self.num_envs, self.render_mode = num_envs, render_mode
        self.max_episode_steps = None if max_episode_steps == -1 else max_episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self._rngs: list[np.random.Generator | None] = [None] * num_envs
        self._elapsed = np.full(
            num_envs, -1, np.int64
        )  # steps since the episode began; -1: never reset
        self._done = np.zeros(num_envs, np.bool_)  # the episode ended and no reset has followed yet
        self._layer: Layer | None = None  # perturbations, for a world that offers them

    # hooks of a world

    def _reset_rows(self, rows: np.ndarray) -> None:
        """Set rows, int [n], to the start of new episodes, drawing from `self._rngs[i]` for row i.

        A world that offers perturbations calls `self._perturb(rows)` here, after the start states
        are drawn and set.
        """
        raise NotImplementedError

    def _advance(self, actions: np.ndarray, begun: np.ndarray | None) -> None:
        """Move the world on by one step. Rows of begun, bool [N], are reset right after: they may
        be left out or not.
        """
        raise NotImplementedError

    def _outcome(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Rewards float64 [N], terminated bool [N] and infos {key: [N]}, fresh arrays, of the step
        just made.
        """
        raise NotImplementedError

    def _observe(self, rows: Rows) -> np.ndarray:
        """Observations of rows, a fresh array [rows, *obs]."""
        raise NotImplementedError

    def _reset_info(self, rows: Rows) -> Info:
        """Infos {key: [rows]} of episodes that begin."""
        return {}

    def _world_state(self) -> dict[str, np.ndarray]:
        """The world's part of `state_dict`: arrays [N, ...], its own or copies."""
        raise NotImplementedError

    def _set_world_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over what `_world_state` gave; state holds more entries than those."""
        raise NotImplementedError

    def _frames(self) -> tuple[Any, ...]:
        """One frame per environment, of its current state."""
        raise NotImplementedError

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
        mask = reset_mask(options, self.num_envs)
        rows = np.flatnonzero(mask)
        reseed(self._rngs, seed_list(seed, self.num_envs), rows)
        if seed is not None and self._layer is not None:
            self._layer.born(rows)
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
        begun = (
            self._done
            if self.autoreset_mode is AutoresetMode.NEXT_STEP and self._done.any()
            else None
        )
        self._elapsed += 1
        self._advance(
            actions if self._layer is None else self._layer.advance(actions, begun), begun
        )
        if begun is not None:  # under NEXT_STEP rows that ended begin anew instead
            self._begin(np.flatnonzero(begun))
        rewards, terminated, info = self._outcome(actions)
        if begun is not None:
            rewards[begun] = 0.0
            terminated[begun] = False
        truncated = np.zeros(self.num_envs, np.bool_)
        if self.max_episode_steps is not None:
            np.greater_equal(self._elapsed, self.max_episode_steps, out=truncated)
        self._done = terminated | truncated
        if self._layer is not None:
            info |= self._layer.info(ALL)
        self._obs = self._perceive(ALL)
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._done.any():
            info = self._reset_same_step(info)
        elif begun is not None:
            info = merge_resets(info, begun, self._begin_info(np.flatnonzero(begun)))
        else:
            info = add_masks(info)
        return self._obs.copy(), rewards, terminated, truncated, info

    def render(self) -> tuple[Any, ...] | None:
        """One frame per environment, uint8 [height, width, 3] each for rgb_array; None without a
        render_mode.
        """
        if self.render_mode is None:
            gym.logger.warn(
                "render() was called without a render_mode: make the environment with render_mode='rgb_array'"
            )
            return None
        return self._frames()

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:
        """The environments' own generators, one each."""
        reseed(self._rngs, [None] * self.num_envs, np.arange(self.num_envs))
        return tuple(self._rngs)

    # exact resume

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything the next step depends on, as copied arrays; actions aside, a loaded copy
        continues bitwise.

        The world's own arrays (see its `_world_state`); obs [N, *obs]: the last observations;
        elapsed int64 [N]: steps since the episodes began; done bool [N]; rng uint64 [N, 7] (see
        `rng_arrays`).
        """
        state = {
            **self._world_state(),
            "obs": self._obs,
            "elapsed": self._elapsed,
            "done": self._done,
        }
        if self._layer is not None:
            state |= self._layer.state()
        return {name: value.copy() for name, value in state.items()} | {
            "rng": rng_arrays(self._rngs)
        }

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Continue from `state_dict()` of an environment with the same settings; no reset is
        needed.
        """
        now = self.state_dict()
        if state.keys() != now.keys():
            raise ValueError(f"state has entries {sorted(state)}, expected {sorted(now)}")
        for name, value in now.items():
            if state[name].shape != value.shape:
                raise ValueError(
                    f"state[{name!r}] has shape {state[name].shape}, expected {value.shape}; it was saved with another "
                    "num_envs, world or version of its simulator"
                )
        self._set_world_state(state)
        if self._layer is not None:
            self._layer.load(state)
        self._obs, self._elapsed, self._done = (
            np.array(state[name]) for name in ("obs", "elapsed", "done")
        )
        self._rngs = rngs_from_arrays(np.asarray(state["rng"], np.uint64))

    # copies

    def __reduce__(self) -> tuple[Any, ...]:
        """How copy.deepcopy and pickle copy a world: made anew with the same arguments, then
        brought to the same state.

        Simulations, threads and renderers cannot be copied, so attributes that were changed from
        outside are not either, but for `carried`.
        """
        args, kwargs = self._made_with
        carried = {name: vars(self)[name] for name in self.carried if name in vars(self)}
        return _made, (type(self), args, kwargs), (carried, self.state_dict())

    def __setstate__(self, state: tuple[dict[str, Any], dict[str, np.ndarray]]) -> None:
        carried, now = state
        vars(self).update(carried)
        self.load_state_dict(now)

    # internals

    def _set_spaces(self, observation: gym.Space, action: gym.Space) -> None:
        """The spaces of one row, and those of the batch."""
        self.single_observation_space, self.single_action_space = observation, action
        self.observation_space, self.action_space = (
            batch_space(space, self.num_envs) for space in (observation, action)
        )
        self._obs: Any = create_empty_array(observation, self.num_envs)

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        actions = np.ascontiguousarray(
            actions
        )  # sums over a row then run in the order of a single environment's
        if actions.shape != self.action_space.shape:
            raise ValueError(
                f"actions have shape {actions.shape}, expected [num_envs, *action] = {self.action_space.shape}"
            )
        check_actions(actions, self.single_action_space)
        if isinstance(self.single_action_space, gym.spaces.Discrete):
            actions = actions.astype(
                np.int64, copy=False
            )  # worlds compute with them: 0 - 1 of unsigned ones is no -1
        if self._elapsed.min() < 0:
            raise gym.error.ResetNeeded("step() was called before reset()")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._done.any():
            raise gym.error.ResetNeeded(
                f"environments {np.flatnonzero(self._done).tolist()} ended and autoreset is off: "
                "call reset(options={'reset_mask': terminated | truncated}) first"
            )
        return actions

    def _begin(self, rows: np.ndarray) -> None:
        """Begin new episodes in rows, int [n]."""
        self._reset_rows(rows)
        self._elapsed[rows] = 0

    def _perturb(self, rows: np.ndarray) -> None:
        """Begin the perturbations of new episodes in rows, int [n]."""
        if self._layer is not None:
            self._layer.begin(rows)

    def _perceive(self, rows: Rows) -> np.ndarray:
        """Observations of rows, as the perturbed sensors give them."""
        obs = self._observe(rows)
        return obs if self._layer is None else self._layer.observe(obs, rows)

    def _begin_info(self, rows: Rows) -> Info:
        """Infos {key: [rows]} of episodes that begin, with those of the perturbations."""
        return (
            self._reset_info(rows)
            if self._layer is None
            else self._reset_info(rows) | self._layer.info(rows)
        )

    def _reset_same_step(self, info: Info) -> Info:
        """Begin the ended episodes anew within this step: infos with final_obs and final_info."""
        done, rows = self._done, np.flatnonzero(self._done)
        final = final_infos(self._obs, info, done)
        self._begin(rows)
        self._obs = self._obs.copy()
        self._obs[rows] = self._perceive(rows)
        self._done = np.zeros_like(done)
        return merge_resets(info, done, self._begin_info(rows)) | final


class SingleEnv(gym.Env):
    """One environment of a native batch, in Gymnasium's single form; its time limit is
    gymnasium.make's wrapper.
    """

    def __init__(
        self,
        make_vec: Callable[..., NativeVectorEnv],
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        """make_vec: the native class; kwargs: its own settings."""
        mode = AutoresetMode.DISABLED
        self.batch = make_vec(
            1, max_episode_steps=None, render_mode=render_mode, autoreset_mode=mode, **kwargs
        )
        self.render_mode = render_mode
        self.metadata = {
            key: value for key, value in self.batch.metadata.items() if key != "autoreset_mode"
        }
        self.observation_space, self.action_space = (
            self.batch.single_observation_space,
            self.batch.single_action_space,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, Info]:
        """The first observation [*obs] and its infos."""
        super().reset(seed=seed)
        self.batch._rngs = [self.np_random]  # one generator, known to both
        if seed is not None and self.batch._layer is not None:
            self.batch._layer.born(np.zeros(1, np.int64))
        obs, info = self.batch.reset(options=options)
        return obs[0], _first(info)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, Info]:
        """Observation [*obs], reward, terminated, truncated and infos; raises ResetNeeded after the
        end of an episode.
        """
        obs, reward, terminated, truncated, info = self.batch.step(np.asarray(action)[None])
        return obs[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), _first(info)

    def render(self) -> Any:
        """The frame, uint8 [height, width, 3] for rgb_array; None without a render_mode."""
        frames = self.batch.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        self.batch.close()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over: all but the generator, where it is the batch's own, which the
        batch's copy brings.
        """
        state = vars(self).copy()
        if self.batch._rngs[0] is self._np_random:
            state.pop("_np_random", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if "_np_random" not in state:
            self._np_random = self.batch._rngs[0]


def check_actions(actions: np.ndarray, space: gym.Space) -> None:
    """Raise ValueError where actions [N, *action] hold what is none: fractions of a choice, NaN,
    infinity, other types.

    space: that of one environment. Numbers beyond the bounds of a Box are the world's to clip, as
    Gymnasium's do.
    """
    kind = actions.dtype.kind
    if isinstance(space, gym.spaces.Discrete):
        _check_choices(actions, int(space.n))
    elif kind == "f":
        if not math.isfinite(
            np.vdot(actions, actions)
        ):  # one pass; it overflows for finite numbers too, which then pass
            _check_finite(actions)
    elif kind not in "iub":
        raise ValueError(
            f"actions have dtype {actions.dtype}, expected numbers, {space.dtype} as the action space has it"
        )


def _check_choices(actions: np.ndarray, n: int) -> None:
    if actions.dtype.kind not in "iu":
        raise ValueError(
            f"actions are {_shown(actions)} of dtype {actions.dtype}, expected integers from 0 to {n - 1}: "
            "round, or take the argmax, before the step"
        )
    known = (actions >= 0) & (actions < n)
    if not known.all():
        rows = np.flatnonzero(~known).tolist()
        raise ValueError(
            f"actions are {actions[~known].tolist()} in rows {rows}, expected integers from 0 to {n - 1}"
        )


def _check_finite(actions: np.ndarray) -> None:
    bad = ~np.isfinite(actions).reshape(len(actions), -1).all(1)
    if bad.any():
        row = int(bad.argmax())
        what = "NaN" if np.isnan(actions[row]).any() else "infinite"
        raise ValueError(
            f"action of environment {row} is {what} ({_shown(actions[row])}; {int(bad.sum())} of {len(actions)} "
            "environments), expected finite numbers; the policy that chose it has probably diverged"
        )


def _shown(values: np.ndarray) -> str:
    """The first few values."""
    flat = values.ravel().tolist()
    return f"[{', '.join(map(str, flat[:4]))}{', …' if len(flat) > 4 else ''}]"


def _made(
    env_class: type[NativeVectorEnv], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> NativeVectorEnv:
    """A new environment; what `NativeVectorEnv.__reduce__` names."""
    return env_class(*args, **kwargs)


def seed_list(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """One seed per environment, as SyncVectorEnv has it: an int s becomes s, s+1, ...; None stays
    None.
    """
    if seed is None or isinstance(seed, int | np.integer):
        return [None if seed is None else int(seed) + i for i in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(
            f"seed has {len(seed)} entries, expected one per environment: num_envs={num_envs}"
        )
    return list(seed)


def reset_mask(options: dict[str, Any] | None, num_envs: int) -> np.ndarray:
    """Rows to reset, bool [num_envs]: options["reset_mask"] where given, else all. options is not
    changed.
    """
    if options is None or "reset_mask" not in options:
        return np.ones(num_envs, np.bool_)
    mask = options["reset_mask"]
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(
            f"options['reset_mask'] must be a numpy array of bool, got {getattr(mask, 'dtype', type(mask))}"
        )
    if mask.shape != (num_envs,) or not mask.any():
        raise ValueError(
            f"options['reset_mask'] must have shape ({num_envs},) and a True in it, got {mask!r}"
        )
    return mask.copy()


def reseed(
    rngs: list[np.random.Generator | None], seeds: list[int | None], rows: np.ndarray
) -> None:
    """Make the generators of rows anew where their seed is given, and once from the system where
    there is none yet.
    """
    for i in rows.tolist():
        if seeds[i] is not None or rngs[i] is None:
            rngs[i], _ = seeding.np_random(seeds[i])


def rng_arrays(rngs: list[np.random.Generator | None]) -> np.ndarray:
    """PCG64 states as uint64 [N, 7]: seeded, state high and low, increment high and low,
    has_uint32, uinteger.
    """
    rows = np.zeros((len(rngs), 7), np.uint64)
    for row, rng in zip(rows, rngs, strict=True):
        if rng is not None:
            s = rng.bit_generator.state
            state, inc = s["state"]["state"], s["state"]["inc"]
            row[:] = (
                1,
                state >> 64,
                state & _LOW_64,
                inc >> 64,
                inc & _LOW_64,
                s["has_uint32"],
                s["uinteger"],
            )
    return rows


def rngs_from_arrays(rows: np.ndarray) -> list[np.random.Generator | None]:
    """The generators that `rng_arrays` wrote down."""
    rngs: list[np.random.Generator | None] = []
    for seeded, state_high, state_low, inc_high, inc_low, has_uint32, uinteger in rows.tolist():
        bits = np.random.PCG64(0)
        state = {"state": state_high << 64 | state_low, "inc": inc_high << 64 | inc_low}
        bits.state = {
            "bit_generator": "PCG64",
            "state": state,
            "has_uint32": has_uint32,
            "uinteger": uinteger,
        }
        rngs.append(np.random.Generator(bits) if seeded else None)
    return rngs


def add_masks(step_info: Info) -> Info:
    """step_info with a mask `_key` per key, all True: what a step of every environment reports."""
    info = dict(step_info)
    for key, value in step_info.items():
        info[f"_{key}"] = np.ones(len(value), np.bool_)
    return info


def merge_resets(step_info: Info, begun: np.ndarray, reset_info: Info) -> Info:
    """Step infos of the rows that went on and reset infos of the rows that began an episode, in
    SyncVectorEnv's layout.

    step_info: {key: [N]}; its arrays are overwritten. begun: bool [N]. reset_info: {key: [number of
    begun rows]}. A row that a key says nothing about holds 0 there, and False in `_key`; a key of
    no row at all is left out.
    """
    info: Info = {}
    if not begun.all():
        for key, value in step_info.items():
            value[begun] = 0
            info[key], info[f"_{key}"] = value, ~begun
    for key, value in reset_info.items():
        if key not in info:
            info[key], info[f"_{key}"] = (
                np.zeros((len(begun), *value.shape[1:]), value.dtype),
                np.zeros_like(begun),
            )
        info[key][begun], info[f"_{key}"][begun] = value, True
    return info


def final_infos(obs: np.ndarray, step_info: Info, done: np.ndarray) -> Info:
    """SAME_STEP's infos of the episodes that just ended.

    final_obs is dense: the observation before any reset, for every row, [N, *obs]; `_final_obs`
    marks the ended rows. final_info holds the step's infos with the ended rows' masks, zero
    elsewhere, as SyncVectorEnv has it.
    """
    ended: Info = {}
    for key, value in step_info.items():
        ended[key], ended[f"_{key}"] = value.copy(), done.copy()
        ended[key][~done] = 0
    return {
        "final_obs": obs,
        "_final_obs": done.copy(),
        "final_info": ended,
        "_final_info": done.copy(),
    }


def _first(info: Info) -> Info:
    """Infos of the only row of a batch, without masks. Truths are Python's: of NumPy's,
    SyncVectorEnv makes objects.
    """
    first = {key: value[0] for key, value in info.items() if not key.startswith("_")}
    return {
        key: bool(value) if isinstance(value, np.bool_) else value for key, value in first.items()
    }
