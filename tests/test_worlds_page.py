"""The list of worlds: what a row says, and that an id which cannot be made costs its row and nothing more."""

import gymnasium as gym
import numpy as np
import pytest

from bio_rl import envs, statistics
from bio_rl.viz import tables, worlds


def test_list_shows_every_id_with_its_scores_in_columns(capsys):
    tables.environments()
    lines = capsys.readouterr().out.splitlines()
    rows = {word: line.split() for line in lines for word in line.split() if word.startswith("bio_rl/")}
    assert rows.keys() >= envs.discover().keys()
    assert rows["bio_rl/Hopper-v5"][-5:] == ["Box(11)", "Box(3)", "1000", "17.1", "3,500"]
    header = next(line for line in lines if line.startswith("family"))
    bandit = next(line for line in lines if "bio_rl/Bandit-v0" in line)
    assert len(bandit.rstrip()) > header.index("expert") + 6  # its ideal stands to the right of the empty expert column


def test_an_id_that_cannot_be_made_says_so_in_its_row(capsys, monkeypatch):
    gym.register("bio_rl/Broken-v0", vector_entry_point="bio_rl.envs.games.broken:Broken", max_episode_steps=7)
    monkeypatch.setattr(envs, "discover", lambda: {"bio_rl/Broken-v0": {}, "bio_rl/Bandit-v0": {}})
    try:
        tables.environments()
    finally:
        del gym.registry["bio_rl/Broken-v0"]
    said = capsys.readouterr().out
    assert "bio_rl/Broken-v0 cannot be made here: ModuleNotFoundError" in said and "bio_rl/Bandit-v0" in said


def test_spaces_read_short():
    box, token = gym.spaces.Box(0, 255, (7, 7, 3), np.uint8), gym.spaces.Discrete(32)
    assert worlds.short(gym.spaces.Dict(image=box, token=token)) == "{image: Box(7, 7, 3), token: Discrete(32)}"
    assert worlds.short(gym.spaces.MultiDiscrete([3, 2])) == "MultiDiscrete(3, 2)"
    assert worlds.short(gym.spaces.MultiBinary(100)) == "MultiBinary(100)"


def test_the_normalised_score_is_0_at_random_and_1_at_the_expert():
    reference = {"random": -280.0, "expert": 10_000.0}
    assert statistics.normalised(-280.0, reference) == (0.0, "expert")
    assert statistics.normalised(4860.0, reference) == (0.5, "expert")
    assert statistics.normalised(3.0, {"random": 1.0, "ideal": 2.0}) == (2.0, "ideal")  # not clipped
    assert statistics.normalised(3.0, {"random": 1.0}) is None and statistics.normalised(3.0, {}) is None


def test_reference_scores_are_found_under_either_name_and_absent_for_other_worlds():
    assert (
        worlds.reference("Hopper-v5")
        == worlds.reference("bio_rl/Hopper-v5")
        == pytest.approx({"random": 17.1, "expert": 3500.0})
    )
    assert worlds.reference("tests.worlds:Clock-v0") == {}
