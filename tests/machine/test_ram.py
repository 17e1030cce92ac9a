"""Sizes in words, and arrays that are made of memory that was freed."""

import subprocess
import sys

import pytest

from bio_rl.machine import ram

FAULTS = """
import resource, torch
from bio_rl.machine import ram
assert ram.keep_freed()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        arrays = [torch.ones(2**21) for _ in range(8)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), faults())
"""


def test_sizes():
    assert [ram.size_text(n) for n in (12, 171_600_000, 1_720_000_000)] == [
        "12 B",
        "172 MB",
        "1.72 GB",
    ]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux with glibc")
def test_kept_memory_is_not_asked_for_again():
    """Left to itself glibc keeps it or not by what happens to lie on top of the heap, so there is
    no control.
    """
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, check=True, text=True
    )
    first, again = map(int, done.stdout.split())
    assert again < 50 < first
