"""The base of every perturbation at work: this episode's value, the amount now, and the hooks
through which it acts.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, TypeVar

import numpy as np

from bio_rl.discovery import suggestion
from bio_rl.vector.perturb.text import Perturbation, Schedule, Value
from bio_rl.vector.perturb.world import World

Fields = dict[str, np.ndarray]
"""Arrays [N, ...] that perturbations may write, by name."""
T = TypeVar("T")


class Effect:
    """A perturbation of N rows. Where `amount` [N] is `neutral` nothing is changed; a schedule
    moves it towards `value` [N].

    A subclass says what it accepts, finds its target in the constructor (raising ValueError where
    it cannot act), and writes one or more of the hooks.
    """

    neutral: ClassVar[float] = 1.0
    """The amount that changes nothing: 1 for factors, 0 for what is added."""
    default: ClassVar[float | None] = None
    """The value if none is given; None if one has to be."""
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    """Least and greatest value."""
    whole: ClassVar[bool] = False
    """Whether only integers are accepted."""
    gradual: ClassVar[bool] = True
    """Whether amounts between neutral and value mean something, so that it can be ramped."""
    event: ClassVar[bool] = False
    """Whether it acts in single steps and then is over, instead of staying on."""
    order: ClassVar[int] = 1
    """Fields are written in this order: what replaces (0) before what scales (1)."""

    def __init__(self, world: World, spec: Perturbation) -> None:
        """world: what is perturbed. spec: how."""
        self.world = world
        self.name = spec.name
        self.target = spec.target
        self.schedule = spec.schedule
        self.writes: tuple[str, ...] = ()
        """Names of the fields that `write` changes."""
        self.range = self._accepted(spec.value)
        self._check_schedule(self.schedule)
        n = world.num_envs
        self.value = np.full(n, self.neutral)
        self.amount = np.full(n, self.neutral)
        self.fired = np.zeros(n, np.bool_)

    # hooks

    def begin(self, rows: np.ndarray) -> None:
        """New episodes begin in rows, int [n], whose start states stand; draw from
        `world.rngs[i]`.
        """

    def changed(self, rows: np.ndarray, before: np.ndarray) -> None:
        """`amount` of rows, int [n], has become another than before, [n]; `write` follows."""

    def write(self, fields: Fields, rows: np.ndarray) -> None:
        """Change fields {name: [N, ...]} in rows by `amount`; they hold nominal values and what
        came before in order.
        """

    def release(self, rows: np.ndarray) -> None:
        """Take back in rows, int [n], what `move` did for the last step."""

    def move(self, rows: np.ndarray) -> np.ndarray | None:
        """Prepare the step that the world is about to make in rows, int [n].

        Returns the rows whose fields have to be written anew for it, if there are any.
        """
        return None

    def act(self, actions: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The actions [N, ...] that reach the actuators; only rows, int [n], make the step."""
        return actions

    def observe(self, obs: np.ndarray, rows: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """The sensed observations [n, D] for obs [n, D] of rows, int [n].

        fresh, bool [n]: whether it is the first observation of an episode.
        """
        return obs

    def state(self) -> dict[str, np.ndarray]:
        """All that lasts beyond a step, by attribute: arrays [N, ...], which `load` sets."""
        return {"value": self.value, "amount": self.amount, "fired": self.fired}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what `state` returned."""
        for name in self.state():
            # Copies, so that the saved state can be loaded again.
            setattr(self, name, np.array(state[name]))

    # checks of what is wanted

    def _accepted(self, value: Value | float | None) -> Value:
        """The value as a range; raises ValueError where this perturbation does not take it."""
        if value is None:
            if self.default is None:
                raise ValueError(f"{self.name} needs a value, as in {self.name}=2")
            value = self.default
        if not isinstance(value, Value):
            value = Value(float(value), float(value))
        for x in (value.low, value.high, *value.among):
            if not self._accepts(x):
                raise ValueError(f"the value is {x:g}, expected {self._expected()}")

        return value

    def _accepts(self, x: float) -> bool:
        low, high = self.bounds
        if not math.isfinite(x) or not low <= x <= high:
            return False
        return x == int(x) or not self.whole

    def _expected(self) -> str:
        """The accepted values in words."""
        low, high = self.bounds
        kind = "a whole number" if self.whole else "a number"
        if low == -math.inf:
            return kind if high == math.inf else f"{kind} up to {high:g}"
        least = f"{kind} from {low:g}"

        return least if high == math.inf else f"{least} to {high:g}"

    def _check_schedule(self, schedule: Schedule) -> None:
        """Raise ValueError for a schedule that this perturbation, or this world, cannot follow."""
        if schedule.kind == "ramp" and (self.event or not self.gradual):
            raise ValueError(
                f"{self.name} cannot come gradually: use a step, every: or hazard: instead of a "
                "ramp"
            )
        limit = self.world.max_episode_steps
        counts_steps = schedule.kind in ("at", "every", "ramp")
        if counts_steps and limit is not None and schedule.start >= limit:
            raise ValueError(
                f"it would start at step {schedule.start:g}, but episodes end after {limit}"
            )

    def no_target(self) -> None:
        """Raise ValueError if a target was named."""
        if self.target:
            raise ValueError(f"{self.name} takes no target, got {self.target!r}")


def pick(target: str, names: Mapping[str, T], kind: str) -> list[T]:
    """The entries of names that target, `a` or `a+b`, calls for; all of them if it is empty."""
    if not target:
        return list(names.values())
    parts = target.split("+")
    for part in parts:
        if part not in names:
            raise ValueError(f"no {kind} called {part!r}; {suggestion(part, names)}")
    return [names[part] for part in parts]


def columns(rows: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An index of an array [N, ids, ...] that selects [rows, ids, ...]."""
    # [n, 1] and [1, k] are broadcast to all n x k pairs.
    return rows[:, None], ids[None, :]
