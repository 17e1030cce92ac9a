"""One writer in a run folder: two real processes, kill -9, forked workers, links that lead out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bio_rl.training import runfolder

HOLD = (
    "import sys, time, pathlib; from bio_rl.machine.lock import lock\n"
    "with lock(pathlib.Path(sys.argv[1])): print('held', flush=True)"
)
FOREVER = f"{HOLD}; time.sleep(100)"
FORKING = (
    "import os, sys, time, pathlib; from bio_rl.machine.lock import lock\n"
    "with lock(pathlib.Path(sys.argv[1])):\n"
    "    child = os.fork()\n"
    "    if child: print(child, flush=True)\n"
    "    time.sleep(100)\n"
)


def start(code: str, folder: Path) -> subprocess.Popen:
    """A process that has said its first word."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
    )
    process.word = process.stdout.readline().strip()
    return process


def test_a_second_process_in_a_run_folder_is_refused_and_kill_9_lets_the_next_one_in(tmp_path):
    first = start(FOREVER, tmp_path)
    try:
        refused = pytest.raises(
            ValueError, match=f"is being written by process {first.pid} on .*wait for that process"
        )
        with refused, runfolder.lock(tmp_path):
            raise AssertionError("two hold it")
        other = subprocess.run(
            [sys.executable, "-c", HOLD, str(tmp_path)], capture_output=True, text=True
        )
        assert (
            other.returncode == 1
            and f"process {first.pid}" in other.stderr
            and "held" not in other.stdout
        )
    finally:
        first.kill()
        first.wait()
    with (
        runfolder.lock(tmp_path),
        pytest.raises(ValueError, match=f"process {os.getpid()}"),
        runfolder.lock(tmp_path),
    ):
        pass
    with runfolder.lock(tmp_path):  # and it is free again when a block has ended
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_worker_that_outlives_its_parent_does_not_keep_the_lock(tmp_path):
    parent = start(FORKING, tmp_path)
    child = int(parent.word)
    try:
        parent.kill()
        parent.wait()
        os.kill(child, 0)  # the worker lives
        time.sleep(0.05)
        with runfolder.lock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1, "host": "\\u001b[31m"}', "[" * 5000]
)
def test_whatever_the_lock_file_says_the_refusal_is_one_printable_line(tmp_path, text):
    with runfolder.lock(tmp_path):
        (tmp_path / ".lock").write_text(text)
        with pytest.raises(ValueError, match="being written by") as error, runfolder.lock(tmp_path):
            pass
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "name",
    ["checkpoints", "checkpoints/step_000000000001.pt", "config.json", "a.tmp", ".lock", "x.png"],
)
def test_a_link_out_of_the_run_folder_is_refused_before_anything_is_written(tmp_path, name):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    (folder / name).parent.mkdir(parents=True)
    (folder / name).symlink_to(outside if name == "checkpoints" else outside / "precious")
    with pytest.raises(ValueError, match="is a symlink"), runfolder.lock(folder):
        raise AssertionError("it was locked")
    assert [p.name for p in outside.iterdir()] == ["precious"] and (
        outside / "precious"
    ).read_text() == "mine"


def test_a_link_within_the_run_folder_is_let_be(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "alias").symlink_to("notes")
    with runfolder.lock(tmp_path):
        pass


@pytest.mark.parametrize(
    "target",
    ["../victim", "../runs/../victim", "/tmp", ".", "", "latest", "a\0b", "\x1b[31m/x", "x" * 5000],
)
def test_a_latest_that_leads_anywhere_but_beside_it_is_refused(tmp_path, target):
    runs, victim = tmp_path / "runs", tmp_path / "victim"
    runs.mkdir()
    victim.mkdir()
    (victim / "config.json").write_text("{}")
    (runs / "latest").write_text(target)
    with pytest.raises(ValueError, match="latest") as error:
        runfolder.resolve("latest", runs)
    assert str(error.value).isprintable()
    (runs / "latest").unlink()
    if target and "\0" not in target and len(target) < 4000:
        (runs / "latest").symlink_to(target)
        with pytest.raises(ValueError, match="latest"):
            runfolder.resolve("latest", runs)


def test_a_chain_of_links_that_ends_beside_latest_is_followed(tmp_path):
    folder = runfolder.create(tmp_path, "e", "a", "n", 0)
    runfolder.point_latest(folder)
    (tmp_path / "good").symlink_to(folder.name)
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").symlink_to(tmp_path / "good")
    assert runfolder.resolve("latest", tmp_path) == folder


def test_a_link_in_the_place_of_a_file_or_of_its_temporary_is_never_written_through(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("a.json", f"a.json.{os.getpid()}.tmp"):
        (tmp_path / name).symlink_to(precious)
    runfolder.write_json(tmp_path / "a.json", {"x": 1})
    assert precious.read_text() == "mine" and not (tmp_path / "a.json").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["a.json", "precious"]
