"""The benches' command line, their JSON, and what the learning bench keeps and resumes. Never how
fast anything is.
"""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from bio_rl.bench import __main__ as cli
from bio_rl.bench import _report, damage, gpu, learning, neurons, plasticity, worlds
from bio_rl.sweeps import cases, figures, result_file, schedule

KEYS = {"bench", "commit", "device", "versions", "settings", "results"}
TINY = {
    "env_step": ["--env", "Hopper-v5", "--num-envs", "4", "--rounds", "1", "--seconds", "0.02"],
    "runner": ["--num-envs", "1", "--steps", "8", "--rollouts", "1", "--rounds", "2"],
    "worlds": [
        "--env",
        "Hopper-v5",
        "Bandit-v0",
        "--num-envs",
        "1",
        "32",
        "--rounds",
        "1",
        "--budget",
        "0.01",
    ],
    "neurons": [
        "--shapes",
        "2",
        "3",
        "4",
        "5",
        "2",
        "--threads",
        "1",
        "--rounds",
        "1",
        "--seconds",
        "0.001",
    ],
    "plasticity": [
        "--shapes",
        "2",
        "3",
        "4",
        "--no-compile",
        "--threads",
        "1",
        "--rounds",
        "1",
        "--seconds",
        "0.001",
    ],
    "ppo": [
        "--num-envs",
        "4",
        "--rollout",
        "16",
        "--minibatch",
        "32",
        "--epochs",
        "1",
        "--rounds",
        "1",
        "--updates",
        "1",
    ],
}


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


@pytest.mark.parametrize("bench", TINY)
def test_the_last_line_is_one_json_object_with_every_key(bench, capsys, tmp_path):
    cli.main([bench, *TINY[bench], "--json", "--out", str(tmp_path / "results" / "x.json")])
    printed = last_line(capsys)
    assert printed.keys() == KEYS and printed["bench"] == bench
    assert printed["results"] and all(printed["results"].values())
    assert "json" not in printed["settings"] and printed["versions"]["torch"]
    assert json.loads((tmp_path / "results" / "x.json").read_text()) == printed


def test_the_module_is_a_command_and_without_json_prints_a_table():
    command = [sys.executable, "-m", "bio_rl.bench", "runner", *TINY["runner"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "overhead_us" in done.stdout and "{" not in done.stdout


def test_an_unknown_bench_exits_with_2_and_names_the_nearest(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["env_stop"])
    assert stopped.value.code == 2
    assert "did you mean 'env_step'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["env_step", "--seconds", "0"], "expected positive"),
        (["env_step", "--env", "Acrobot-v1"], "no environment of its own"),
        (["worlds", "--env", "Blackjack-v1"], "no world of its own"),
        (["worlds", "--budget", "0"], "expected positive"),
        (["neurons", "--threads", "0"], "expected positive"),
        (["plasticity", "--shapes", "2", "3", "0"], "expected positive"),
        (["learning", "--jobs", "0"], "--jobs is 0"),
        (["learning", "--network", "spikin"], "did you mean 'spiking'"),
    ],
)
def test_refused_settings_exit_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_sides_are_measured_in_turn_and_ratios_are_paired():
    calls, a, b = [], iter([9.0, 2.0, 4.0, 6.0]), iter([9.0, 1.0, 4.0, 2.0])

    def side(name, values):
        return lambda: calls.append(name) or next(values)

    measured = _report.interleave({"a": side("a", a), "b": side("b", b)}, rounds=3)
    assert calls == [
        "a",
        "b",
        "a",
        "b",
        "b",
        "a",
        "a",
        "b",
    ]  # one warm-up, then every other round backwards
    figures = measured.figures("a", "b")
    assert figures["steps_per_s"] == 4.0  # median of 2, 4, 6
    assert figures["vs_b"] == 2.0 and figures["vs_b_quartiles"] == [1.5, 2.5]  # of 2/1, 4/4, 6/2


def test_worlds_are_compared_per_single_step_with_few_of_the_single_class():
    assert (
        worlds.peers("bio_rl/Hopper-v5", 1024) == 16
        and worlds.peers("bio_rl/Bandit-v0", 1024) == 64
    )
    assert worlds.peers("bio_rl/Hopper-v5", 1) == 1
    found = worlds.figures(
        _report.Rounds({"1024": [8.0, 6.0, 4.0], "sync 1024": [2.0, 2.0, 2.0]}), 1024
    )
    assert (
        found["steps_per_s"] == 6.0 and found["vs_sync"] == 3.0 and found["sync_steps_per_s"] == 2.0
    )


def test_a_stepper_counts_the_steps_of_all_environments(monkeypatch):
    clock = iter([0.0, 0.5, 1.0])
    monkeypatch.setattr(worlds.time, "perf_counter", lambda: next(clock))
    env = worlds.gym.make_vec("bio_rl/Bandit-v0", 10)
    assert worlds.stepper(env, seconds=0.6)() == 20.0  # two steps of ten in one second


def test_a_world_that_cannot_be_made_is_left_out_of_the_bench(monkeypatch, capsys):
    def missing(env_id, settings):
        raise worlds.gym.error.DependencyNotInstalled("pictures need pygame")

    monkeypatch.setattr(worlds, "compare", missing)
    assert worlds.run(worlds.Settings(env=("Bandit-v0",))) == {}
    assert "bio_rl/Bandit-v0 is left out: pictures need pygame" in capsys.readouterr().out


def test_all_sides_of_neurons_have_the_same_weights_and_ours_computes_what_spikingjelly_does():
    pytest.importorskip("spikingjelly", exc_type=ImportError)
    forwards, x = neurons.sides(3, 4, 5, 6, 2)
    assert next(iter(forwards)) == "ours" and forwards.keys() >= {"ours", "spikingjelly", "mlp"}
    out = {side: module(x).detach() for side, module in forwards.items()}
    assert out["ours"].shape == (3, 4, 2) and out["ours"].std() > 0
    assert torch.allclose(out["ours"], out["spikingjelly"]) and not torch.allclose(
        out["ours"], out["mlp"]
    )
    for module in forwards.values():
        assert all(
            torch.equal(a, b)
            for a, b in zip(module.parameters(), forwards["ours"].parameters(), strict=True)
        )


def test_a_missing_peer_is_left_out_and_the_rest_is_measured(monkeypatch, capsys):
    def missing(n_in, hidden, n_out):
        raise ImportError("No module named 'norse'")

    monkeypatch.setattr(neurons, "PEERS", {"norse": missing, "mlp": neurons.Mlp})
    cli.main(["neurons", *TINY["neurons"], "--json"])
    printed = capsys.readouterr().out
    assert "norse is left out" in printed and "bio-rl[bench]" in printed
    results = json.loads(printed.strip().splitlines()[-1])["results"]
    assert (
        results["geometric mean"].keys() == {"vs_mlp", "vs_mlp_min"}
        and "norse_ms" not in results["T2 B3 4-5-2"]
    )


def test_the_mean_over_shapes_takes_the_fastest_peer_of_each():
    def rounds(ours, norse, snntorch):
        return _report.Rounds(
            {"ours": [ours], "norse": [norse], "snntorch": [snntorch], "mlp": [2 * ours]}
        )

    found = neurons.means(
        {"a": rounds(8.0, 1.0, 2.0), "b": rounds(9.0, 9.0, 3.0)}
    )  # calls per second: 8/2 and 9/9
    assert found == {
        "vs_fastest_peer": 2.0,
        "vs_fastest_peer_min": 1.0,
        "vs_mlp": 0.5,
        "vs_mlp_min": 0.5,
    }


def test_all_sides_of_plasticity_compute_the_same():
    def after(call) -> list[torch.Tensor]:
        s = plasticity.Synapses(5, 3, 7, torch.device("cpu"))
        call(s)
        return [s.w, s.e, s.y]

    forms = [
        lambda s, f=f: f(s.w, s.e, s.x, s.signal, s.modulator, s.x_next, s.y)
        for f in plasticity.FORMS
    ]
    forms += [
        lambda s, name=name: plasticity.calls(s)[name]()
        for name in ("ours", "torch baddbmm", "torch addcmul")
    ]
    reference, *others = map(after, forms)
    assert (
        len(others) == 4
        and (reference[0].abs() == plasticity.BOUND).any()
        and (reference[2] != 0).all()
    )
    for other in others:
        torch.testing.assert_close(other, reference, rtol=1e-5, atol=1e-6)


def test_plasticity_leaves_out_what_has_no_memory_or_no_compiler_and_says_so(monkeypatch, capsys):
    def no_compiler(form, **settings):
        raise RuntimeError("no C++ compiler\nlooked for g++")

    monkeypatch.setattr(plasticity, "memory", lambda device: 1000.0)
    monkeypatch.setattr(torch, "compile", no_compiler)
    flags = [
        "--shapes",
        "2",
        "3",
        "4",
        "8",
        "4",
        "4",
        "--threads",
        "1",
        "--rounds",
        "1",
        "--seconds",
        "0.001",
        "--json",
    ]
    cli.main(["plasticity", *flags])
    printed = capsys.readouterr().out
    assert "B8 4x4 is left out: it needs 0.0 GiB" in printed
    assert "torch.compile is left out: RuntimeError: no C++ compiler\n" in printed
    results = json.loads(printed.strip().splitlines()[-1])["results"]
    assert results.keys() == {"B2 3x4"} and not any("compile" in name for name in results["B2 3x4"])


def test_plasticity_compares_with_the_fastest_form_of_each_side():
    speeds = {
        "ours": [8.0, 8.0],
        "torch a": [1.0, 4.0],
        "torch b": [2.0, 4.0],
        "compile c": [4.0, 4.0],
        "floor": [16.0, 16.0],
    }
    found = plasticity.figures(_report.Rounds(speeds), moved=125e3)
    assert (
        found["vs_torch"] == 3.0 and found["vs_compile"] == 2.0 and found["times_floor"] == 2.0
    )  # (8/2 + 8/4) / 2
    assert found["forms"] == {"torch": "torch b", "compile": "compile c"}
    assert found["ours_ms"] == 125.0 and found["gb_per_s"] == 0.002  # 2 x 125 kB in 125 ms


def record(mean: float) -> dict:
    return {"mean": mean, "best_eval": mean + 1.0, "seconds": 10.0, "steps": 100}


def case(*means: float) -> dict:
    return {"setting": {}, "seeds": {str(i): record(m) for i, m in enumerate(means)}}


def test_learning_reports_the_ratio_of_interquartile_means_and_its_mean_over_environments():
    found = figures.summary(
        {
            "A-v0/ppo/spiking": case(0.0, 9.0, 10.0, 11.0, 99.0),
            "A-v0/ppo/mlp": case(5.0, 5.0, 5.0, 5.0, 5.0),
            "B-v0/ppo/spiking": case(4.0, 4.0, 4.0, 4.0, 4.0),
            "B-v0/ppo/mlp": case(4.0, 4.0, 4.0, 4.0, 4.0),
        }
    )
    spiking = found["A-v0/ppo/spiking"]
    assert (
        spiking["iqm"] == 10.0
        and spiking["median"] == 10.0
        and spiking["min"] == 0.0
        and spiking["iqm_best"] == 11.0
    )
    assert spiking[figures.RATIO] == 2.0
    assert found["B-v0/ppo/spiking"][f"{figures.RATIO}_interval"] == [1.0, 1.0]
    assert found[figures.MEAN][figures.RATIO] == 1.5
    low, high = found[figures.MEAN][f"{figures.RATIO}_interval"]
    assert low < 1.5 < high


def test_learning_reports_normalised_scores_only_where_every_seed_has_one():
    scored = {
        "seeds": {str(i): record(5.0) | {"normalised": x} for i, x in enumerate((0.5, 1.0))},
        "setting": {},
    }
    found = figures.summary({"A-v0/ppo/mlp": scored, "B-v0/ppo/mlp": case(1.0, 2.0)})
    assert (
        found["A-v0/ppo/mlp"]["normalised_mean"] == 0.75
        and found["A-v0/ppo/mlp"]["normalised_min"] == 0.5
    )
    assert "normalised_mean" not in found["B-v0/ppo/mlp"]


def test_damage_compares_each_seed_with_itself_and_asks_the_world_for_its_legs():
    found = damage.figures([50.0, 0.0], intact=[100.0, 400.0])
    assert found == {"mean": 25.0, "by_seed": [50.0, 0.0], "kept": 0.25, "kept_max": 0.5}
    asked = damage.conditions(damage.Settings(kinds=("limp",)))
    assert asked == {
        "intact": {"damage": "none"},
        "back limp": {"damage": "back", "kind": "limp"},
        "front limp": {"damage": "front", "kind": "limp"},
    }
    with pytest.raises(ValueError, match="no legs to damage"):
        damage.run(damage.Settings(world="CartPole-v1"))


def test_learning_takes_ratios_of_normalised_scores_where_there_are_any():
    cases = {
        f"A-v0/sac/{n}": case(*means)
        for n, means in {"spiking": (-9.0, -9.0), "mlp": (-8.0, -8.0)}.items()
    }
    for name, score in {"spiking": 0.9, "mlp": 1.0}.items():
        for one in cases[f"A-v0/sac/{name}"]["seeds"].values():
            one["normalised"] = score
    assert figures.summary(cases)["A-v0/sac/spiking"][figures.RATIO] == 0.9


def test_seeds_are_trained_side_by_side_where_the_learner_can():
    settings = learning.Settings(
        env=("Catch-v0",), network=("mlp",), agent=("dqn", "ppo"), seeds=(0, 1, 3)
    )
    found = [str(t) for t in cases.side_by_side(settings.plan.trainings)]
    assert found == [
        "Catch-v0/dqn/mlp seeds 0, 1",
        "Catch-v0/ppo/mlp seed 0",
        "Catch-v0/ppo/mlp seed 1",
        "Catch-v0/dqn/mlp seed 3",
        "Catch-v0/ppo/mlp seed 3",
    ]
    alone = settings.plan.trainings[0]
    dopamine = replace(alone, env="CartPole-v1", agent="three_factor", network="cells")
    assert cases.trains_side_by_side(dopamine)
    assert not cases.trains_side_by_side(replace(dopamine, network="mlp"))


def test_learning_reports_no_ratio_of_negative_returns():
    found = figures.summary({"A-v0/ppo/spiking": case(-3.0), "A-v0/ppo/mlp": case(-5.0)})
    assert figures.RATIO not in found["A-v0/ppo/spiking"]


@pytest.fixture
def trained(monkeypatch):
    """Trainings that return at once; a seed of 13 fails."""
    done = []

    def run(todo, jobs, run_dir):
        for training in todo:
            done.append((training.case, training.seed))
            failed = schedule.TrainingError("seed 13 ended with status 1:\nZeroDivisionError")
            yield (
                training,
                failed
                if training.seed == 13
                else {seed: record(float(seed)) for seed in training.each},
            )

    monkeypatch.setattr(schedule, "run_all", run)
    return done


def test_finished_seeds_are_kept_and_not_trained_again(trained, tmp_path, capsys):
    out = ["--out", str(tmp_path / "x.json"), "--json"]
    flags = ["learning", "--env", "CartPole-v1", "--steps", "100", *out]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*flags, "--seeds", "1", "13", "2"])
    assert stopped.value.code == 1 and "ZeroDivisionError" in capsys.readouterr().err
    cli.main([*flags, "--seeds", "1", "2", "3", "--network", "spiking", "mlp"])
    assert trained[3:] == [
        (f"CartPole-v1/ppo/{n}", s) for s, n in [(1, "mlp"), (2, "mlp"), (3, "spiking"), (3, "mlp")]
    ]
    results = last_line(capsys)["results"]
    assert results["CartPole-v1/ppo/spiking"]["n"] == results["CartPole-v1/ppo/mlp"]["n"] == 3


def test_seeds_trained_with_other_settings_are_never_mixed(trained, tmp_path, capsys):
    out = ["--out", str(tmp_path / "x.json")]
    cli.main(["learning", "--env", "CartPole-v1", "--steps", "100", "--seeds", "1", *out])
    with pytest.raises(SystemExit) as stopped:
        cli.main(["learning", "--env", "CartPole-v1", "--steps", "200", "--seeds", "2", *out])
    assert stopped.value.code == 2 and "run.steps 100, now 200" in capsys.readouterr().err


@pytest.mark.slow
def test_learning_trains_in_processes_and_reports_a_failed_one(tmp_path, capsys):
    flags = [
        "--env",
        "CartPole-v1",
        "--steps",
        "2000",
        "--seeds",
        "0",
        "1",
        "--episodes",
        "3",
        "--json",
    ]
    cli.main(
        ["learning", *flags, "--out", str(tmp_path / "x.json"), "--run-dir", str(tmp_path / "runs")]
    )
    found = last_line(capsys)["results"]["CartPole-v1/ppo/spiking"]
    assert found["n"] == 2 and found["min"] >= 8.0 and len(found["seeds"]["0"]["returns"]) == 3
    together = [
        "--env",
        "Pendulum-v1",
        "--network",
        "mlp",
        "--agent",
        "td3",
        "--steps",
        "400",
        "--seeds",
        "1",
        "2",
        "--json",
    ]
    cli.main(["learning", *together, "--episodes", "2"])
    found = last_line(capsys)["results"]["Pendulum-v1/td3/mlp"]
    assert found["n"] == 2 and all(
        record["side_by_side"] == 2 for record in found["seeds"].values()
    )
    training = schedule.Training(
        env="CartPole-v1", network="mlp", agent="ppo", seed=-1, steps=9, episodes=20
    )
    [(_, error)] = schedule.run_all([training], 1, tmp_path)
    assert isinstance(error, schedule.TrainingError) and "--seed is -1" in str(error)


def test_a_learning_file_older_than_a_setting_is_still_read():
    training = schedule.Training(
        env="CartPole-v1", network="mlp", agent="ppo", seed=0, steps=9, episodes=20
    )
    now = cases.setting(training)
    older = {**now, "run": {k: v for k, v in now["run"].items() if k != "perturb"}}
    assert older != now and cases.completed(older) == now
    other = {**now, "agent": now["agent"] | {"clip": 0.5}}
    assert cases.completed(other) != now


def test_the_ppo_and_training_rows_of_bench_gpu_run_on_any_device():
    learned = gpu.ppo("mlp", updates=1, device="cpu")
    assert all(x > 0 for x in learned.values())
    assert gpu.train("mlp", updates=1, device="cpu")["steps_per_s"] > 0


def flagged(flags: str, agent: str = "ppo", network: str = "spiking", env: str = "CartPole-v1"):
    """A training with further flags."""
    return schedule.Training(
        env=env, network=network, agent=agent, seed=3, steps=9, episodes=20, flags=flags
    )


@pytest.mark.parametrize(
    ("training", "part", "name", "value"),
    [
        (flagged("--neuron alif"), "network", "neuron", "alif"),
        (
            flagged("--three-factor.dopamine shuffled", "three_factor", "cells"),
            "agent",
            "dopamine",
            "shuffled",
        ),
        (flagged("--rule eprop", "three_factor"), "agent", "rule", "eprop"),
        (
            flagged("--spiking.no-memory --spiking.events 0", env="MaskedCartPole-v0"),
            "network",
            "memory",
            False,
        ),
        (flagged("--num-envs 3"), "run", "num_envs", 3),
    ],
)
def test_flags_are_recorded_as_what_they_set(training, part, name, value):
    recorded = cases.setting(training)
    assert recorded[part][name] == value and recorded["flags"] == training.flags
    without = cases.setting(replace(training, flags=""))
    assert without[part][name] != value and "flags" not in without


@pytest.mark.thorough
def test_the_recorded_setting_is_the_one_that_the_training_has(tmp_path):
    training = flagged("--neuron alif --num-envs 2 --checkpoints 1 --eval-episodes 0")
    [(_, records)] = schedule.run_all([replace(training, seed=0)], 1, tmp_path)
    assert records[0]["mean"] >= 8.0
    folder = replace(training, seed=0).folder(tmp_path)
    saved = json.loads((folder / "config.json").read_text())
    run = {k: v for k, v in saved["run"].items() if k not in ("seed", "run_dir")}
    recorded = cases.setting(training)
    assert run == recorded["run"]
    assert [saved[part] for part in ("agent", "network")] == [
        recorded[part] for part in ("agent", "network")
    ]


def test_seeds_of_another_neuron_are_not_mixed_under_the_same_flags(trained, tmp_path, capsys):
    preset = tmp_path / "mine.toml"
    flags = [
        "learning",
        "--env",
        "CartPole-v1",
        "--steps",
        "100",
        "--out",
        str(tmp_path / "x.json"),
    ]
    flags += [f"--flags=--preset {preset}"]
    section = 'agent = "ppo"\n["CartPole-v1".network]\nneuron = '
    preset.write_text(f'{section}"alif"\n')
    cli.main([*flags, "--seeds", "1"])
    preset.write_text(f'{section}"plif"\n')
    cases._resolved.cache_clear()  # another process would read the file anew
    with pytest.raises(SystemExit) as stopped:
        cli.main([*flags, "--seeds", "2"])
    assert stopped.value.code == 2
    assert "network.neuron 'alif', now 'plif'" in capsys.readouterr().err


def test_a_bench_warns_before_it_measures_changed_code_for_a_file(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(result_file, "code", lambda: {"hash": "a" * 40, "dirty": True})
    cli.main(["runner", *TINY["runner"], "--out", str(tmp_path / "x.json")])
    assert "the code differs from its commit aaaaaaaaaaaa" in capsys.readouterr().err
    assert json.loads((tmp_path / "x.json").read_text())["commit"]["dirty"] is True
    cli.main(["runner", *TINY["runner"]])
    assert "differs" not in capsys.readouterr().err
