"""What every perturbation at work shares: this episode's value, the amount now, and the hooks
through which it acts.
"""

import math
from typing import Any, ClassVar

import numpy as np

from bio_rl.discovery import suggestion
from bio_rl.vector.perturb.text import Perturbation, Schedule, Value

Fields = dict[str, np.ndarray]


class Effect:
    """A perturbation of N rows. Where `amount` [N] is `neutral` nothing is changed; a schedule
    moves it towards `value` [N].

    A subclass says what it accepts, finds its target in the constructor (raising ValueError where
    it cannot act), and gives one or more of the hooks.
    """

    neutral: ClassVar[float] = 1.0
    """The amount that changes nothing: 1 for factors, 0 for what is added."""
    default: ClassVar[float | None] = None
    """The value where none is given; None where one has to be."""
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    """Least and greatest value."""
    whole: ClassVar[bool] = False
    """Only integers."""
    gradual: ClassVar[bool] = True
    """Amounts between neutral and value mean something, so that it can be ramped."""
    event: ClassVar[bool] = False
    """Acts in single steps and then is over, instead of staying on."""
    order: ClassVar[int] = 1
    """Fields are written in this order: what replaces (0) before what scales (1)."""

    def __init__(self, world: Any, asked: Perturbation) -> None:
        """world: the `NativeVectorEnv` that is perturbed."""
        self.world, self.name, self.target, self.schedule = (
            world,
            asked.name,
            asked.target,
            asked.schedule,
        )
        self.writes: tuple[str, ...] = ()
        """Names of the fields that `write` changes."""
        self.range = self._accepted(asked.value)
        self._check_schedule(self.schedule)
        n = world.num_envs
        self.value, self.amount = np.full(n, self.neutral), np.full(n, self.neutral)
        self.fired = np.zeros(n, np.bool_)

    # hooks

    def begin(self, rows: np.ndarray) -> None:
        """New episodes in rows, int [n], whose start states stand; draws from `world._rngs[i]`."""

    def changed(self, rows: np.ndarray, before: np.ndarray) -> None:
        """`amount` of rows, int [n], has become another than before, [n]; called ahead of `write`."""

    def write(self, fields: Fields, rows: np.ndarray) -> None:
        """Change fields {name: [N, ...]} in rows by `amount`; they hold nominal values and what
        came before in order.
        """

    def release(self, rows: np.ndarray) -> None:
        """Take back in rows, int [n], what `move` did for the last step."""

    def move(self, rows: np.ndarray) -> None:
        """The world is about to make a step in rows, int [n]."""

    def act(self, actions: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """What the actuators receive instead of actions [N, ...]; only rows, int [n], make the
        step.
        """
        return actions

    def observe(self, obs: np.ndarray, rows: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """What is sensed instead of obs [n, D] in rows, int [n]. fresh, bool [n]: the first
        observation of an episode.
        """
        return obs

    def state(self) -> dict[str, np.ndarray]:
        """All that lasts beyond a step, by attribute: arrays [N, ...]. `load` sets them."""
        return {"value": self.value, "amount": self.amount, "fired": self.fired}

    # checks of what was asked for

    def _accepted(self, value: Value | float | None) -> Value:
        if value is None:
            if self.default is None:
                raise ValueError(f"{self.name} needs a value, as in {self.name}=2")
            value = self.default
        value = value if isinstance(value, Value) else Value(float(value), float(value))
        low, high = self.bounds
        for x in (value.low, value.high, *value.among):
            if not (low <= x <= high and math.isfinite(x)) or (self.whole and x != int(x)):
                kind = "a whole number" if self.whole else "a number"
                least = "" if low == -math.inf else f" from {low:g}"
                most = "" if high == math.inf else f" to {high:g}" if least else f" up to {high:g}"
                raise ValueError(f"the value is {x:g}, expected {kind}{least}{most}")
        return value

    def _check_schedule(self, schedule: Schedule) -> None:
        if schedule.kind == "ramp" and (self.event or not self.gradual):
            raise ValueError(
                f"{self.name} cannot come gradually: use a step, every: or hazard: instead of a ramp"
            )
        limit = self.world.max_episode_steps
        if (
            schedule.kind in ("at", "every", "ramp")
            and limit is not None
            and schedule.start >= limit
        ):
            raise ValueError(
                f"it would start at step {schedule.start:g}, but episodes end after {limit}"
            )

    def no_target(self) -> None:
        """Raise ValueError where a target was named."""
        if self.target:
            raise ValueError(f"{self.name} takes no target, got {self.target!r}")


def pick(target: str, names: dict[str, Any], kind: str) -> list[Any]:
    """The entries of names that target, `a` or `a+b`, calls for; all of them for an empty target."""
    if not target:
        return list(names.values())
    for part in target.split("+"):
        if part not in names:
            raise ValueError(f"no {kind} called {part!r}; {suggestion(part, names)}")
    return [names[part] for part in target.split("+")]


def columns(rows: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An index of an array [N, ids, ...] that selects [rows, ids, ...]."""
    return rows[:, None], ids[None, :]
