"""The benches of brains and of lives write down the settings that they ran with."""

import pytest

from bio_rl.bench import brains, lives


def test_brains_record_the_settings_that_they_were_trained_with():
    settings = brains.Settings(env="CartPole-v1", brains=2, steps=80, episodes=1, seeds=(0, 1))
    [figures] = brains.run(settings).values()
    setting = figures["setting"]
    assert setting["run"]["steps"] == 80 and setting["run"]["seeds"] == 2
    assert setting["agent"]["dopamine"] == "rpe" and setting["network"]["width"] == 0.75
    assert figures["brains"] == 4


@pytest.mark.thorough
def test_lives_record_the_control_that_they_ran_with(monkeypatch):
    monkeypatch.setattr(lives, "latencies", lambda experiment: lives.np.ones((2, lives.TRIALS)))
    settings = lives.Settings(cases=("bandit", "maze"), lives=1)
    found = lives.run(settings)
    recorded = {case: figures["setting"]["agent"]["dopamine"] for case, figures in found.items()}
    assert recorded == {
        "bandit rpe": "rpe",
        "bandit shuffled": "shuffled",
        "water maze rpe": "rpe",
        "water maze shuffled": "shuffled",
    }
    assert found["bandit rpe"]["setting"]["agent"]["lr_final"] == 1.0
    assert found["water maze rpe"]["setting"]["world"]["move_at"] == lives.MOVED


def test_the_inverted_motor_records_its_settings_and_when_it_turns(monkeypatch):
    for name, value in {"INVERTED_AT": 200, "HORIZON": 400, "WINDOW": 1, "AFTER": 1}.items():
        monkeypatch.setattr(lives, name, value)
    [figures] = lives.inverted(lives.Settings(cases=("inverted",), lives=2)).values()
    setting = figures["setting"]
    assert setting["run"]["perturb"] == ["force=-1@life:200"]
    assert setting["agent"].items() >= lives.RELEARNING.items()
