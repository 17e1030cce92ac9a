"""The cost of a decision: counted operations, updates of neurons, memory and learning (`counts`),
and joules under published tables (`tables`). No table is the chip on which a policy will run.
"""

from bio_rl.energy.counts import (
    UNKNOWN,
    Counts,
    Fixed,
    Meter,
    Operations,
    decisions,
    fixed,
    of_product,
    operations,
    spikes,
    summary,
    together,
)
from bio_rl.energy.tables import TABLES, Table, joules
from bio_rl.energy.yan import crossover

__all__ = [
    "TABLES",
    "UNKNOWN",
    "Counts",
    "Fixed",
    "Meter",
    "Operations",
    "Table",
    "crossover",
    "decisions",
    "fixed",
    "joules",
    "of_product",
    "operations",
    "spikes",
    "summary",
    "together",
]
