"""The perturbations of one world: when each acts, in which row, and the order in which they meet."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bio_rl.discovery import suggestion
from bio_rl.vector.perturb.effect import Effect, Fields
from bio_rl.vector.perturb.text import Perturbation, Schedule, parse

Kinds = Mapping[str, type[Effect]]
Perturb = str | Perturbation | Sequence[str | Perturbation]


class Layer:
    """Called by `NativeVectorEnv` around the hooks of its world. Rows never mix, and each draws
    from its own generator.

    fields: {name: [N, ...]}, what perturbations may write, live arrays of the world. nominal:
    {name: [...]}, their values in an unperturbed row. After every change the rows concerned are
    written anew from the nominal values, so that undoing a perturbation leaves exactly those.
    """

    def __init__(self, world: Any, perturb: Perturb, kinds: Kinds) -> None:
        """perturb: texts or `Perturbation`s. kinds: what this world offers. Raises ValueError for
        what cannot act on it.
        """
        asked = [
            parse(p) for p in ([perturb] if isinstance(perturb, str | Perturbation) else perturb)
        ]
        self.world, self.effects = world, [_effect(world, p, kinds) for p in asked]
        _check_pairs(asked)
        self.fields: Fields = {}
        self.nominal: Fields = {}
        self._settle: Callable[[np.ndarray], None] = lambda rows: None
        self._writers = sorted((e for e in self.effects if e.writes), key=lambda e: e.order)
        self._timed = [e for e in self.effects if e.event or e.schedule != Schedule()]
        self.lived = np.zeros(world.num_envs, np.int64)  # steps of every row since a seed was given

    @property
    def writes(self) -> tuple[str, ...]:
        """Names of all fields that some perturbation writes."""
        return tuple(dict.fromkeys(name for e in self._writers for name in e.writes))

    def attach(
        self, fields: Fields, nominal: Fields, settle: Callable[[np.ndarray], None] | None = None
    ) -> None:
        """Give the arrays that `writes` names. settle(rows): what the world does after rows have
        been written.
        """
        self.fields, self.nominal = fields, nominal
        self._settle = settle or self._settle

    # called by the world

    def born(self, rows: np.ndarray) -> None:
        """Rows, int [n], received a seed: their lives begin."""
        self.lived[rows] = 0

    def begin(self, rows: np.ndarray) -> None:
        """Draw what the new episodes of rows, int [n], will meet, and apply what acts from their
        start.
        """
        stale = np.zeros(self.world.num_envs, np.bool_)  # still written for the episodes that ended
        for e in self.effects:
            stale[rows] |= bool(e.writes) & (e.amount[rows] != e.neutral)
            for i in rows.tolist():
                e.value[i] = e.range.draw(self.world._rngs[i], e.whole)
            e.amount[rows], e.fired[rows] = e.neutral, False
            e.begin(rows)
        self._update(self.effects, rows, np.zeros(len(rows), np.int64), stale)

    def advance(self, actions: np.ndarray, begun: np.ndarray | None) -> np.ndarray:
        """The actions [N, ...] that reach the actuators in the step to be made now. begun, bool
        [N]: rows left out.
        """
        rows = np.arange(len(actions)) if begun is None else np.flatnonzero(~begun)
        self._strike(rows)
        self._update(
            self._timed, rows, self.world._elapsed[rows] - 1, np.zeros(len(actions), np.bool_)
        )
        self.lived[rows] += 1
        for e in self.effects:
            e.release(rows)
        for e in self.effects:
            e.move(rows)
            actions = e.act(actions, rows)
        return actions

    def observe(self, obs: np.ndarray, rows: slice | np.ndarray) -> np.ndarray:
        """What the sensors tell of obs, [n, D]."""
        rows = np.arange(self.world.num_envs)[rows]
        fresh = self.world._elapsed[rows] == 0
        for e in self.effects:
            obs = e.observe(obs, rows, fresh)
        return obs

    def info(self, rows: slice | np.ndarray) -> dict[str, np.ndarray]:
        """perturbed, bool [n]: whether any perturbation acts in the row."""
        return {"perturbed": np.any([e.amount[rows] != e.neutral for e in self.effects], axis=0)}

    def state(self) -> dict[str, np.ndarray]:
        """Arrays [N, ...] from which `load` continues."""
        own = {
            f"perturb/{k}/{name}": x
            for k, e in enumerate(self.effects)
            for name, x in e.state().items()
        }
        return own | {"perturb/lived": self.lived}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from `state()`: schedules, buffers and, written anew, the fields."""
        self.lived = np.array(state["perturb/lived"])
        for k, e in enumerate(self.effects):
            for name in e.state():
                setattr(e, name, np.array(state[f"perturb/{k}/{name}"]))
        self.rewrite(np.arange(self.world.num_envs))

    # internals

    def _strike(self, rows: np.ndarray) -> None:
        """Let chance decide where hazards begin."""
        for e in self._timed:
            for i in rows.tolist() if e.schedule.kind == "hazard" else ():
                if e.event or not e.fired[i]:
                    e.fired[i] = self.world._rngs[i].random() < e.schedule.start

    def _update(
        self, effects: list[Effect], rows: np.ndarray, t: np.ndarray, stale: np.ndarray
    ) -> None:
        """Bring amounts to step t [n] of the episodes of rows, and write the fields anew there or
        where stale, bool [N].
        """
        for e in effects:
            on = strength(e, t, self.lived[rows], e.fired[rows])
            value, before = e.value[rows], e.amount[rows]
            now = np.where(on == 1.0, value, e.neutral + on * (value - e.neutral))
            new = now != before
            if new.any():
                e.amount[rows] = now
                e.changed(rows[new], before[new])
                stale[rows[new]] |= bool(e.writes)
        if stale.any():
            self.rewrite(np.flatnonzero(stale))

    def rewrite(self, rows: np.ndarray) -> None:
        """Write the fields of rows, int [n], anew from their nominal values."""
        for name, array in self.fields.items():
            array[rows] = self.nominal[name]
        for e in self._writers:
            e.write(self.fields, rows)
        self._settle(rows)


def strength(e: Effect, t: np.ndarray, lived: np.ndarray, fired: np.ndarray) -> np.ndarray:
    """How far an effect is on, from 0 to 1, [n], at step t of the episode, `lived` of the life;
    fired: chance has struck.
    """
    s = e.schedule
    if s.kind == "ramp":
        return np.clip((t - s.start) / (s.stop - s.start), 0.0, 1.0)
    if s.kind == "hazard":
        on = fired
    elif e.event:
        clock = lived if s.kind == "life" else t
        on = (clock > 0) & (clock % s.start == 0) if s.kind == "every" else clock == s.start
    elif s.kind == "every":
        on = t // s.start % 2 == 1
    else:
        on = (lived if s.kind == "life" else t) >= s.start
    return on.astype(np.float64)


def _effect(world: Any, asked: Perturbation, kinds: Kinds) -> Effect:
    if asked.name not in kinds:
        raise ValueError(
            f"no perturbation called {asked.name!r} for {type(world).__name__}; {suggestion(asked.name, kinds)}"
        )
    try:
        return kinds[asked.name](world, asked)
    except ValueError as error:
        raise ValueError(f"perturbation '{asked}': {error}") from error


def _check_pairs(asked: list[Perturbation]) -> None:
    """Two that set the same thing cannot both be on; those that scale it multiply."""
    seen: dict[tuple[str, str], Perturbation] = {}
    for p in asked:
        if p.name in ("lock", "length"):
            for part in p.target.split("+"):
                other = seen.setdefault((p.name, part), p)
                if other is not p:
                    raise ValueError(
                        f"perturbations '{other}' and '{p}' cannot be combined: both set the {p.name} of {part!r}"
                    )
