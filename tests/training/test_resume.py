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
from pathlib import Path

import pytest
import torch

from bio_rl.__main__ import main
from bio_rl.bench.resume import difference, kill, last_tree
from bio_rl.state import leaves
from bio_rl.training import api, checkpoint, config
from bio_rl.training.metrics import read_rows

STEPS = 1024
COMMON = ["--env", "Hopper-v5", "--num-envs", "4"]
PPO = ["--ppo.update-every", "32", "--ppo.minibatch", "32", "--ppo.epochs", "2"]
EVAL = ["--eval-episodes", "2", "--checkpoints", "4"]
FEW = ["--sac.ratio", "0.1"]
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


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "bio_rl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


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
    return (folder / "latest").resolve()


def assert_same(a: dict, b: dict) -> None:
    """Every tensor and number of two checkpoints is equal; wall-clock time aside."""
    found = difference(a, b)
    assert found["equal"] and found["tensors"] > 25, found


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in NETWORKS]
)
def test_a_run_resumed_from_a_checkpoint_in_a_new_process_equals_the_uninterrupted_one(
    tmp_path, name
):
    whole = train(tmp_path / "whole", name)
    cut = shutil.copytree(whole, tmp_path / "cut")
    (cut / "result.json").unlink()
    for path in (cut / "checkpoints").glob(
        "step_*.pt"
    ):  # as if killed right after the checkpoint at N
        if int(path.stem[5:]) > STEPS // 2:
            path.unlink()
    resumed = run("resume", str(cut))
    assert resumed.returncode == 0 and f"at step {STEPS // 2:,}" in resumed.stdout, resumed.stderr
    assert_same(last_tree(whole), last_tree(cut))
    one, two = (json.loads((f / "result.json").read_text()) for f in (whole, cut))
    assert one["returns"] == two["returns"]
    assert [r["step"] for r in read_rows(whole / "metrics.jsonl")] == [
        r["step"] for r in read_rows(cut / "metrics.jsonl")
    ]


def test_seeds_side_by_side_give_runs_that_resume_as_if_each_had_been_trained_alone(tmp_path):
    steps = STEPS // 4  # in many more, rounding would grow: one product serves both
    alone = train(tmp_path / "alone", "mlp-sac", steps, "--seed", "1")
    train(tmp_path / "both", "mlp-sac", steps, "--seeds", "2")
    folders = sorted((tmp_path / "both").glob("Hopper*"))
    assert [json.loads((f / "config.json").read_text())["run"]["seed"] for f in folders] == [0, 1]
    assert json.loads((folders[1] / "result.json").read_text())["steps"] == steps
    one, other = last_tree(alone), last_tree(folders[1])
    assert sorted(one) == sorted(other) and one["runner"]["seen"] == other["runner"]["seen"]
    a, b = (dict(t["agent"]["modules"]) for t in (one, other))
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-4)
    assert torch.equal(one["agent"]["generators"], other["agent"]["generators"])
    done = run("resume", str(folders[1]), "--steps", str(2 * steps))
    assert done.returncode == 0 and last_tree(folders[1])["runner"]["seen"] == 2 * steps, (
        done.stderr
    )


def test_ctrl_c_saves_and_the_printed_command_resumes_to_the_same_end(tmp_path):
    whole = train(tmp_path / "whole", "spiking", 4 * STEPS)
    flags = [
        *COMMON,
        *EVAL,
        *PPO,
        "--network",
        "spiking",
        *NETWORKS["spiking"],
        "--steps",
        str(4 * STEPS),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "bio_rl", *flags, "--run-dir", str(tmp_path / "cut")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(tmp_path / "cut" / "latest" / "metrics.jsonl", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    folder = (tmp_path / "cut" / "latest").resolve()
    assert f"resume {folder}" in out and "Traceback" not in err
    assert last_tree(folder)["runner"]["seen"] < 4 * STEPS
    assert run("resume", str(folder)).returncode == 0
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
    """Until the first row of the log is written."""
    for _ in range(6000):
        if path.is_file() and path.stat().st_size:
            return
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.01)
    raise AssertionError(f"{path} was not written")


def test_resume_with_more_steps_extends_the_horizon_and_says_what_the_schedules_do(tmp_path):
    folder = train(tmp_path, "mlp", 512)
    done = run("resume", str(folder), "--steps", "1024")
    assert (
        done.returncode == 0
        and "512 steps -> 1,024 steps" in done.stdout
        and "learning rate" in done.stdout
    )
    tree = last_tree(folder)
    assert tree["runner"]["seen"] == 1024 and tree["horizon"] == [1024, 0]


def test_an_environment_that_cannot_save_its_physics_says_so_on_resume(tmp_path):
    flags = [
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
    ]
    main([*flags, "--ppo.update-every", "32", "--run-dir", str(tmp_path)])
    done = run("resume", "latest", "--run-dir", str(tmp_path), "--steps", "1024")
    assert done.returncode == 0 and "episodes start anew" in done.stdout


def test_the_comparison_of_checkpoints_can_fail(tmp_path):
    tree = last_tree(train(tmp_path, "mlp", 256))
    other = checkpoint.load(max((tmp_path / "latest" / "checkpoints").glob("step_*.pt")))
    next(leaves(other["agent"])).add_(1)
    assert difference(tree, other)["different"] == 1


@pytest.mark.slow
def test_kill_9_never_loses_more_than_one_interval_or_a_readable_checkpoint(tmp_path):
    found = kill(tmp_path, kills=5, seed=1)
    assert (
        found["unreadable"] == 0
        and found["most_steps_lost"] <= found["interval"] + found["rollout"]
    )
