"""Reports of what a network does in a decision: how its neurons fire, and what it computes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bio_rl.codes.homeostat import activity
from bio_rl.contracts import Probe
from bio_rl.energy import operations

SPIKES = "spikes/"
"""Beginning of the names under which networks record the spikes of their layers."""


def activity_report(probe: Probe, batch: int) -> dict[str, Tensor]:
    """Scalars by name from what `probe` collected of a decision of `batch` rows.

    spikes/LAYER_FIGURE: how the neurons of a layer fire (`homeostat.activity`).
    energy/FIGURE: what a decision of one row takes (`energy.operations`).
    """
    report: dict[str, Tensor] = {}
    for layer, records in probe.records.items():
        if layer.startswith(SPIKES):
            figures = activity(records[-1])._asdict()
            report |= {f"{layer}_{name}": figure for name, figure in figures.items()}
    # Several decisions may be recorded: the operations are those of the last, as the spikes are.
    counts = operations(probe, batch)._asdict()
    return report | {f"energy/{name}": count for name, count in counts.items()}


class ActivityReport:
    """The figures of `activity_report`, worked out when the first of them is read.

    decide: makes a decision of `batch` rows under the probe that it gets.
    """

    def __init__(self, decide: Callable[[Probe], object], batch: int) -> None:
        self.decide = decide
        self.batch = batch
        self.figures: dict[str, Tensor] = {}

    @torch.no_grad()
    def all(self) -> dict[str, Tensor]:
        """Every figure by name."""
        if not self.figures:
            probe = Probe()
            self.decide(probe)
            self.figures = activity_report(probe, self.batch)
        return self.figures

    def figure(self, name: str) -> Tensor:
        """The figure called `name`."""
        return self.all()[name]
