"""A run of 2N steps stopped at N and resumed in a new process equals the uninterrupted one, bitwise
on the CPU.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from bio_rl.__main__ import main
from bio_rl.bench.resume import difference, kill, last_tree
from bio_rl.state import leaves
from bio_rl.training import api, checkpoint, config, runfolder
from bio_rl.training.metrics import read_rows

STEPS = 1024
LONG = 2 * STEPS
"""Steps of a run that is stopped on its way."""
SHORT = STEPS // 4
"""Steps of seeds side by side: in many more, rounding would grow, as one product serves both."""
COMMON = ["--env", "Hopper-v5", "--num-envs", "4"]
PPO = ["--ppo.update-every", "32", "--ppo.minibatch", "32", "--ppo.epochs", "2"]
EVAL = ["--eval-episodes", "2", "--checkpoints", "4"]
FEW = ["--sac.ratio", "0.1"]
ACROBOT = [
    "--env",
    "Acrobot-v1",
    "--network",
    "mlp",
    "--steps",
    "512",
    "--num-envs",
    "4",
    "--eval-episodes",
    "0",
    "--ppo.update-every",
    "32",
]
"""A run in a world that cannot save its physics."""
NETWORKS = {
    "mlp": [],
    "lstm": ["--lstm.hidden", "8", "--ppo.sequence", "8"],
    "spiking": ["--spiking.hidden", "8"],
    "spiking-memory": ["--spiking.hidden", "8", "--spiking.memory", "--ppo.sequence", "8"],
    "spiking-poisson": [
        "--spiking.hidden",
        "8",
        "--spiking.code",
        "poisson",
        "--ppo.sequence",
        "8",
    ],
    "mlp-sac": [
        "--agent",
        "sac",
        "--mlp.hidden",
        "8",
        "--sac.critic-hidden",
        "8",
        "--sac.start",
        "100",
        "--sac.replay",
        "600",
        *FEW,
    ],
    "spiking-td3": [
        "--agent",
        "td3",
        "--spiking.hidden",
        "8",
        "--td3.critic-hidden",
        "8",
        "--td3.start",
        "100",
        "--td3.ratio",
        "0.1",
    ],
    "lstm-sac": [
        "--agent",
        "sac",
        "--lstm.hidden",
        "8",
        "--sac.critic-hidden",
        "8",
        "--sac.start",
        "100",
        *FEW,
    ],
}
QUICK = ("lstm", "spiking", "mlp-sac")
"""The others are slow tests."""


def train(folder: Path, name: str, steps: int = STEPS, *more: str) -> Path:
    network = name.partition("-")[0]
    own = [*([] if "--agent" in NETWORKS[name] else PPO), *NETWORKS[name]]
    flags = [
        *COMMON,
        *EVAL,
        *own,
        "--network",
        network,
        "--steps",
        str(steps),
        "--run-dir",
        str(folder),
    ]
    main([*flags, *more])  # in this process: what resumes has one of its own
    return runfolder.resolve("latest", folder)


def assert_same(a: dict, b: dict) -> None:
    """Every tensor and number of two checkpoints is equal; wall-clock time aside."""
    found = difference(a, b)
    assert found["equal"] and found["tensors"] > 25, found


class Resumed(NamedTuple):
    """A run that a new process went on with."""

    folder: Path
    status: int
    said: str
    """What was printed."""


EACH = """
import contextlib, io, json, sys
from bio_rl.__main__ import main
for arguments in json.loads(sys.argv[1]):
    output, status = io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            main(["resume", *arguments])
        except SystemExit as stop:
            status = stop.code
    print(json.dumps([status, output.getvalue()]))
"""
"""A process that resumes several runs in turn: to start one costs six seconds, a short run one."""


def resume_in_a_new_process(*commands: list[str]) -> list[Resumed]:
    """What each resume came to, all of them in one process that has trained nothing."""
    command = [sys.executable, "-c", EACH, json.dumps(commands)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    return [Resumed(Path(c[0]), *result) for c, result in zip(commands, results, strict=True)]


def cut_at_half(whole: Path, place: Path) -> Path:
    """A copy of a run as if it had been killed right after the checkpoint at half of its steps."""
    cut = shutil.copytree(whole, place)
    (cut / "result.json").unlink()
    for path in (cut / "checkpoints").glob("step_*.pt"):
        if int(path.stem[5:]) > STEPS // 2:
            path.unlink()
    return cut


def stopped_by_ctrl_c(folder: Path) -> tuple[Path, int, str, str]:
    """A run in a process of its own that is stopped after the first row of its log: its folder, the
    status of the process, its output and its errors.
    """
    flags = [*COMMON, *EVAL, *PPO, "--network", "spiking", *NETWORKS["spiking"]]
    command = [sys.executable, "-m", "bio_rl", *flags, "--steps", str(LONG)]
    process = subprocess.Popen(
        [*command, "--run-dir", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(folder / "latest", process)
    wait_for(runfolder.resolve("latest", folder) / "metrics.jsonl", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return runfolder.resolve("latest", folder), process.returncode, out, err


class Runs(NamedTuple):
    """Runs that were cut, longer or stopped, and what resuming them came to."""

    whole: dict[str, Path]
    """Uninterrupted ones by network, of the quick ones."""
    resumed: dict[str, Resumed]
    stopped: tuple[Path, int, str, str]
    steps_at_stop: int


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    """All that a new process has to resume, so that one process does it."""
    place = tmp_path_factory.mktemp("runs")
    pool = ThreadPoolExecutor(1)
    stopping = pool.submit(stopped_by_ctrl_c, place / "stopped")  # a process starts slowly
    whole = {name: train(place / "whole" / name, name) for name in QUICK}
    commands = {
        name: [str(cut_at_half(folder, place / f"cut-{name}"))] for name, folder in whole.items()
    }
    longer = train(place / "longer", "mlp", 512)
    commands["longer"] = [str(longer), "--steps", "1024"]
    main([*ACROBOT, "--run-dir", str(place / "acrobot")])
    commands["acrobot"] = [str(runfolder.resolve("latest", place / "acrobot")), "--steps", "1024"]
    train(place / "both", "mlp-sac", SHORT, "--seeds", "2")
    commands["seed"] = [str(seeds_of(place / "both")[1]), "--steps", str(2 * SHORT)]
    shutil.copytree(place / "both", place / "both-before")
    whole["seeds"] = place / "both-before"
    stopped = stopping.result()
    pool.shutdown()
    steps_at_stop = last_tree(stopped[0])["runner"]["seen"]
    commands["stopped"] = [str(stopped[0])]
    results = resume_in_a_new_process(*commands.values())
    return Runs(whole, dict(zip(commands, results, strict=True)), stopped, steps_at_stop)


def assert_goes_on(whole: Path, resumed: Resumed) -> None:
    """A run that was cut at half ends as the uninterrupted one did."""
    cut = resumed.folder
    assert resumed.status == 0 and f"at step {STEPS // 2:,}" in resumed.said, resumed.said
    assert_same(last_tree(whole), last_tree(cut))
    one, two = (json.loads((f / "result.json").read_text()) for f in (whole, cut))
    assert one["returns"] == two["returns"]
    rows, again = (read_rows(f / "metrics.jsonl") for f in (whole, cut))
    assert [row["step"] for row in rows] == [row["step"] for row in again]


@pytest.mark.parametrize("name", QUICK)
def test_a_run_resumed_from_a_checkpoint_in_a_new_process_equals_the_uninterrupted_one(runs, name):
    assert_goes_on(runs.whole[name], runs.resumed[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in QUICK])
def test_a_run_of_any_network_resumed_in_a_new_process_equals_the_uninterrupted_one(tmp_path, name):
    whole = train(tmp_path / "whole", name)
    [resumed] = resume_in_a_new_process([str(cut_at_half(whole, tmp_path / "cut"))])
    assert_goes_on(whole, resumed)


def seeds_of(parent: Path) -> list[Path]:
    return sorted(parent.glob("Hopper*"))


def test_seeds_side_by_side_give_runs_that_resume_as_if_each_had_been_trained_alone(tmp_path, runs):
    alone = train(tmp_path, "mlp-sac", SHORT, "--seed", "1")
    folders = seeds_of(runs.whole["seeds"])
    assert [json.loads((f / "config.json").read_text())["run"]["seed"] for f in folders] == [0, 1]
    assert json.loads((folders[1] / "result.json").read_text())["steps"] == SHORT
    one, other = last_tree(alone), last_tree(folders[1])
    assert sorted(one) == sorted(other) and one["runner"]["seen"] == other["runner"]["seen"]
    a, b = (dict(t["agent"]["modules"]) for t in (one, other))
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-4)
    assert torch.equal(one["agent"]["generators"], other["agent"]["generators"])
    resumed = runs.resumed["seed"]
    assert resumed.status == 0, resumed.said
    assert last_tree(resumed.folder)["runner"]["seen"] == 2 * SHORT


def test_ctrl_c_saves_and_the_printed_command_resumes_to_the_same_end(tmp_path, runs):
    folder, status, out, err = runs.stopped
    assert status == 130, err
    assert f"resume {folder}" in out and "Traceback" not in err
    assert 0 < runs.steps_at_stop < LONG
    assert runs.resumed["stopped"].status == 0
    whole = train(tmp_path, "spiking", LONG)
    assert_same(last_tree(whole), last_tree(folder))


def test_a_seed_gives_the_same_weights_whatever_the_number_of_threads(tmp_path):
    experiment = config.experiment("Hopper-v5", "ppo", "spiking")
    env, weights = api.make_env(experiment.run, 1), []
    for threads in (2, 1):
        torch.set_num_threads(threads)
        weights.append(api.make_agent(experiment, env).weights[0].detach())
        assert torch.get_num_threads() == threads
    assert torch.equal(*weights)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Until a file is there with something in it."""
    for _ in range(6000):
        if path.is_file() and path.stat().st_size:
            return
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.01)
    raise AssertionError(f"{path} was not written")


def test_resume_with_more_steps_extends_the_horizon_and_says_what_the_schedules_do(runs):
    resumed = runs.resumed["longer"]
    assert resumed.status == 0, resumed.said
    assert "512 steps -> 1,024 steps" in resumed.said and "learning rate" in resumed.said
    tree = last_tree(resumed.folder)
    assert tree["runner"]["seen"] == 1024 and tree["horizon"] == [1024, 0]


def test_an_environment_that_cannot_save_its_physics_says_so_on_resume(runs):
    resumed = runs.resumed["acrobot"]
    assert resumed.status == 0 and "episodes start anew" in resumed.said


def test_the_comparison_of_checkpoints_can_fail(tmp_path):
    tree = last_tree(train(tmp_path, "mlp", 256))
    other = checkpoint.load(
        max((runfolder.resolve("latest", tmp_path) / "checkpoints").glob("step_*.pt"))
    )
    next(leaves(other["agent"])).add_(1)
    assert difference(tree, other)["different"] == 1


@pytest.mark.slow
def test_kill_9_never_loses_more_than_one_interval_or_a_readable_checkpoint(tmp_path):
    found = kill(tmp_path, kills=5, seed=1)
    assert (
        found["unreadable"] == 0
        and found["most_steps_lost"] <= found["interval"] + found["rollout"]
    )
