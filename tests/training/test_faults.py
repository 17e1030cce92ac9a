"""Faults of the machine in real processes: what a run has saved stays readable, and what is lost is
at most one interval.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bio_rl
from bio_rl.training import checkpoint
from tests.training import faulty_run

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]
STEPS, INTERVAL, AFTER = 640, 160, 340
"""Of a run; between its checkpoints; after which the fault happens."""
RUN = (
    f"--env Faulty-v0 --network mlp --steps {STEPS} --num-envs 2 --checkpoints 4"
    " --eval-episodes 2 --ppo.update-every 16 --ppo.minibatch 16 --ppo.epochs 1"
).split()
PHASES = ("collect", "update", "evaluate", "save", "saved")
ASKED = {"INT": signal.SIGINT, "TERM": signal.SIGTERM, "HUP": signal.SIGHUP}


class Faulty:
    """A run folder's parent, and the processes with a fault that work in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs, self.fired = folder, folder / "runs", folder / "fired"

    def command(self, action: str, phase: str, after: int, *arguments: str) -> list[str]:
        script = [
            sys.executable,
            str(ROOT / "tests" / "training" / "faulty_run.py"),
            action,
            phase,
            str(after),
            str(self.fired),
        ]
        return [*script, *arguments, "--run-dir", str(self.runs)]

    def start(
        self, action: str, phase: str, after: int, *arguments: str, **pipes: object
    ) -> subprocess.Popen[str]:
        """The process; its output is one pipe unless `pipes` says otherwise."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **pipes}
        return subprocess.Popen(
            self.command(action, phase, after, *arguments),
            cwd=self.folder,
            env=environment,
            text=True,
            **how,
        )

    def play(self, action: str, phase: str, *arguments: str, after: int = AFTER) -> tuple[int, str]:
        """The exit status and the output of a run in which the fault happens."""
        process = self.start(action, phase, after, *(arguments or RUN))
        try:
            said, _ = process.communicate(timeout=120)
        finally:
            process.kill()
        assert self.fired.exists(), f"the fault did not happen:\n{said}"
        return process.returncode, said

    @property
    def fault(self) -> int:
        """The steps of training that were done when the fault happened."""
        return int(self.fired.read_text())

    @property
    def run(self) -> Path:
        """The only run folder."""
        (found,) = run_folders(self.runs)
        return found


def run_folders(parent: Path) -> list[Path]:
    return (
        sorted(p for p in parent.iterdir() if p.is_dir() and not p.is_symlink())
        if parent.is_dir()
        else []
    )


def newest(run: Path) -> int:
    """The step of a run's newest checkpoint, all of which can be read; -1 where there is none."""
    for path in (run / "checkpoints").glob("*.pt"):
        checkpoint.load(path)
    steps = [
        int(m[1])
        for p in (run / "checkpoints").iterdir()
        if (m := re.fullmatch(r"step_(\d+)\.pt", p.name))
    ]
    return max(steps, default=-1)


def resumed(run: Path) -> int:
    """The steps of the run after it was resumed to its end, without a fault."""
    assert faulty_run.Plan.action is None
    with contextlib.redirect_stdout(io.StringIO()):
        return bio_rl.resume(run, run_dir=run.parent).steps


@pytest.fixture
def faulty(tmp_path: Path) -> Faulty:
    return Faulty(tmp_path)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("asked", ASKED)
def test_a_run_that_is_asked_to_stop_loses_nothing_and_says_so(
    faulty: Faulty, asked: str, phase: str
) -> None:
    status, said = faulty.play(asked, phase)
    assert newest(faulty.run) >= faulty.fault
    assert "Traceback" not in said
    assert "resume" in said
    assert resumed(faulty.run) == STEPS
    assert status == 128 + ASKED[asked]


@pytest.mark.parametrize("phase", PHASES)
def test_a_run_that_is_killed_loses_at_most_one_interval(faulty: Faulty, phase: str) -> None:
    status, _ = faulty.play("KILL", phase)
    assert newest(faulty.run) >= faulty.fault - INTERVAL
    assert resumed(faulty.run) == STEPS
    assert status == -signal.SIGKILL


def test_a_run_that_is_killed_in_its_first_update_can_be_resumed(faulty: Faulty) -> None:
    faulty.play("KILL", "update", after=1)
    assert newest(faulty.run) == 0
    assert resumed(faulty.run) == STEPS


@pytest.mark.parametrize("asked", [*ASKED, "KILL"])
def test_a_run_that_ends_at_its_start_leaves_no_folder(faulty: Faulty, asked: str) -> None:
    status, said = faulty.play(asked, "start", after=0)
    number = signal.Signals[f"SIG{asked}"]
    assert status in (-number, 128 + number)
    assert run_folders(faulty.runs) == []
    assert not (faulty.runs / "latest").exists()
    assert "Traceback" not in said


@pytest.mark.parametrize("phase", ["collect", "update", "evaluate"])
def test_a_disk_that_fills_in_mid_run_costs_at_most_one_interval(
    faulty: Faulty, phase: str
) -> None:
    status, said = faulty.play("full", phase)
    assert "Traceback" not in said
    assert newest(faulty.run) >= faulty.fault - INTERVAL
    assert not list(faulty.run.rglob("*.tmp"))
    assert resumed(faulty.run) == STEPS
    assert "File too large" in said
    assert status == 2


def test_a_disk_that_is_full_at_the_start_is_one_sentence_and_no_folder(faulty: Faulty) -> None:
    status, said = faulty.play("full", "start", after=0)
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith("error: ")
    assert "File too large" in said
    assert run_folders(faulty.runs) == []
    assert status == 2


def test_an_evaluation_that_raises_costs_the_evaluation_and_not_the_run(faulty: Faulty) -> None:
    status, said = faulty.play("raise", "evaluate")
    assert "the judge is ill" in said
    assert newest(faulty.run) == STEPS
    assert (faulty.run / "result.json").exists()
    assert status == 0


def test_a_final_evaluation_that_raises_leaves_the_finished_run_and_a_result(
    faulty: Faulty,
) -> None:
    status, said = faulty.play("raise", "evaluate", *RUN, "--eval-episodes", "0")
    assert "the judge is ill" in said
    assert newest(faulty.run) == STEPS
    assert json.loads((faulty.run / "result.json").read_text())["steps"] == STEPS
    assert status == 0


def test_a_world_that_raises_in_mid_run_shows_its_line_and_how_to_resume(faulty: Faulty) -> None:
    status, said = faulty.play("raise", "collect")
    assert "faulty_run.py" in said
    assert "the judge is ill" in said
    assert "resume" in said
    assert newest(faulty.run) >= faulty.fault - INTERVAL
    assert resumed(faulty.run) == STEPS
    assert status == 1


def test_a_reader_that_leaves_does_not_end_the_training(faulty: Faulty) -> None:
    process = faulty.start("nothing", "collect", 1, *RUN, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    status = process.wait(timeout=120)
    assert "Traceback" not in said and "BrokenPipe" not in said
    assert newest(faulty.run) > 0
    assert (status == 0) == (faulty.run / "result.json").exists()
    if status:
        assert resumed(faulty.run) == STEPS


def test_a_worker_that_is_killed_costs_at_most_one_interval(faulty: Faulty) -> None:
    status, said = faulty.play("KILL", "worker", *RUN, "--workers", after=AFTER // 2)
    assert "worker" in said
    assert newest(faulty.run) >= 2 * faulty.fault - INTERVAL
    assert resumed(faulty.run) == STEPS
    assert status in (1, 2)
    assert said.strip().splitlines()[-1].startswith("error: ") or status == 1


@pytest.mark.parametrize("asked", ["INT", "TERM"])
def test_workers_end_with_the_run_that_is_asked_to_stop(faulty: Faulty, asked: str) -> None:
    status, said = faulty.play(asked, "update", *RUN, "--workers", after=0)
    assert "Traceback" not in said
    assert newest(faulty.run) >= faulty.fault
    assert status == 128 + ASKED[asked]


def test_a_run_whose_folder_is_deleted_ends_with_one_sentence_or_makes_it_anew(
    faulty: Faulty,
) -> None:
    status, said = faulty.play("delete", "collect")
    assert "Traceback" not in said
    for run in run_folders(faulty.runs):
        assert newest(run) > 0
    saved = [run for run in run_folders(faulty.runs) if newest(run) == STEPS]
    assert status == (0 if saved else 2)
    assert saved or str(faulty.runs) in said.strip().splitlines()[-1]


@pytest.mark.parametrize("turned", ["later", "earlier"])
def test_a_clock_that_jumps_by_a_year_changes_nothing(faulty: Faulty, turned: str) -> None:
    status, said = faulty.play(turned, "collect")
    assert status == 0 and "Traceback" not in said
    assert newest(faulty.run) == STEPS
    rows = [json.loads(line) for line in (faulty.run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    assert 0 <= json.loads((faulty.run / "result.json").read_text())["seconds"] < 600


def test_a_second_resume_of_a_run_is_refused_while_the_first_goes_on(faulty: Faulty) -> None:
    faulty.play("TERM", "collect")
    faulty.fired.unlink()
    first = faulty.start("hold", "collect", 1, "resume", str(faulty.run))
    try:
        for _ in range(600):
            if faulty.fired.exists() or first.poll() is not None:
                break
            time.sleep(0.05)
        second = faulty.start("nothing", "collect", 1, "resume", str(faulty.run))
        said, _ = second.communicate(timeout=120)
    finally:
        faulty.fired.with_name("go").touch()
        first_said, _ = first.communicate(timeout=120)
    assert first.returncode == 0, first_said
    assert newest(faulty.run) == STEPS
    assert second.returncode == 2
    assert str(first.pid) in said.strip().splitlines()[-1]


def test_a_resume_that_is_killed_leaves_no_lock_behind(faulty: Faulty) -> None:
    faulty.play("KILL", "collect")
    faulty.fired.unlink()
    status, _ = faulty.play("KILL", "update", "resume", str(faulty.run), after=32)
    assert status == -signal.SIGKILL
    assert resumed(faulty.run) == STEPS


@pytest.mark.parametrize("fault", ["TERM", "KILL"])
def test_seeds_side_by_side_are_all_saved(faulty: Faulty, fault: str) -> None:
    dqn = (
        f"--env Faulty-v0 --agent dqn --network mlp --seeds 2 --steps {STEPS} --num-envs 2"
        " --checkpoints 4 --eval-episodes 2 --dqn.replay 500 --dqn.start 20 --dqn.batch 8"
    )
    status, _ = faulty.play(fault, "collect", *dqn.split(), after=2 * AFTER)
    folders = run_folders(faulty.runs)
    assert len(folders) == 2
    lost = INTERVAL if fault == "KILL" else 0
    for run in folders:
        assert newest(run) >= faulty.fault // 2 - lost
        assert resumed(run) == STEPS
    assert status == (-signal.SIGKILL if fault == "KILL" else 128 + signal.SIGTERM)
