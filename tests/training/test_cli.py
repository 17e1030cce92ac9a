"""The command line as its user meets it: refused input exits 2 with one clear message; trained runs
can be used.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import bio_rl
from bio_rl.__main__ import main
from bio_rl.training import runfolder

TINY = [
    "--env",
    "CartPole-v1",
    "--steps",
    "256",
    "--num-envs",
    "2",
    "--ppo.update-every",
    "16",
    "--eval-episodes",
    "2",
]


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    out = capsys.readouterr()
    text = out.err + out.out
    assert "Traceback" not in text
    return " ".join(text.split())


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    main([*TINY, "--network", "mlp", "--run-dir", str(folder)])
    return runfolder.resolve("latest", folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "HalfChetah-v5"], "did you mean 'HalfCheetah-v5'?"),
        (["--env", "nowhere:Id-v0"], "cannot import 'nowhere'"),
        (["--agent", "pp"], "no agent called 'pp'; did you mean 'ppo'?"),
        (["--network", "spikin"], "no network called 'spikin'; did you mean 'spiking'?"),
        (["--steps", "0"], "--steps is 0, expected a positive number"),
        (["--steps", "many"], "--steps"),
        (["--num-envs", "-1"], "--num-envs is -1"),
        (["--seed", "-1"], "--seed is -1"),
        (["--device", "tpu"], "known: auto, cpu, cuda"),
        (["--ppo.gamma", "2"], "ppo.gamma is 2.0, expected a number from 0 to 1"),
        (["--ppo.minibatch", "0"], "ppo.minibatch is 0, expected a positive number"),
        (["--spiking.ticks", "0"], "spiking.ticks is 0"),
        (["--no-such-flag", "1"], "no-such-flag"),
        (
            ["--env", "Blackjack-v1"],
            "ppo with spiking cannot learn Blackjack-v1: observation space",
        ),
        (["walk"], "no command called 'walk'"),
        (["list", "env"], "did you mean 'envs'?"),
        (["eval", "no-such-run"], "no run 'no-such-run'"),
        (["resume", "no-such-run"], "no run 'no-such-run'"),
        (["play", "no-such-run"], "no run 'no-such-run'"),
        (["eval", "latest", "--episodes", "0"], "--episodes is 0"),
    ],
)
def test_bad_input_is_refused(capsys, run, arguments, message):
    if arguments[0] == "eval":
        arguments = [*arguments, "--run-dir", str(run.parent)]
    assert message in refused(capsys, *arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_cuda_says_how_to_go_on(capsys):
    assert "go on with --device cpu" in refused(capsys, "--device", "cuda")


@pytest.mark.parametrize(("how", "what"), [("nan", "observation"), ("reward", "reward")])
def test_nan_stops_training_with_its_index_its_step_and_the_checkpoint_kept(
    capsys, tmp_path, monkeypatch, how, what
):
    from tests import worlds

    _, *others = worlds.Broken.__init__.__defaults__
    monkeypatch.setattr(worlds.Broken.__init__, "__defaults__", (how, *others))
    # five steps are good: a checkpoint at step 4 is there before the fault
    flags = (
        "--env tests.worlds:Broken-v0 --network mlp --num-envs 1 --steps 100 --ppo.update-every 2"
        " --ppo.minibatch 2 --checkpoints 50 --eval-episodes 0"
    )
    text = refused(capsys, *flags.split(), "--run-dir", str(tmp_path))
    assert (
        f"the {what} of environment 0 is NaN or infinite at its step 5" in text
        and "last checkpoint: step 4" in text
    )
    assert bio_rl.load("latest", run_dir=tmp_path).steps == 4


def test_play_draws_a_raster_of_a_spiking_run_and_refuses_one_without_spikes(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    small = [
        "--steps",
        "64",
        "--num-envs",
        "2",
        "--ppo.update-every",
        "16",
        "--ppo.minibatch",
        "16",
        "--run-dir",
        str(tmp_path),
    ]
    main([*small, "--spiking.hidden", "8", "6", "--eval-episodes", "1", "--checkpoints", "1"])
    main(
        [
            "play",
            "latest",
            "--run-dir",
            str(tmp_path),
            "--raster",
            str(tmp_path / "spikes.png"),
            "--decisions",
            "7",
        ]
    )
    assert (tmp_path / "spikes.png").stat().st_size > 10_000
    assert "expected a file that ends in" in refused(
        capsys, "play", "--run-dir", str(tmp_path), "--raster", "spikes.txt"
    )
    main(["eval", "latest", "--run-dir", str(tmp_path), "--episodes", "1"])
    said = capsys.readouterr().out
    assert "ACs" in said and "mlp of the default size" in said
    main([*small, "--network", "mlp", "--eval-episodes", "0"])
    assert "no spikes to draw" in refused(
        capsys, "play", "--run-dir", str(tmp_path), "--raster", str(tmp_path / "no.png")
    )


def test_a_neuron_is_chosen_with_one_flag_and_an_unknown_one_is_refused(capsys):
    assert "did you mean 'alif'" in refused(capsys, "--neuron", "aliff")
    assert "neuron" in refused(capsys, "--network", "mlp", "--neuron", "alif")


def test_eval_prints_one_json_object(capsys, run):
    main(["eval", str(run), "--episodes", "3", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["episodes"] == 3 and len(result["returns"]) == 3
    assert {"mean", "std", "median", "min", "returns"} <= set(result)


def test_eval_samples_the_policy_too_the_same_each_time_and_not_as_the_greedy_one(capsys, run):
    arguments = ["eval", str(run), "--episodes", "4", "--sample", "--json"]
    seen = []
    for _ in range(2):
        main(arguments)
        seen.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert seen[0] == seen[1]
    assert seen[0]["sampled"]["returns"] != seen[0]["returns"]
    with pytest.raises(SystemExit):
        main([*arguments, "--perturb", "gravity=2"])
    assert "--sample does not go with --perturb" in capsys.readouterr().err


def test_eval_gives_the_score_between_random_and_the_reference_where_there_is_one(
    capsys, run, monkeypatch
):
    from bio_rl.viz import worlds

    monkeypatch.setattr(worlds, "reference", lambda env: {"random": 0.0, "expert": 50.0})
    main(["eval", str(run), "--episodes", "2", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["normalised"] == result["mean"] / 50.0
    main(["eval", str(run), "--episodes", "2"])
    assert f"normalised {result['mean'] / 50.0:.2f} of expert" in capsys.readouterr().out
    monkeypatch.setattr(worlds, "reference", lambda env: {})
    main(["eval", str(run), "--episodes", "2", "--json"])
    assert json.loads(capsys.readouterr().out)["normalised"] is None


def test_eval_is_repeatable_and_its_seed_matters(capsys, run):
    results = []
    for seed in ("5", "5", "6"):
        main(["eval", str(run), "--episodes", "3", "--seed", seed, "--json"])
        results.append(capsys.readouterr().out)
    assert results[0] == results[1] != results[2]


def test_latest_is_the_newest_run_and_python_gives_the_same_as_the_command_line(capsys, run):
    trained = bio_rl.load("latest", run_dir=run.parent)
    assert trained.folder == run and trained.steps == 256
    main(
        ["eval", "latest", "--run-dir", str(run.parent), "--episodes", "4", "--seed", "1", "--json"]
    )
    assert bio_rl.evaluate(trained, 4, 1).returns == json.loads(capsys.readouterr().out)["returns"]


def test_a_run_folder_holds_what_it_should(run):
    config = json.loads((run / "config.json").read_text())
    assert (
        config["run"]["env"] == "CartPole-v1"
        and config["agent"]["update_every"] == 16
        and config["versions"]["torch"]
    )
    assert list(run.glob("events.out.tfevents.*")) and list((run / "checkpoints").glob("step_*.pt"))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 256 and {
        "rollout/ep_rew_mean",
        "train/value_loss",
        "time/fps",
    } <= set(rows[-1])


def test_python_trains_with_settings_of_agent_and_network(tmp_path):
    trained = bio_rl.train(
        "CartPole-v1",
        network="spiking",
        steps=64,
        num_envs=2,
        run_dir=tmp_path,
        eval_episodes=0,
        ppo={"update_every": 16, "minibatch": 16},
        spiking={"ticks": 2, "hidden": (8,)},
    )
    assert trained.experiment.network.config.ticks == 2 and trained.evaluation.episodes == 20
    with pytest.raises(ValueError, match="ppo has no setting called 'gama'; did you mean 'gamma'"):
        bio_rl.train("CartPole-v1", ppo={"gama": 0.9})


@pytest.mark.parametrize("damage", ["truncated", "foreign", "other agent"])
def test_a_damaged_or_foreign_checkpoint_is_a_clear_error(capsys, run, tmp_path, damage):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    for path in (copy / "checkpoints").glob("*.pt"):
        if damage == "truncated":
            path.write_bytes(path.read_bytes()[:2000])
        elif damage == "foreign":
            torch.save({"weights": torch.zeros(3)}, path)
    if damage == "other agent":
        config = json.loads((copy / "config.json").read_text())
        config["network"]["hidden"] = [7]
        (copy / "config.json").write_text(json.dumps(config))
    with (
        pytest.warns(RuntimeWarning)
        if damage != "other agent"
        else __import__("contextlib").nullcontext()
    ):
        text = refused(capsys, "eval", str(copy))
    assert ("does not fit" if damage == "other agent" else "no readable checkpoint") in text


def test_help_shows_the_agents_and_the_networks_flags_and_the_presets_values():
    done = subprocess.run(
        [sys.executable, "train.py", "--help"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0
    assert all(
        flag in done.stdout
        for flag in ("--ppo.gamma", "--spiking.ticks", "--num-envs", "resume RUN")
    )
