"""The record of what a brain did, decision by decision, and what it is made of.

edges        0       1       2       3     D + 1 moments, D decisions between them
decisions    |   0   |   1   |   2   |
observation  o_0     o_1     o_2           seen at the edge at which a decision begins
reward               r_0     r_1     r_2   comes at the edge at which it ends, as dopamine does
ticks        0 … K-1 | K …                 K to a decision, in the network's own time
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bio_rl.contracts import Probe
from bio_rl.vector.labels import Names

TICK = 1.0
"""ms of the network's own time in a tick."""
NAMELESS = Names((), ())
"""The names of a world that nobody asked for its words."""


@dataclass(frozen=True)
class Recording:
    """A record of a brain in the first environment, decision by decision: D of them."""

    probe: Probe
    """Reports of the network in all D decisions, of all rows."""
    actions: np.ndarray
    """[D, A], or [D, 1] for choices: as the world received them, within its bounds."""
    rewards: np.ndarray
    """[D]."""
    terminated: np.ndarray
    """[D] bool, the episode ended by itself with this decision."""
    truncated: np.ndarray
    """[D] bool, a time limit cut it."""
    reported: Mapping[str, np.ndarray] = field(default_factory=dict)
    """[D] by name what `update` reported after each decision, where it learned; else dopamine/value
    alone, of a brain that has a critic. NaN where there was no such report.
    """
    first: int = 0
    """Number of decisions that its life had before these."""
    observations: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    """[D, channels], flattened; each is what the decision was taken on."""
    begins: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    """[D] bool, the decision is the first of an episode."""
    infos: Mapping[str, np.ndarray] = field(default_factory=dict)
    """[D] or [D, n] by name the numbers in what the world tells beside an observation, after each
    decision. NaN where it told none.
    """
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    """[S, ...] by name the weights that learning changes, at the edges `weights_at`; empty where it
    did not learn.
    """
    weights_at: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    """[S] edges."""
    names: Names = NAMELESS
    """The world's words for its channels and actions, and the seconds of a decision."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Facts about the run: env, agent, network, steps, seed, learn, version."""

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def size(self) -> str:
        """Its length, in words."""
        episodes = int(self.episode[-1]) + 1 if len(self) else 0
        parts = [f"{len(self):,} decisions", f"{episodes} episode{'s' * (episodes != 1)}"]
        if self.layers:
            layers = f"{self.layers} spiking layer{'s' * (self.layers != 1)}"
            parts.append(f"{layers}, {self.ticks} ticks a decision")
        return ", ".join(parts)

    def summary(self) -> str:
        """Its length and the names of what it has, in a line."""
        return f"{self.size}; {', '.join([*self.series_names, *self.weights])}"

    def __repr__(self) -> str:
        which = [str(self.about[key]) for key in ("env", "agent", "network") if key in self.about]
        return f"<Recording {' · '.join([*which, self.summary()])}>"

    # ---------------------------------- the network's ticks

    def train(self, name: str) -> np.ndarray:
        """A record of the first row with all ticks in one row, [D·K, N]; what is held for a
        decision is repeated K times.
        """
        # [K, B, N] of each decision, or [1, B, N] of what is held for all of its ticks.
        rows = [x[:, 0].cpu().numpy() for x in self.probe.records[name]]
        held = [np.repeat(x, self.ticks, 0) if len(x) == 1 else x for x in rows]
        return np.concatenate(held)

    @property
    def ticks(self) -> int:
        """K; 1 for a network without spikes."""
        if not self.layers:
            return 1
        return len(self.probe.records["spikes/1"][0])

    @property
    def layers(self) -> int:
        """The number of layers that spiked; 0 for a network of other units."""
        return sum(name.startswith("spikes/") for name in self.probe.records)

    # ---------------------------------- both clocks

    @property
    def network_ms(self) -> np.ndarray:
        """[D + 1] ms of the network's own time at each edge; a decision without ticks takes none
        of it.
        """
        ticks = self.ticks if self.layers else 0
        return TICK * ticks * np.arange(len(self) + 1)

    @property
    def world_s(self) -> np.ndarray:
        """[D + 1] s of the world's time at each edge, from the first decision on; NaN where the
        world knows no such time.
        """
        dt = np.nan if self.names.dt is None else self.names.dt
        return dt * np.arange(len(self) + 1)

    # ---------------------------------- events

    @property
    def ended(self) -> np.ndarray:
        """[D] bool, the episode ended with this decision."""
        return self.terminated | self.truncated

    @cached_property
    def episode(self) -> np.ndarray:
        """[D] the number of the episode that a decision belongs to, from 0."""
        return np.concatenate([[0], np.cumsum(self.ended)[:-1]]).astype(int)

    def events(self, name: str) -> np.ndarray:
        """Edges at which something happened, in their order: `start` and `end` of an episode
        (`terminated`, `truncated`), `reward` (above zero), or where the channel or info of this
        name, or one whose first word it is, rises above zero: "cue A", "cue".

        Raises ValueError for a name that nothing has; see `event_names`.
        """
        from bio_rl.training.recording import align

        return align.events(self, name)

    @property
    def event_names(self) -> tuple[str, ...]:
        """The names that `events` takes, without first words."""
        from bio_rl.training.recording import align

        return align.event_names(self)

    @property
    def series_names(self) -> tuple[str, ...]:
        """The names that `series` and `around` take, without channels and short forms."""
        from bio_rl.training.recording import align

        return align.series_names(self)

    def series(self, name: str) -> np.ndarray:
        """The values of a name, [D] or [D, n]; of ticks [D·K, N]. `dopamine`, `value` and
        `eligibility` are short for what an agent reports; channels have their names.

        Raises ValueError for a name that nothing has.
        """
        from bio_rl.training.recording import align

        return align.series(self, name).values

    def around(self, name: str, at: np.ndarray, before: int, after: int) -> np.ndarray:
        """The values of `name` around events: [events, before + after, ...], an entry a decision;
        of ticks K entries a decision. `at` are edges, as `events` gives them.

        Entry `before` is what the event brought: the observation at this edge, the decision and
        the spikes that answer it, and the reward, the dopamine and the infos that came with it. NaN
        beyond the record; episodes follow each other in it, as in the brain's life.
        """
        from bio_rl.training.recording import align

        return align.around(self, name, at, before, after)

    # ---------------------------------- files

    def save(self, path: str | Path) -> Path:
        """Write it to a file that ends in .npz, .csv or .nwb (which needs the extra `nwb`)."""
        from bio_rl.training.recording import files

        return files.save(self, path)

    def to_neo(self) -> Any:
        """It as a `neo.Block`; needs the extra `neo`."""
        from bio_rl.training.recording import neo

        return neo.block(self)
