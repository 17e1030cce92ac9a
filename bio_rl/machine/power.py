"""Joules that this machine reads from its own power meter: RAPL of the processor's packages.

Where there is none, in most virtual machines, nothing is estimated in its place: the product of a
rated power and a time is a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

POWERCAP = Path("/sys/class/powercap")
"""The folder in which Linux shows RAPL."""
MICRO = 1e-6


class Package(NamedTuple):
    """A processor package that counts its energy."""

    counter: Path
    """The file with the microjoules so far."""
    wraps: float
    """J after which the count begins anew."""

    def joules(self) -> float:
        """The J so far, since some beginning."""
        return int(self.counter.read_text()) * MICRO


def packages(folder: Path = POWERCAP) -> list[Package]:
    """The packages whose counters can be read; none in most virtual machines, or without the right
    to read them.
    """
    found = []
    for counter in sorted(folder.glob("intel-rapl:*/energy_uj")):
        # intel-rapl:0 is a package, intel-rapl:0:1 a part of one
        if counter.parent.name.count(":") > 1:
            continue
        try:
            package = Package(counter, int((counter.parent / "max_energy_range_uj").read_text()))
            package.joules()
        except (OSError, ValueError):
            continue
        found.append(package._replace(wraps=package.wraps * MICRO))
    return found


def joules_of(
    work: Callable[[], object], meters: list[Package], rest: float = 1.0
) -> tuple[float, float]:
    """(J of a call of `work` above those of an idle machine, s that it took); `rest`: s for which
    the idle machine is measured first.
    """
    # an idle machine takes joules, too, which are not the work's
    idle, seconds = _during(lambda: time.sleep(rest), meters)
    busy, took = _during(work, meters)
    return busy - idle / seconds * took, took


def _during(work: Callable[[], object], meters: list[Package]) -> tuple[float, float]:
    """(J, s) of a call."""
    before = [meter.joules() for meter in meters]
    begun = time.perf_counter()
    work()
    took = time.perf_counter() - begun
    used = [meter.joules() - start for meter, start in zip(meters, before, strict=True)]
    # a counter that has wrapped around is behind its start
    whole = sum(x + meter.wraps * (x < 0) for x, meter in zip(used, meters, strict=True))
    return whole, took
