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


def activity_report(probe: Probe, batch: int, steady: float = 0.0) -> dict[str, Tensor]:
    """Scalars by name from what `probe` collected of a decision of `batch` rows. steady: operations
    of neurons and codes, as `Agent.steady_operations` has them.

    spikes/LAYER_FIGURE: how the neurons of a layer fire (`homeostat.activity`).
    energy/FIGURE: what a decision of one row takes (`energy.operations`), and in all, energy/total.
    """
    report: dict[str, Tensor] = {}
    for layer, records in probe.records.items():
        if layer.startswith(SPIKES):
            figures = activity(records[-1])._asdict()
            report |= {f"{layer}_{name}": figure for name, figure in figures.items()}
    # Several decisions may be recorded: the operations are those of the last, as the spikes are.
    counts = operations(probe, batch)
    report["energy/total"] = counts.acs + counts.macs + steady
    return report | {f"energy/{name}": count for name, count in counts._asdict().items()}


class ActivityReport:
    """The figures of `activity_report`, worked out when the first of them is read.

    decide: makes a decision of `batch` rows under the probe that it gets.
    """

    def __init__(self, decide: Callable[[Probe], object], batch: int, steady: float = 0.0) -> None:
        self.decide = decide
        self.batch = batch
        self.steady = steady
        self.figures: dict[str, Tensor] = {}

    @torch.no_grad()
    def all(self) -> dict[str, Tensor]:
        """Every figure by name."""
        if not self.figures:
            probe = Probe()
            self.decide(probe)
            self.figures = activity_report(probe, self.batch, self.steady)
        return self.figures

    def figure(self, name: str) -> Tensor:
        """The figure called `name`."""
        return self.all()[name]
