"""A perturbation in words: `NAME[:TARGET]=VALUE[@SCHEDULE]`, or the dataclass that it stands for.

gravity=0.5
    from the start of every episode
mass:torso=2@300
    from step 300 of the episode
friction=0.2@ramp:100-300
    grows linearly from step 100 to step 300
gear:bthigh=-1@every:200
    200 steps off, 200 on, and so on
lock:bthigh@hazard:0.005
    once a step with this probability, then to the end of the episode
gear=-1@life:50000
    from step 50,000 of the row's life on, in whatever episode that is
gear=0.5..1.5
    drawn uniformly, for each episode and row
length:bshin+bfoot=1|0.5
    one of these, drawn for each episode and row; both bodies get the same
"""

import math
import re
from dataclasses import dataclass, field

import numpy as np

from bio_rl.discovery import suggestion

GRAMMAR = "NAME[:TARGET]=VALUE[@SCHEDULE], as in gravity=0.5 or mass:torso=2@300"
SCHEDULES = ("STEP", "every:STEPS", "ramp:FROM-TO", "hazard:PROBABILITY", "life:STEP")
NAMED = tuple(form.partition(":")[0] for form in SCHEDULES[1:])
"""The schedules that have a name; "at" is the one without."""
KINDS = ("at", *NAMED)


@dataclass(frozen=True)
class Value:
    """A number that is drawn anew for each episode and row; one that is fixed has equal bounds."""

    low: float
    """The least value."""
    high: float
    """The greatest value."""
    among: tuple[float, ...] = ()
    """Values that are drawn from instead, each as likely, if there are any."""

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to draw."""
        return self.low == self.high

    def draw(self, rng: np.random.Generator, whole: bool) -> float:
        """One draw; whole: integers only. A fixed value draws nothing from rng."""
        if self.fixed:
            return self.low
        if self.among:
            return self.among[rng.integers(len(self.among))]
        if whole:
            return float(rng.integers(int(self.low), int(self.high) + 1))
        return rng.uniform(self.low, self.high)

    def __str__(self) -> str:
        if self.among:
            return "|".join(f"{x:g}" for x in self.among)
        return f"{self.low:g}" if self.fixed else f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Schedule:
    """When a perturbation acts, counted in steps of the episode; "life" counts all steps since the
    last seed was given.
    """

    kind: str = "at"
    """One of at, every, ramp, hazard and life."""
    start: float = 0
    """The first step (at, ramp, life), the steps of a half cycle (every), or the probability per
    step (hazard).
    """
    stop: float = 0
    """Step at which a ramp has reached its value."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"schedule {self.kind!r}; known: {', '.join(SCHEDULES)}")
        if self.kind == "hazard":
            self._check_probability()
        else:
            self._check_steps()

    def _check_probability(self) -> None:
        if not 0 < self.start <= 1:
            raise ValueError(
                f"hazard is {self.start:g}, expected a probability per step, above 0 and at most 1"
            )

    def _check_steps(self) -> None:
        least = 1 if self.kind == "every" else 0
        if self.start != int(self.start) or self.start < least:
            raise ValueError(
                f"schedule {self.kind} starts at {self.start:g}, expected a whole number of steps"
            )
        if self.kind == "ramp" and not self.start < self.stop < math.inf:
            raise ValueError(
                f"ramp:{self.start:g}-{self.stop:g}, expected FROM-TO with TO the later step"
            )

    def __str__(self) -> str:
        match self.kind:
            case "at":
                return f"@{self.start:g}" if self.start else ""
            case "ramp":
                return f"@ramp:{self.start:g}-{self.stop:g}"
        return f"@{self.kind}:{self.start:g}"


@dataclass(frozen=True)
class Perturbation:
    """One perturbation: what, of which part, by how much and when. `str` gives its text."""

    name: str
    """The kind of perturbation, as docs/perturbations.md lists them."""
    value: Value | float | None = None
    """Factor of the nominal value, or an amount in the perturbation's own unit; None for its
    default.
    """
    target: str = ""
    """Body, joint, actuator, geom or channel; several with `+`; empty for all, where that makes
    sense.
    """
    schedule: Schedule = field(default_factory=Schedule)
    """When it acts; by default always."""

    def __str__(self) -> str:
        target = f":{self.target}" if self.target else ""
        if self.value is None:
            return f"{self.name}{target}{self.schedule}"
        value = self.value if isinstance(self.value, Value) else f"{self.value:g}"

        return f"{self.name}{target}={value}{self.schedule}"


def parse(text: str | Perturbation) -> Perturbation:
    """The perturbation that `text` stands for. Raises ValueError that quotes it and says what was
    expected.
    """
    if isinstance(text, Perturbation):
        return text
    what, at, when = str(text).partition("@")
    part, equals, amount = what.partition("=")
    name, colon, target = part.partition(":")
    name = name.strip()
    target = target.strip()

    # A sign without what should follow it is a slip, not a default.
    loose = (colon and not target, equals and not amount.strip(), at and not when.strip())
    if not name or any(loose):
        raise ValueError(f"perturbation {text!r} is incomplete, expected {GRAMMAR}")
    try:
        value = parse_value(amount) if equals else None
        return Perturbation(name, value, target, parse_schedule(when.strip()))
    except ValueError as error:
        raise ValueError(f"perturbation {text!r}: {error}") from error


def parse_value(text: str) -> Value:
    """The value that `2`, `0.5..1.5` or `1|0.5|0` stands for."""
    if "|" in text:
        among = tuple(_number(part) for part in text.split("|"))
        return Value(min(among), max(among), among)
    first, dots, last = text.partition("..")
    low = _number(first)
    high = _number(last) if dots else low
    if low > high:
        raise ValueError(f"value {text.strip()}: the lower bound comes first")

    return Value(low, high)


def parse_schedule(text: str) -> Schedule:
    """The schedule that stands after the `@`; an empty one is the start of the episode."""
    if not text:
        return Schedule()
    kind, colon, rest = text.partition(":")
    if not colon:
        return Schedule("at", _number(kind))
    if kind not in NAMED:
        raise ValueError(
            f"no schedule called {kind!r}; {suggestion(kind, NAMED)}, or a plain step number"
        )
    if kind != "ramp":
        return Schedule(kind, _number(rest))
    match = re.fullmatch(r"(\d+)-(\d+)", rest.strip())
    if not match:
        raise ValueError(f"ramp:{rest}, expected ramp:FROM-TO in steps, as in ramp:100-300")
    return Schedule(kind, float(match[1]), float(match[2]))


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(
            f"{text.strip()!r} is no number; a value is one number, LOW..HIGH, or A|B|C"
        ) from None
    if not math.isfinite(value):
        raise ValueError(f"{text.strip()} is not finite")
    return value
