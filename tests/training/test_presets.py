"""Presets: what a TOML file beside an agent says, and what it inherits."""

from __future__ import annotations

import types

import pytest

from bio_rl.training import config, flags, presets


def test_a_preset_stands_over_the_one_that_it_inherits_setting_by_setting(tmp_path):
    (tmp_path / "base.toml").write_text(
        '["*/mlp".run]\nnum_envs = 3\n["*/mlp".network]\nhidden = [4]\nactivation = "relu"\n'
    )
    (tmp_path / "own.toml").write_text(
        'inherits = "base.toml"\n["*/mlp".network]\nhidden = [8]\n["World-v0".agent]\ngamma = 0.5\n'
    )
    module = types.ModuleType("own")
    module.__file__ = str(tmp_path / "own.py")
    assert presets.of_agent(module) == {
        "*/mlp": {"run": {"num_envs": 3}, "network": {"hidden": [8], "activation": "relu"}},
        "World-v0": {"agent": {"gamma": 0.5}},
    }


def preset_file(folder, text):
    """A file of presets of a user's own."""
    path = folder / "mine.toml"
    path.write_text(text)
    return path


MINE = 'agent = "ppo"\n["CartPole-v1/mlp".agent]\ngamma = 0.5\n["CartPole-v1".run]\nsteps = 9_000\n'


def test_a_file_of_ones_own_stands_over_the_agents_presets_and_under_what_is_asked_for(tmp_path):
    path = preset_file(tmp_path, MINE)
    found = config.experiment("CartPole-v1", "ppo", "mlp", preset=path)
    assert found.agent.gamma == 0.5 and found.run.steps == 9_000
    assert found.agent.lr == 1e-3  # of the preset that the agent has
    assert found.preset == ("CartPole-v1", "mine.toml: CartPole-v1", "mine.toml: CartPole-v1/mlp")
    asked = config.experiment("CartPole-v1", "ppo", "mlp", preset=path, steps=7)
    assert asked.run.steps == 7


def test_the_flag_of_a_preset_file_gives_its_settings_and_other_flags_win(tmp_path):
    path = preset_file(tmp_path, MINE)
    words = ["--env", "CartPole-v1", "--network", "mlp", "--preset", str(path)]
    assert flags.experiment(words).agent.gamma == 0.5
    assert flags.experiment([*words, "--ppo.gamma", "0.7"]).agent.gamma == 0.7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gamma = ", "is no TOML file"),
        ('["CartPole-v1".run]\nsteps = 1\n', "is for the agent None, not for 'ppo'"),
        ('agent = "sac"\n', "is for the agent 'sac', not for 'ppo'"),
        ('agent = "ppo"\nsteps = 3\n', "'steps' holds 3, expected tables called run"),
        ('agent = "ppo"\n["CartPole-v1".net]\na = 1\n', "holds net, expected tables"),
        ('agent = "ppo"\n["Catch-v0".run]\nsteps = 1\n', "has nothing for CartPole-v1 with mlp"),
        (
            'agent = "ppo"\n["CartPole-v1".agent]\ngama = 1\n',
            "has no setting called 'gama'; did you",
        ),
    ],
)
def test_a_preset_file_that_says_nothing_of_the_run_is_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        config.experiment("CartPole-v1", "ppo", "mlp", preset=preset_file(tmp_path, text))
