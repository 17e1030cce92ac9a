"""Presets: what a TOML file beside an agent says, and what it inherits."""

from __future__ import annotations

import types

from bio_rl.training import config


def test_a_preset_stands_over_the_one_that_it_inherits_setting_by_setting(tmp_path):
    (tmp_path / "base.toml").write_text(
        '["*/mlp".run]\nnum_envs = 3\n["*/mlp".network]\nhidden = [4]\nactivation = "relu"\n'
    )
    (tmp_path / "own.toml").write_text(
        'inherits = "base.toml"\n["*/mlp".network]\nhidden = [8]\n["World-v0".agent]\ngamma = 0.5\n'
    )
    module = types.ModuleType("own")
    module.__file__ = str(tmp_path / "own.py")
    assert config.preset_table(module) == {
        "*/mlp": {"run": {"num_envs": 3}, "network": {"hidden": [8], "activation": "relu"}},
        "World-v0": {"agent": {"gamma": 0.5}},
    }
