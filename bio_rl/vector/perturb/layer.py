"""The perturbations of one world: when each acts, in which row, and in which order they meet."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bio_rl.discovery import suggestion
from bio_rl.vector.perturb.effect import Effect, Fields
from bio_rl.vector.perturb.text import Perturbation, Schedule, parse
from bio_rl.vector.perturb.world import World

Kinds = Mapping[str, type[Effect]]
Perturb = str | Perturbation | Sequence[str | Perturbation]
Settle = Callable[[np.ndarray], object]
"""Called with rows, int [n], after their fields were written; what it returns is not used."""


class Layer:
    """Called by `NativeVectorEnv` around the hooks of its world. Rows never mix, and each draws
    from its own generator.

    fields: {name: [N, ...]}, what perturbations may write, live arrays of the world. nominal:
    {name: [...]}, their values in an unperturbed row. After every change the rows concerned are
    written anew from the nominal values, so that undoing a perturbation leaves exactly those.
    """

    def __init__(self, world: World, perturb: Perturb, kinds: Kinds) -> None:
        """perturb: texts or `Perturbation`s. kinds: what this world offers. Raises ValueError for
        what cannot act on it.
        """
        specs = [parse(text) for text in as_list(perturb)]
        self.world = world
        self.effects = [_effect(world, spec, kinds) for spec in specs]
        _check_pairs(specs)
        self.fields: Fields = {}
        self.nominal: Fields = {}
        self._settle: Settle | None = None
        writers = [e for e in self.effects if e.writes]
        self._writers = sorted(writers, key=lambda e: e.order)
        self._timed = [e for e in self.effects if e.event or e.schedule != Schedule()]
        self.lived = np.zeros(world.num_envs, np.int64)
        """Steps of every row since a seed was given."""

    @property
    def writes(self) -> tuple[str, ...]:
        """Names of all fields that some perturbation writes."""
        names = [name for e in self._writers for name in e.writes]
        return tuple(dict.fromkeys(names))

    def attach(self, fields: Fields, nominal: Fields, settle: Settle | None = None) -> None:
        """Give the arrays that `writes` names. settle(rows): what the world does after rows have
        been written.
        """
        self.fields = fields
        self.nominal = nominal
        self._settle = settle

    # called by the world

    def born(self, rows: np.ndarray) -> None:
        """Begin the lives of rows, int [n], which have received a seed."""
        self.lived[rows] = 0

    def begin(self, rows: np.ndarray) -> None:
        """Draw what the new episodes of rows, int [n], will meet, and apply what acts from their
        start.
        """
        # Rows whose fields are still written for the episodes that ended.
        stale = np.zeros(self.world.num_envs, np.bool_)
        for e in self.effects:
            if e.writes:
                stale[rows] |= e.amount[rows] != e.neutral
            for i in rows.tolist():
                e.value[i] = e.range.draw(self.world.rngs[i], e.whole)
            e.amount[rows] = e.neutral
            e.fired[rows] = False
            e.begin(rows)
        start = np.zeros(len(rows), np.int64)
        self._update(self.effects, rows, start, stale)

    def advance(self, actions: np.ndarray, begun: np.ndarray | None) -> np.ndarray:
        """The actions [N, ...] that reach the actuators in the step to be made now.

        begun, bool [N]: rows that are left out.
        """
        n = len(actions)
        rows = np.arange(n) if begun is None else np.flatnonzero(~begun)
        self._strike(rows)
        # Steps count from 0, and elapsed counts the present one already.
        now = self.world.elapsed[rows] - 1
        self._update(self._timed, rows, now, np.zeros(n, np.bool_))
        self.lived[rows] += 1
        for e in self.effects:
            e.release(rows)
        for e in self.effects:
            stale = e.move(rows)
            if stale is not None:
                self.rewrite(stale)
            actions = e.act(actions, rows)
        return actions

    def observe(self, obs: np.ndarray, rows: slice | np.ndarray) -> np.ndarray:
        """The sensors' readings of obs, [n, D]."""
        numbers = np.arange(self.world.num_envs)[rows]
        fresh = self.world.elapsed[numbers] == 0
        for e in self.effects:
            obs = e.observe(obs, numbers, fresh)

        return obs

    def info(self, rows: slice | np.ndarray) -> dict[str, np.ndarray]:
        """perturbed, bool [n]: whether any perturbation acts in the row."""
        # [effects, n]
        acting = [e.amount[rows] != e.neutral for e in self.effects]
        return {"perturbed": np.any(acting, axis=0)}

    def state(self) -> dict[str, np.ndarray]:
        """Arrays [N, ...] from which `load` continues."""
        state = {"perturb/lived": self.lived}
        for k, e in enumerate(self.effects):
            state |= {f"perturb/{k}/{name}": x for name, x in e.state().items()}
        return state

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from `state()`: schedules, buffers and, written anew, the fields."""
        self.lived = np.array(state["perturb/lived"])
        for k, e in enumerate(self.effects):
            e.load({name: state[f"perturb/{k}/{name}"] for name in e.state()})
        self.rewrite(np.arange(self.world.num_envs))

    def rewrite(self, rows: np.ndarray) -> None:
        """Write the fields of rows, int [n], anew from their nominal values."""
        for name, array in self.fields.items():
            array[rows] = self.nominal[name]
        for e in self._writers:
            e.write(self.fields, rows)
        if self._settle is not None:
            self._settle(rows)

    # steps of the methods above

    def _strike(self, rows: np.ndarray) -> None:
        """Let chance decide where hazards begin."""
        for e in self._timed:
            if e.schedule.kind != "hazard":
                continue
            for i in rows.tolist():
                # What stays on is not drawn for again, so that the generator's course is short.
                if e.event or not e.fired[i]:
                    e.fired[i] = self.world.rngs[i].random() < e.schedule.start

    def _update(
        self, effects: list[Effect], rows: np.ndarray, t: np.ndarray, stale: np.ndarray
    ) -> None:
        """Bring amounts to step t [n] of the episodes of rows, and write the fields anew there or
        where stale, bool [N].
        """
        for e in effects:
            before = e.amount[rows]
            now = amount(e, rows, t, self.lived[rows])
            new = now != before
            if new.any():
                e.amount[rows] = now
                e.changed(rows[new], before[new])
                if e.writes:
                    stale[rows[new]] = True
        if stale.any():
            self.rewrite(np.flatnonzero(stale))


def amount(e: Effect, rows: np.ndarray, t: np.ndarray, lived: np.ndarray) -> np.ndarray:
    """The amount [n] that rows, int [n], shall have at step t [n] of their episodes."""
    on = strength(e, t, lived, e.fired[rows])
    value = e.value[rows]
    # Where it is fully on it is the value itself: e.neutral + (value - e.neutral) may round.
    return np.where(on == 1.0, value, e.neutral + on * (value - e.neutral))


def strength(e: Effect, t: np.ndarray, lived: np.ndarray, fired: np.ndarray) -> np.ndarray:
    """How far an effect is on, from 0 to 1, [n], at step t of the episode, `lived` of the life;
    fired: chance has struck.
    """
    s = e.schedule
    if s.kind == "ramp":
        return np.clip((t - s.start) / (s.stop - s.start), 0.0, 1.0)
    clock = lived if s.kind == "life" else t
    if s.kind == "hazard":
        on = fired
    elif e.event:
        on = _strikes(s, clock)
    elif s.kind == "every":
        on = t // s.start % 2 == 1  # off, on, off, on, ...
    else:
        on = clock >= s.start
    return on.astype(np.float64)


def _strikes(s: Schedule, clock: np.ndarray) -> np.ndarray:
    """Whether something that is over at once happens at these steps, bool [n]."""
    if s.kind == "every":
        return (clock > 0) & (clock % s.start == 0)
    return clock == s.start


def as_list(perturb: Perturb) -> list[str | Perturbation]:
    """The perturbations one by one."""
    return [perturb] if isinstance(perturb, str | Perturbation) else list(perturb)


def _effect(world: World, spec: Perturbation, kinds: Kinds) -> Effect:
    if spec.name not in kinds:
        raise ValueError(
            f"no perturbation called {spec.name!r} for {type(world).__name__}; "
            f"{suggestion(spec.name, kinds)}"
        )
    try:
        return kinds[spec.name](world, spec)
    except ValueError as error:
        raise ValueError(f"perturbation '{spec}': {error}") from error


def _check_pairs(specs: list[Perturbation]) -> None:
    """Raise ValueError for two that set the same thing; those that scale it multiply."""
    owners: dict[tuple[str, str], Perturbation] = {}
    for spec in specs:
        if spec.name not in ("lock", "length"):
            continue
        for part in spec.target.split("+"):
            other = owners.setdefault((spec.name, part), spec)
            if other is not spec:
                raise ValueError(
                    f"perturbations '{other}' and '{spec}' cannot be combined: both set the "
                    f"{spec.name} of {part!r}"
                )
