"""`bio-rl tune`: its ranges, its trials, how it goes on after a crash, and the preset it writes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bio_rl import __main__ as cli
from bio_rl import checks
from bio_rl.checks import Among, Between
from bio_rl.cli import tune
from bio_rl.faults import DivergedError
from bio_rl.sweeps import schedule, tuning
from bio_rl.training import config, flags
from bio_rl.training.evaluation import Evaluation
from bio_rl.training.progress import Progress

pytest.importorskip("optuna")
WORDS = ["--env", "CartPole-v1", "--network", "mlp"]


class Faked:
    """Trainings that return at once: the nearer the learning rate is to 0.003, the better."""

    def __init__(self) -> None:
        self.trained: list[config.Experiment] = []
        self.crash_at = -1
        """The training that is cut off after its first evaluation, as by kill -9."""

    def __call__(self, experiment, callback, voice):
        assert voice.quiet
        self.trained.append(experiment)
        score = -abs(experiment.agent.lr - 0.003)
        for i in range(1, 11):
            if callback(Progress(100 * i, i / 10, {}, Path("."), score + (i - 10) * 1e-6)):
                return type("Trained", (), {"stopped": signal.SIGINT})
            if len(self.trained) == self.crash_at:
                raise SystemExit(9)
        return type("Trained", (), {"stopped": None, "evaluation": Evaluation.of([score], [1])})


@pytest.fixture
def faked(monkeypatch):
    made = Faked()
    monkeypatch.setattr(tuning.api, "run_experiment", made)
    return made


def tuned(folder, *arguments: str) -> None:
    cli.main(["tune", *WORDS, "--seeds", "0", "--out", str(folder), *arguments])


def test_the_first_trial_has_the_usual_settings_and_the_best_is_written_as_a_preset(
    faked, tmp_path, capsys
):
    tuned(tmp_path / "t", "--trials", "12")
    usual = config.experiment("CartPole-v1", "ppo", "mlp")
    assert faked.trained[0].agent == usual.agent and len(faked.trained) == 12
    assert {one.run.seed for one in faked.trained} == {tuning.SEED}
    best = min(faked.trained, key=lambda one: abs(one.agent.lr - 0.003))
    written = config.experiment("CartPole-v1", "ppo", "mlp", preset=tmp_path / "t" / "preset.toml")
    assert written.agent == best.agent and written.network == best.network
    text = (tmp_path / "t" / "preset.toml").read_text()
    assert "12 trials, trained with these seeds: 1000." in text
    printed = capsys.readouterr().out
    assert "trial 0: " in printed and "the usual settings" in printed
    assert "--network mlp --preset" in printed


def test_where_the_usual_settings_are_the_best_there_is_nothing_to_compare(faked, tmp_path, capsys):
    cli.main(["tune", *WORDS, "--trials", "1", "--out", str(tmp_path / "t")])
    assert "there is nothing to compare" in capsys.readouterr().out
    found = config.experiment("CartPole-v1", "ppo", "mlp", preset=tmp_path / "t" / "preset.toml")
    assert found.agent == config.experiment("CartPole-v1", "ppo", "mlp").agent


def test_a_trial_below_the_median_of_the_others_is_pruned(faked, tmp_path, capsys):
    tuned(tmp_path / "t", "--trials", "14")
    assert "pruned at" in capsys.readouterr().out


def test_the_score_of_a_trial_is_the_mean_over_its_seeds(faked, tmp_path):
    tuned(tmp_path / "t", "--trials", "1", "--trial-seeds", "3")
    assert [one.run.seed for one in faked.trained] == [1000, 1001, 1002]


def test_a_study_goes_on_where_it_was_cut_off_and_does_that_trial_again(faked, tmp_path):
    faked.crash_at = 4
    with pytest.raises(SystemExit):
        tuned(tmp_path / "t", "--trials", "6")
    assert len(faked.trained) == 4
    faked.crash_at = -1
    tuned(tmp_path / "t", "--trials", "6")
    assert len(faked.trained) == 7  # 3, the one that was cut off twice, 2 more
    assert faked.trained[4].agent == faked.trained[3].agent
    others = {one.agent for one in faked.trained}
    assert len(others) == 6, "a sampler that begins anew would draw the same settings"
    tuned(tmp_path / "t", "--trials", "6")
    assert len(faked.trained) == 7


def test_a_study_of_other_settings_is_not_mixed_with_this_one(faked, tmp_path, capsys):
    tuned(tmp_path / "t", "--trials", "1")
    with pytest.raises(SystemExit):
        tuned(tmp_path / "t", "--trials", "2", "--flags=--num-envs 3")
    assert "num-envs 16, now 3" in capsys.readouterr().err


def test_a_trial_that_diverges_has_failed_and_the_search_goes_on(faked, tmp_path, monkeypatch):
    def run(experiment, callback, voice):
        if len(faked.trained) == 1:
            faked.trained.append(experiment)
            raise DivergedError("the agent diverged: nan\nmore")
        return faked(experiment, callback, voice)

    monkeypatch.setattr(tuning.api, "run_experiment", run)
    tuned(tmp_path / "t", "--trials", "3")
    assert len(faked.trained) == 3


def test_flags_of_every_training_are_in_the_preset_too(faked, tmp_path):
    given = "--num-envs 3 --eval-episodes 2"
    tuned(tmp_path / "t", "--trials", "1", f"--flags={given}", "--steps", "900")
    words = [*WORDS, "--preset", str(tmp_path / "t" / "preset.toml")]
    asked = flags.experiment([*WORDS, "--steps", "900", *given.split()])
    assert flags.experiment(words).run == asked.run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials", "0"], "--trials is 0, expected at least one"),
        (["--seeds", "2000"], "--seeds is 2000, expected 0 to 1,000"),
        (["--flags=--eval-episodes 0"], "mean of 3 evaluations while training"),
        (["--flags=--checkpoints 2"], "expected at least 1 and 3"),
    ],
)
def test_what_cannot_be_tuned_is_refused(arguments, message, faked, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        tuned(tmp_path / "t", *arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert not faked.trained


def test_without_optuna_the_extra_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit):
        tuned(tmp_path / "t")
    assert "pip install 'bio-rl[tune]'" in capsys.readouterr().err


def test_a_range_holds_the_value_that_a_preset_has_put_beyond_it():
    experiment = config.experiment("CartPole-v1", "ppo", "mlp", agent_settings={"lr": 0.5})
    found = tuning.searches(experiment)
    assert found["ppo.lr"] == Between(1e-4, 0.5, log=True)
    assert found["mlp.activation"] == Among(("tanh", "relu"))
    odd = config.experiment("CartPole-v1", "ppo", "mlp", agent_settings={"gamma": 0.93})
    assert 0.93 in tuning.searches(odd)["ppo.gamma"].values


def test_a_setting_that_is_off_stays_off():
    off = config.experiment("CartPole-v1", "three_factor", "spiking")
    assert "three_factor.hidden_lr" in tuning.searches(off)
    off = tuning.with_values(off, {"three_factor.hidden_lr": 0.0})
    assert "three_factor.hidden_lr" not in tuning.searches(off)


@pytest.mark.parametrize("agent", ["ppo", "sac", "td3", "dqn", "three_factor", "hebbian", "eprop"])
def test_every_agent_declares_ranges_that_hold_their_defaults_and_are_accepted(agent):
    module = config.agents_module(agent)
    part = module.Config()
    assert len(checks.searches(part)) >= 4
    for name, search in checks.searches(part).items():
        usual = vars(part)[name]
        if isinstance(search, Among):
            assert usual in search.values, name
            ends = search.values
        else:
            assert search.low <= usual <= search.high, name
            ends = (search.low, search.high)
        for value in ends:
            config.fill(part, {name: value}, agent)


def test_fresh_seeds_tell_the_tuned_settings_from_the_usual_ones_or_do_not():
    def case(*means: float) -> dict:
        return {"seeds": {str(i): {"mean": mean} for i, mean in enumerate(means)}}

    assert tune.verdict(case(1.0, 1.1, 0.9), case(9.0, 9.1, 8.9)).endswith("are better")
    assert tune.verdict(case(9.0, 9.1, 8.9), case(1.0, 1.1, 0.9)).endswith("are worse")
    assert tune.verdict(case(1.0, 9.0), case(2.0, 8.0)).endswith("do not tell them apart")
    assert tune.verdict(case(1.0), case(8.0)).startswith("tuned - usual: +7: these seeds")


def test_the_best_is_compared_with_the_usual_settings_on_seeds_that_tuned_nothing(
    faked, tmp_path, monkeypatch, capsys
):
    trained = []

    def run(todo, jobs, run_dir):
        for training in todo:
            trained.append((training.seed, "--preset" in training.flags))
            record = {"mean": 5.0, "best_eval": 5.0, "seconds": 1.0, "steps": 100}
            yield training, {training.seed: record}

    monkeypatch.setattr(schedule, "run_all", run)
    out = tmp_path / "t"
    cli.main(["tune", *WORDS, "--trials", "12", "--seeds", "2", "--out", str(out)])
    assert trained == [(0, False), (0, True), (1, False), (1, True)]
    written = json.loads((out / "tune.json").read_text())
    assert len(written["trials"]) == 12 and written["trials"][0]["state"] == "complete"
    assert written["settings"]["trial_seed"] == 1000 and len(written["results"]) == 2
    assert "do not tell them apart" in capsys.readouterr().out


@pytest.mark.slow
def test_a_study_survives_kill_9(tmp_path):
    out = tmp_path / "t"
    command = [sys.executable, "-m", "bio_rl", "tune", *WORDS, "--steps", "3000", "--seeds", "0"]
    command += ["--trials", "3", "--out", str(out)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    # killed within the second trial: its run folder is there, its result is not
    until = time.monotonic() + 120
    while len(list(out.glob("trials/*_s1000_*"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    printed, _ = first.communicate()
    assert "trial 0: " in printed and "trial 1: " not in printed
    second = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "1 of them are over already" in second.stdout
    assert second.stdout.count("\ntrial ") == 2 and (out / "preset.toml").is_file()
