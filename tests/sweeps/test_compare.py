"""`bio-rl compare`: the cases that it trains, what it does not train again, and what it prints."""

import json

import pytest

from bio_rl import __main__ as cli
from bio_rl.cli import compare
from bio_rl.sweeps import schedule
from bio_rl.viz import comparison


def record(mean: float) -> dict:
    costs = {"acs": 0.0, "macs": 1234.4, "spikes": 0.0}
    return {
        **{"mean": mean, "best_eval": mean, "seconds": 10.0, "steps": 100},
        "operations": {"mlp": costs, "spiking": costs | {"acs": 99.0}},
    }


@pytest.fixture
def trained(monkeypatch):
    """Trainings that return at once; a seed of 3 fails."""
    done = []

    def run(todo, jobs, run_dir):
        for training in todo:
            done.append(f"{training.case} {training.seed}")
            failed = schedule.TrainingError(f"{training} ended with status 1")
            means = {seed: record(100.0 + seed) for seed in training.each}
            yield training, failed if training.seed == 3 else means

    monkeypatch.setattr(schedule, "run_all", run)
    monkeypatch.setattr(comparison, "draw", lambda trainings, run_dir, out: out)
    return done


def refused(capsys, *arguments: str) -> str:
    """The message of a command that is refused, which ends with status 2."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["compare", *arguments])
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_one_command_trains_every_seed_and_prints_a_table_with_intervals(trained, tmp_path, capsys):
    cli.main(["compare", "--seeds", "3", "--out", str(tmp_path / "c")])
    printed = capsys.readouterr().out
    assert trained == [f"CartPole-v1/ppo/{n} {s}" for s in range(3) for n in ("spiking", "mlp")]
    assert "CartPole-v1/ppo/mlp" in printed and "[98.52, 103.5]" in printed
    assert "1,234 MAC, 99 AC" in printed and "spiking / mlp, CartPole-v1/ppo: 1 [" in printed
    assert "95% t interval over 3 seeds, on 2 degrees of freedom" in printed
    written = json.loads((tmp_path / "c" / "compare.json").read_text())
    assert written["bench"] == "compare" and written["settings"]["seeds"] == 3
    assert written["results"]["CartPole-v1/ppo/mlp"]["setting"]["agent"]["lr"] == 1e-3


def test_finished_runs_are_not_repeated_and_failed_ones_are(trained, tmp_path, capsys):
    where = ["--network", "mlp", "--out", str(tmp_path / "c")]
    assert "all others are kept" in refused(capsys, *where, "--seeds", "4")
    trained.clear()
    cli.main(["compare", *where, "--seeds", "3"])
    assert trained == [] and "3 of 3 runs are finished already" in capsys.readouterr().out
    refused(capsys, *where, "--seeds", "5")
    assert [line.split()[-1] for line in trained] == ["3", "4"]


def test_flags_that_are_given_twice_are_two_cases(trained, tmp_path):
    cli.main(["compare", "--network", "spiking", "--seeds", "1", "--out", str(tmp_path / "c"),
              "--flags=", "--flags=--neuron alif"])  # fmt: skip
    assert trained == [f"CartPole-v1/ppo/spiking{x} 0" for x in ("", " --neuron alif")]


def test_rules_and_flags_make_cases_of_their_own():
    flags = compare.Flags(
        agent=("three_factor",),
        network=("spiking",),
        rule=("eprop", "oja"),
        flags=("", "--num-envs 2"),
        seeds=1,
    )
    assert [case.partition(" ")[2] for case in compare.of(flags.plan)] == [
        "--rule eprop",
        "--rule eprop --num-envs 2",
        "--rule oja",
        "--rule oja --num-envs 2",
    ]


def test_the_folder_is_named_after_the_tasks_and_wrong_names_are_refused(capsys):
    assert compare.Flags(env=("bio_rl/Catch-v0",)).folder.name == "compare_Catch-v0"
    assert "did you mean 'spiking'" in refused(capsys, "--network", "spikin")
    assert "--seeds is 0, expected at least one" in refused(capsys, "--seeds", "0")


def test_one_seed_has_no_interval():
    assert comparison.interval(None) == "-"
    assert comparison.network_of("bio_rl/Catch-v0/ppo/mlp --num-envs 2") == "mlp"


@pytest.mark.slow
def test_from_nothing_to_a_picture_in_one_command(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "c"
    cli.main(["compare", "--steps", "4000", "--seeds", "2", "--network", "mlp", "--out", str(out)])
    assert (out / "compare.png").stat().st_size > 10_000
    assert len(list((out / "runs").glob("*/*_s*_*/result.json"))) == 2
    assert f"wrote {out / 'compare.png'}" in capsys.readouterr().out
