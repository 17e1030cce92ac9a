"""The replay lies apart from the weights, and wherever a process is killed each checkpoint finds
its own rows.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
import warnings
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from bio_rl.bench.resume import difference, last_tree
from bio_rl.machine import files
from bio_rl.rl.replay import Replay
from bio_rl.state import leaves
from bio_rl.training import api, checkpoint, replay_files, runfolder
from bio_rl.training.checkpoint import CheckpointError, Checkpoints
from bio_rl.training.replay_files import ReplayFiles
from tests.rl.test_replay import B, lived

pytestmark = pytest.mark.thorough

SMALL = {"critic_hidden": (8,), "start": 50, "ratio": 0.05, "batch": 8, "update_every": 4}
RUN = {"steps": 400, "num_envs": 2, "checkpoints": 5, "eval_episodes": 1}


def train(folder: Path, **settings) -> Path:
    """A small run of SAC on the native Hopper, whose episodes are saved exactly."""
    own = {"replay": 300, **SMALL, **settings}
    return api.train(
        "bio_rl/Hopper-v5", agent="sac", network="mlp", run_dir=folder, sac=own, **RUN
    ).folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copy(run, tmp_path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def added(memory: Replay, n: int) -> None:
    """n more updates of 6 steps."""
    for _ in range(n):
        new = lived(memory.added, 6)
        memory.add(new, (new.percept.obs[:: memory.stride],))


def same(a: Replay | dict, b: Replay | dict) -> bool:
    a, b = (x.state_dict() if isinstance(x, Replay) else x for x in (a, b))
    return all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        for name in ("added", "kept", "states")
        for x, y in zip(leaves(a[name]), leaves(b[name]), strict=True)
    )


@pytest.mark.parametrize(("length", "stride"), [(1, 1), (4, 2)])
def test_every_kept_index_finds_its_rows_also_after_the_ring_has_turned(tmp_path, length, stride):
    memory = Replay(30 * B, length=length, stride=stride)
    store, states = ReplayFiles(tmp_path), {}
    for save in range(12):
        added(memory, save % 4)  # also none at all, and fewer or more than there is room for
        step = 10 * save
        states[step] = store.save(step, memory), memory.state_dict()
        states = dict(list(states.items())[-3:])
        store.prune(list(states))
        for kept, (name, state) in states.items():
            assert same(ReplayFiles(tmp_path).load(kept, name), state)
    rows = sum(
        x.numel()
        for path in store.folder.glob("rows_*")
        for x in leaves(checkpoint.load(path)["kept"][3])
    )
    assert rows <= (30 + 4 * 18) * B, "rows that no checkpoint needs are deleted"


@pytest.mark.parametrize("capacity", [30, 60, 12])
def test_a_replay_that_is_taken_up_goes_on_with_its_files(tmp_path, capacity):
    first, second = Replay(30 * B), Replay(capacity * B)
    store = ReplayFiles(tmp_path)
    added(first, 9)
    name = store.save(1, first)
    second.load_state_dict(store.load(1, name))
    later = ReplayFiles(tmp_path)
    later.go_on(1, second)
    added(second, 1)
    assert same(later.load(2, later.save(2, second)), second)


def test_nothing_but_the_rows_has_rows(run):
    kept = checkpoint.load(run / "checkpoints" / "best.pt")
    assert "replay" not in kept["agent"] and kept.get("replay") is None
    for path in (run / "checkpoints").glob("step_*.pt"):
        assert "replay" not in checkpoint.load(path)["agent"]
    assert len(list((run / "checkpoints" / "replay").glob("step_*.pt"))) == checkpoint.KEEP


def test_what_only_reads_never_reads_the_replay_and_deletes_nothing(copy, monkeypatch):
    for path in (copy / "checkpoints" / "replay").iterdir():
        path.write_bytes(b"damaged")
    for name in ("step_000000000001.pt.tmp", "replay/x.tmp"):
        (copy / "checkpoints" / name).write_bytes(b"half")
    before = sorted(p.relative_to(copy) for p in copy.rglob("*"))
    for best in (False, True):
        trained = api.load(copy, best=best)
        api.evaluate_run(trained, episodes=1)
    assert sorted(p.relative_to(copy) for p in copy.rglob("*")) == before


def test_an_agent_that_goes_on_learning_has_the_experience_of_its_run(run):
    trained = api.load(run)
    assert trained.agent.replay.size == 0
    env = api.make_env(trained.experiment.run, 2)
    learner = trained.learner(env, 100)
    assert learner.replay.size * 2 == 300 and same(
        learner.replay.state_dict()["kept"] and learner.replay, last_replay(run)
    )
    assert api.load(run, best=True).learner(env, 100).replay.size == 0


def last_replay(folder: Path) -> dict:
    return last_tree(folder)["agent"]["replay"]


POINTS = ["rows", "index", "checkpoint", "old checkpoints", "old rows"]


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_is_killed_between_two_writes_leaves_a_pair_that_resumes_bitwise(
    tmp_path, run, monkeypatch, point
):
    """Each point lies right before that part of the third save; what it leaves is resumed to the
    end of the other run.
    """
    saves = []
    real_save, real_prune, real_keep = checkpoint.save, ReplayFiles.prune, Checkpoints._steps

    def save(path, tree):
        kind = (
            "rows"
            if path.name.startswith("rows")
            else "index"
            if path.parent.name == "replay"
            else "checkpoint"
        )
        if kind == point and saves.count(kind) == 2 and path.name != "best.pt":
            raise Killed
        real_save(path, tree)
        saves.append(kind if path.name != "best.pt" else "best")

    def prune(self, steps):
        if point == "old rows" and saves.count("index") == 3:
            raise Killed
        real_prune(self, steps)

    def steps(self):
        if point == "old checkpoints" and saves.count("checkpoint") == 3:
            raise Killed
        return real_keep(self)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        patch.setattr(ReplayFiles, "prune", prune)
        patch.setattr(Checkpoints, "_steps", steps)
        with pytest.raises(Killed):
            train(tmp_path)
    cut = runfolder.resolve("latest", tmp_path)
    resumed = api.resume(cut)
    assert resumed.steps == RUN["steps"]
    found = difference(last_tree(run), last_tree(cut))
    assert found["equal"] and found["tensors"] > 25, found
    names = {path.name for path in (cut / "checkpoints" / "replay").iterdir()}
    assert len([n for n in names if n.startswith("step")]) == checkpoint.KEEP and not any(
        ".tmp" in n for n in names
    )


@pytest.mark.parametrize(
    "harm", ["damaged rows", "no rows", "damaged index", "no index", "another save's index"]
)
def test_a_checkpoint_whose_rows_are_not_its_own_is_passed_for_the_one_before(copy, harm):
    places = copy / "checkpoints" / "replay"
    newest = max(places.glob("step_*.pt"))
    rows = max(places.glob("rows_*.pt"))
    if harm == "another save's index":
        tree = checkpoint.load(newest)
        checkpoint.save(newest, tree | {"id": "0" * 8})
    elif harm.startswith("no"):
        (rows if "rows" in harm else newest).unlink()
    else:
        path = rows if "rows" in harm else newest
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(RuntimeWarning, match=f"skipping step_0*{RUN['steps']}.pt"):
        tree = api.read_last(copy, rows=True)
    assert tree["runner"]["seen"] == 320 and tree["agent"]["replay"]["added"] * 2 == 320


def test_where_no_rows_can_be_read_the_message_names_the_file_and_a_run_goes_on_without_them(
    copy,
):
    places = copy / "checkpoints" / "replay"
    for path in places.glob("rows_*.pt"):
        path.write_bytes(b"")
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(CheckpointError, match=r"no readable checkpoint.*rows_") as error,
    ):
        api.read_last(copy, rows=True)
    assert str(error.value).isprintable()
    shutil.rmtree(places)
    with pytest.warns(RuntimeWarning, match="goes on without the experience"):
        resumed = api.resume(copy, steps=480)
    assert resumed.steps == 480 and len(list(places.glob("rows_*.pt"))) >= 1


def test_a_best_checkpoint_in_the_place_of_the_last_resumes_without_experience_and_says_so(
    copy,
):
    best = copy / "checkpoints" / "best.pt"
    step = checkpoint.load(best)["runner"]["seen"]
    for path in (copy / "checkpoints").glob("step_*.pt"):
        path.unlink()
    shutil.copy(best, copy / "checkpoints" / f"step_{step:012d}.pt")
    with pytest.warns(
        RuntimeWarning, match="has no replay: the agent goes on without the experience"
    ):
        assert api.resume(copy).steps == RUN["steps"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_kill_9_at_any_moment_leaves_a_checkpoint_with_its_rows(tmp_path):
    """Each later process resumes what the kill before has left; the newest checkpoint is never one
    without its rows.
    """
    steps, saves = 200_000, 2_000
    flags = [
        "--env",
        "bio_rl/Hopper-v5",
        "--agent",
        "sac",
        "--network",
        "mlp",
        "--steps",
        str(steps),
    ]
    flags += [
        "--checkpoints",
        str(saves),
        "--eval-episodes",
        "0",
        "--run-dir",
        str(tmp_path),
        "--sac.start",
        "10000000",
    ]
    flags += ["--sac.replay", "3000", "--sac.update-every", "4", "--num-envs", "4"]
    rng, before = random.Random(0), -1
    for i in range(6):
        arguments = flags if i == 0 else ["resume", "latest", "--run-dir", str(tmp_path)]
        process = subprocess.Popen(
            [sys.executable, "-m", "bio_rl", *arguments], stdout=-3, stderr=-3
        )
        while newest(tmp_path) <= before:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.8))
        process.kill()
        process.wait()
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # none is passed, none is without its rows
            tree = api.read_last(runfolder.resolve("latest", tmp_path), rows=True)
        before = tree["runner"]["seen"]
        assert before == newest(tmp_path) and tree["agent"]["replay"]["added"] * 4 == before


def newest(folder: Path) -> int:
    """The step of the newest checkpoint, -1 without one."""
    # the folder of the only run: before its first checkpoint there is no latest
    found = folder.glob("*/checkpoints/step_*.pt")
    return max((int(path.stem[5:]) for path in found), default=-1)


def test_a_checkpoint_of_an_older_version_is_refused_in_a_sentence(copy):
    for path in (copy / "checkpoints").glob("step_*.pt"):
        tree = checkpoint.load(path)
        whole = {"format": checkpoint.FORMAT, "version": 2}
        torch.save(whole | {"tree": checkpoint._encode(tree, "tree")}, path)
    said = rf"version 2.* reads {checkpoint.VERSION}"
    with pytest.warns(RuntimeWarning), pytest.raises(CheckpointError, match=said):
        api.resume(copy)


Usage = namedtuple("Usage", "total used free")


def test_a_run_whose_files_do_not_fit_is_refused_before_its_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: Usage(10**9, 0, 10**5))
    with pytest.raises(
        ValueError, match=r"take .* in .*runs, where 100 kB are free; .*--run-dir would fit"
    ):
        train(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_replay_that_does_not_fit_on_the_disk_is_refused_with_the_size_that_would(
    tmp_path, monkeypatch
):
    from bio_rl.training import config

    chosen = config.experiment(
        "bio_rl/Hopper-v5", "sac", "mlp", steps=10**6, agent_settings={**SMALL, "replay": 10**6}
    )
    agent = api.make_agent(chosen, api.make_env(chosen.run, 1))
    each = agent.step_bytes()
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: Usage(0, 0, 900_000 * each))
    with pytest.raises(
        ValueError, match=r"--sac\.replay (\d+) or another --run-dir would fit"
    ) as error:
        replay_files.check_disk(agent, tmp_path, 10**6, 10)
    fitting = int(str(error.value).partition("--sac.replay ")[2].split()[0])
    assert 0 < fitting < 900_000
    agent.replay.capacity = fitting
    replay_files.check_disk(agent, tmp_path, 10**6, 10)


def test_a_full_disk_while_rows_are_written_leaves_what_was_there(tmp_path):
    resource = pytest.importorskip("resource")
    memory, store = Replay(300 * B), ReplayFiles(tmp_path)
    added(memory, 2)
    name = store.save(1, memory)
    before, saved = sorted(os.listdir(store.folder)), memory.state_dict()
    added(memory, 40)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"rows_.*File too large.*untouched"):
            store.save(2, memory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(os.listdir(store.folder)) == before and same(store.load(1, name), saved)
    assert same(store.load(2, store.save(2, memory)), memory)
