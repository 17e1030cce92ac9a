"""The table of `eval --energy`: a policy's cost beside that of MLPs for the same task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bio_rl.energy import TABLES, Counts, crossover, joules
from bio_rl.energy.yan import bits
from bio_rl.machine import power
from bio_rl.networks import Blueprint
from bio_rl.training import api, metering
from bio_rl.training.metering import Metered

ROWS: tuple[tuple[str, Callable[[Counts], float]], ...] = (
    ("effective operations of all kinds", lambda c: c.total),
    ("  synaptic accumulations (AC)", lambda c: c.acs),
    ("  synaptic multiplications (MAC)", lambda c: c.macs),
    ("  updates of neurons", lambda c: c.update_adds + c.update_macs),
    ("  codes, averages, normaliser", lambda c: c.code_adds + c.code_macs),
    ("  learning", lambda c: c.learning_macs),
    ("exponentials, tanh, random numbers", lambda c: c.functions),
    ("dense synaptic operations", lambda c: c.dense_acs + c.dense_macs),
    ("neurons updated, silent ones too", lambda c: c.updates),
    ("spikes", lambda c: c.spikes),
    ("inputs sent to synapses (events)", lambda c: c.events),
    ("bytes of weights fetched", lambda c: c.weight_bytes),
    ("bytes of states read and written", lambda c: c.state_bytes),
    ("bytes moved by learning", lambda c: c.learning_bytes),
    ("  of them weights written", lambda c: c.written_bytes),
    ("bytes of memory in all", lambda c: c.footprint_bytes),
)
"""The lines of the table, and what stands in them."""

DECISIONS = 2000
"""Decisions over which this machine's own meter is read."""


def measure(
    trained: api.Trained, beside: api.Trained | None, episodes: int, seed: int
) -> list[Metered]:
    """The run's policy, then the MLP of the run `beside`, as it is and with fewer bits; without
    one, an untrained MLP of the default size, which has no return.
    """
    own = metering.metered(trained, episodes, seed, learning=True)
    if beside is None and trained.experiment.network.image:
        return [own]  # an MLP looks at no pictures
    if beside is None:
        plain = metering.untrained(trained, Blueprint.default("mlp"), episodes, seed)
        return [own] if own.name == "mlp" else [own, plain]
    if beside.experiment.run.env != trained.experiment.run.env:
        raise ValueError(
            f"--beside {beside.folder}: it was trained on {beside.experiment.run.env}, and "
            f"{trained.folder} on {trained.experiment.run.env}"
        )
    whole = metering.metered(beside, episodes, seed)
    fewer = sorted({8, max(2, bits(trained.experiment.network.config.ticks))}, reverse=True)
    return [own, whole, *(metering.rounded(beside, b, whole, seed) for b in fewer)]


def lines(found: Sequence[Metered], trained: api.Trained) -> list[str]:
    """The table, a column for each policy, and what it needs to be read."""
    names = ["per decision", *(one.name for one in found)]
    rows = [names, ["return", *(_score(one) for one in found)]]
    for words, figure in ROWS:
        values = [figure(one.counts) for one in found]
        if any(values):
            rows.append([words, *(f"{value:,.0f}" for value in values)])
    energies = [joules(one.counts, one.bits) for one in found]
    for name in TABLES:
        rows.append([f"nJ, {name}", *(_nano(energy.get(name)) for energy in energies)])
    band = [f"{_nano(min(e.values()))} to {_nano(max(e.values()))}" for e in energies]
    rows.append(["nJ, least to most of these", *band])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    return [*table, "", *_notes(found, trained)]


def as_dict(found: Sequence[Metered]) -> dict[str, Any]:
    """The same for JSON, by the name of the policy."""
    return {
        one.name: {
            "mean": None if one.score is None else one.score.mean,
            "bits": one.bits,
            **one.counts._asdict(),
            "total": one.counts.total,
            "joules": joules(one.counts, one.bits),
        }
        for one in found
    }


def _notes(found: Sequence[Metered], trained: api.Trained) -> list[str]:
    """Sentences below the table."""
    notes = []
    own = found[0].counts
    ticks = trained.experiment.network.config.ticks
    if own.spikes:
        sizes = metering.sizes(trained.agent.decider)
        rate = own.spikes / own.updates
        limit = crossover(sizes, ticks) if len(sizes) > 2 else None
        if limit is not None:
            notes.append(
                f"{100 * rate:.1f} % of the neurons fire in a tick; below {100 * limit:.1f} %, of "
                f"inputs too, spikes cost less than numbers of {bits(ticks)} bits (Yan et al., "
                "arXiv 2409.08290)"
            )
    if found[-1].score is None:
        notes.append(
            f"the {found[-1].name} is not trained: give --beside RUN, a run of an mlp in the same "
            "world, for its return and for fewer bits"
        )
    notes.append("joules are models of published tables (docs/energy.md), not measured")
    notes.append(_measured(trained))
    return notes


def _measured(trained: api.Trained) -> str:
    """A sentence on what this machine's own meter says."""
    meters = power.packages()
    if not meters:
        return "this machine shows no power meter (RAPL), so no joule of it was measured"
    joules, took = power.joules_of(metering.decisions(trained, DECISIONS), meters)
    return (
        f"measured here (RAPL, less the idle machine): {1e6 * joules / DECISIONS:,.1f} µJ and "
        f"{1e6 * took / DECISIONS:,.0f} µs a decision, one at a time, in PyTorch on this processor"
    )


def _score(one: Metered) -> str:
    return "-" if one.score is None else f"{one.score.mean:,.1f}"


def _nano(value: float | None) -> str:
    return "-" if value is None else f"{1e9 * value:,.2f}"
