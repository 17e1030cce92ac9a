"""Pavlov-v0: cues that foretell a drop or do not, in the protocols that the dopamine signal is
known from.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np

from bio_rl.discovery import suggestion
from bio_rl.vector.infos import Info
from bio_rl.vector.single import SingleEnv
from bio_rl.vector.trials import Drawn, Periods, Policy, TrialVectorEnv

ENV_IDS = {
    "bio_rl/Pavlov-v0": {
        "entry_point": ":make",
        "vector_entry_point": ":Pavlov",
        "max_episode_steps": 840,
    }
}

LICK = 0.1  # cost of a lick
CUES = "ABXY"


class Kind(NamedTuple):
    """A kind of trial."""

    late: str
    """The cues, letters of CUES, whose end is the moment of the US."""
    p_us: float
    """Probability that it comes."""
    early: str = ""
    """Cues that come before those, for as long; none: the late ones follow the interval between
    trials.
    """


PHASES = {
    "acquisition": (Kind("A", 1.0), Kind("B", 0.0)),
    "omission": (Kind("A", 0.75), Kind("B", 0.0)),
    "extinction": (Kind("A", 0.0), Kind("B", 0.0)),
    # X adds nothing to what A foretells, Y does (Waelti et al. 2001).
    "blocking": (Kind("AX", 1.0), Kind("BY", 1.0)),
    # It shows what was learned of each cue in blocking or second_order.
    "probe": (Kind("X", 0.0), Kind("Y", 0.0)),
    "second_order": (Kind("A", 0.0, early="X"), Kind("B", 0.0, early="Y")),
}
"""Name of a phase to its two kinds of trial, each half of the trials."""


class Pavlov(TrialVectorEnv):
    """Lick at the moment when a drop falls, the end of a cue that foretells one, and at no other:
    each lick costs 0.1.

    A trial is up to four periods: `iti`, nothing is shown; `early`, in second-order trials only,
    the cues that foretell cues, on for `interval` ms; `late`, the cues (conditioned stimuli, CS),
    on for `interval` ms; `outcome`, the cues are off and the drop (unconditioned stimulus, US),
    where there is one, is seen for `us` ms, caught or not. The drop falls between the last step of
    `late` and the first of `outcome`: the lick that catches it is the action of that last `late`
    step, in answer to an observation that does not show it yet. The reward thus arrives together
    with the first observation of the US, and by foreseeing alone: a lick at the sight of the US is
    too late. Reward: 1 for a drop caught, less 0.1 for every lick.

    Observations, float32 [N, 5]: the cues A, B, X, Y and the US, 1 while on. Actions, int [N]: none
    (0), lick (1). Phases (see PHASES) follow one another within an episode and share its trials
    evenly; nothing shows where one ends. The ideal observer knows the protocol and counts trials
    and steps: it licks at the last step of cues after which a drop is worth more than the lick.
    With the default phase, a policy without memory can at best lick throughout A (0.5 a drop).
    Schultz, Dayan & Montague 1997, Science 275; Waelti, Dickinson & Schultz 2001, Nature 412 (the
    design with A, B, X, Y).
    """

    # both exact. random: half of 20 drops, less 0.05 in each of 40 x 12 steps; ideal: 20 drops, 0.9
    # each
    metadata: ClassVar[dict[str, Any]] = {
        **TrialVectorEnv.metadata,
        "channels": (*(f"cue {cue}" for cue in CUES), "drop"),
        "actions": ("wait", "lick"),
        "reference": {"random": -14.0, "ideal": 18.0},
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        phases: Sequence[str] = ("acquisition",),
        trials: int = 40,
        dt: float = 200.0,
        iti: float | tuple[float, float] = (400.0, 2000.0),
        interval: float = 1000.0,
        us: float = 200.0,
        **kwargs: Any,
    ) -> None:
        """phases: names of PHASES, in order. trials: of all of them. dt, iti (a pair: uniform),
        interval and us in ms.
        """
        _check(phases, trials)
        super().__init__(num_envs, trials=trials, **kwargs)

        self.kinds = [kind for name in phases for kind in PHASES[name]]
        self.phase_of_trial = np.arange(trials) * len(phases) // trials
        self.periods = Periods(dt, iti=iti, early=interval, late=interval, outcome=us)
        self.steps = int(self.periods.low[self.periods.at("late")])

        self.p_us = np.array([kind.p_us for kind in self.kinds])
        self.has_early = np.array([bool(kind.early) for kind in self.kinds])

        # Cues that are on, [kinds, periods, cues].
        self.shown = np.array([cues_of_periods(kind) for kind in self.kinds], np.float32)
        space = gym.spaces.Box(0.0, 1.0, (len(CUES) + 1,), np.float32)
        self.metadata["dt"] = dt / 1000
        self.set_spaces(space, gym.spaces.Discrete(2))

    def draw(self, rng: np.random.Generator) -> Drawn:
        """kind [trials]: index of `kinds`; us [trials]: whether the US comes; ends [trials, 4]: of
        the periods.
        """
        half, luck = rng.random((2, self.trials))

        # A phase has two kinds, one after the other in the list.
        kind = 2 * self.phase_of_trial + (half < 0.5)
        ends = self.periods.draw(rng, self.trials)

        # Without early cues the late ones come sooner by that period's length.
        sooner = self.steps * ~self.has_early[kind]
        ends[:, 1:] -= sooner[:, None]

        return {"kind": kind, "us": luck < self.p_us[kind], "ends": ends}

    def react(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, Info]:
        """Charge every lick, and pay the one that catches the drop."""
        licks = actions == 1
        ends = self.now("ends")
        made = self.t + 1
        falls = self.now("us") & (made == ends[:, self.periods.at("late")])
        over = made == ends[:, -1]

        caught = falls & licks
        return caught - LICK * licks, over, {}

    def sense(self) -> np.ndarray:
        """The cues and the US."""
        ends = self.now("ends")
        phase = self.periods.phase(self.t, ends)
        cues = self.shown[self.now("kind"), phase]

        outcome = phase == self.periods.at("outcome")
        us = self.now("us") & outcome
        return np.column_stack((cues, us.astype(np.float32)))

    def ideal(self) -> Policy:
        """A lick at the right moment after the cues that are worth it."""
        phases = len(self.kinds) // 2
        sets = 2 ** len(CUES)
        worth = np.zeros((phases, sets), bool)
        for i, kind in enumerate(self.kinds):
            phase = i // 2
            cue_set = sum(2 ** CUES.index(cue) for cue in kind.late)
            worth[phase, cue_set] = kind.p_us > LICK
        worth_of_trial = worth[self.phase_of_trial]
        return timed_licks(worth_of_trial, self.steps)


def _check(phases: Sequence[str], trials: int) -> None:
    """Raise ValueError for phases that do not exist or do not fit into the trials."""
    for name in phases:
        if name not in PHASES:
            raise ValueError(f"phases has {name!r}, {suggestion(name, PHASES)}")
    if not 1 <= len(phases) <= trials:
        raise ValueError(
            f"phases has {len(phases)} names, expected 1 to trials = {trials}: a phase has at "
            "least one trial"
        )


def cues_of_periods(kind: Kind) -> list[list[bool]]:
    """Whether each cue is on in each of the four periods of a trial."""
    periods = ("", kind.early, kind.late, "")
    shown = []
    for letters in periods:
        shown.append([cue in letters for cue in CUES])
    return shown


def timed_licks(worth: np.ndarray, steps: int) -> Policy:
    """A lick at the last of the steps that a set of cues is on, if worth [trials, sets] says so.

    A set of cues is a number, the sum of 2^i over its cues i.
    """
    trial = last = since = np.zeros(0, np.int64)
    powers = 2.0 ** np.arange(len(CUES))

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        nonlocal trial, last, since
        if len(last) != len(obs):
            trial, last, since = np.zeros((3, len(obs)), np.int64)
        cues = (obs[:, : len(CUES)] @ powers).astype(np.int64)

        cues_ended = (last > 0) & (cues == 0)
        trial = np.where(begun, 0, trial + cues_ended)
        changed = begun | (cues != last)
        since = np.where(changed, 0, since + 1)
        last = cues

        present = np.minimum(trial, len(worth) - 1)
        licks = worth[present, cues] & (since == steps - 1)

        return licks.astype(np.int64)

    return policy


make = partial(SingleEnv, Pavlov)
