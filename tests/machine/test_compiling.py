"""The compilation of kernels is said once and counts neither in speed nor in the time left."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bio_rl.machine import compiling
from bio_rl.machine.compiling import Compilation, working_time
from bio_rl.training.panel import Panel

ROOT = Path(__file__).parents[2]
KERNEL = """
from bio_rl.kernels.numba.compile import loop

@loop
def inner(x):
    return x + 1.0

@loop
def outer(x):
    return 2.0 * inner(x)
"""
USE = """
import time
from bio_rl.machine.compiling import KERNELS, working_time
from kernel import outer

began, worked = time.perf_counter(), working_time()
assert outer(1.0) == 4.0
passed = time.perf_counter() - began
assert abs(passed - (working_time() - worked) - KERNELS.seconds) < 0.05
print(KERNELS.seconds > 0.0)
"""


@pytest.fixture
def now(monkeypatch):
    """A clock to be set by hand."""
    clock = [100.0]
    monkeypatch.setattr("bio_rl.machine.compiling.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(compiling, "KERNELS", Compilation())
    return clock


def compile_for(seconds: float, now: list[float]) -> None:
    compiling.KERNELS.begin("compiling")
    now[0] += seconds
    compiling.KERNELS.end()


def test_a_compilation_within_another_counts_once_and_is_said_once(now, capsys):
    compiling.KERNELS.begin("compiling")
    compile_for(3.0, now)
    now[0] += 2.0
    compiling.KERNELS.end()
    compile_for(1.0, now)
    assert compiling.KERNELS.seconds == 6.0
    assert working_time() == 100.0
    assert capsys.readouterr().err == "compiling\n"


def test_speed_and_time_left_leave_the_compilation_out(now):
    from rich.console import Console

    out = io.StringIO()
    with Panel(1000, console=Console(file=out)) as panel:
        compile_for(50.0, now)
        now[0] += 10.0
        panel.update(500)
    assert "50 steps/s  eta 0:10" in out.getvalue()


def test_a_first_process_says_that_it_compiles_and_a_second_one_finds_the_kernels(tmp_path):
    pytest.importorskip("numba")
    (tmp_path / "kernel.py").write_text(KERNEL)
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    ask = [sys.executable, "-c", USE]
    first, second = (
        subprocess.run(ask, env=env, capture_output=True, text=True, check=True) for _ in range(2)
    )
    assert first.stdout == "True\n" and first.stderr == compiling.SAYS + "\n"
    assert second.stdout == "False\n" and second.stderr == ""
