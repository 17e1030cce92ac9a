"""Threads: the rows of a batch are shared out among them where there is enough to do."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

WORTH = 1 << 20
"""Neuron-ticks, or synapses, that are worth a second thread."""


def run(loop: Callable[..., Any], arguments: tuple[Any, ...], rows: int, work: int) -> list[Any]:
    """The results of loop(lo, hi, *arguments) over shares of the rows, as many at a time as torch
    has threads, where the work (per row) is worth it.
    """
    total = rows * work
    # Few rows are done before a thread has woken up.
    count = 1
    if total >= 2 * WORTH:
        count = min(torch.get_num_threads(), total // WORTH, rows)
    if count < 2:
        return [loop(0, rows, *arguments)]
    edges = [rows * k // count for k in range(count + 1)]
    workers = pool(count)
    # The first share is done here, while the others are on their way.
    others = [workers.submit(loop, lo, hi, *arguments) for lo, hi in itertools.pairwise(edges[1:])]
    first = loop(0, edges[1], *arguments)
    return [first, *(other.result() for other in others)]


@functools.cache
def pool(count: int) -> ThreadPoolExecutor:
    """The workers for so many shares."""
    return ThreadPoolExecutor(count, "neurons")
