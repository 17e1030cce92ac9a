"""The list of worlds: what a row says, and that an id which cannot be made costs its row and
nothing more.
"""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from bio_rl import envs
from bio_rl.training import statistics
from bio_rl.viz import strip, tables, worldbook, worlds

PAGE = Path(__file__).parents[2] / worldbook.PAGE


def test_list_shows_every_id_with_its_scores_in_columns(capsys):
    tables.environments()
    lines = capsys.readouterr().out.splitlines()
    rows = {
        word: line.split() for line in lines for word in line.split() if word.startswith("bio_rl/")
    }
    assert rows.keys() >= envs.discover().keys()
    assert rows["bio_rl/Hopper-v5"][-5:] == ["Box(11)", "Box(3)", "1000", "17.1", "3,500"]
    header = next(line for line in lines if line.startswith("family"))
    bandit = next(line for line in lines if "bio_rl/Bandit-v0" in line)
    assert (
        len(bandit.rstrip()) > header.index("expert") + 6
    )  # its ideal stands to the right of the empty expert column


def test_an_id_that_cannot_be_made_says_so_in_its_row(capsys, monkeypatch):
    gym.register(
        "bio_rl/Broken-v0",
        vector_entry_point="bio_rl.envs.games.broken:Broken",
        max_episode_steps=7,
    )
    monkeypatch.setattr(envs, "discover", lambda: {"bio_rl/Broken-v0": {}, "bio_rl/Bandit-v0": {}})
    try:
        tables.environments()
    finally:
        del gym.registry["bio_rl/Broken-v0"]
    said = capsys.readouterr().out
    assert (
        "bio_rl/Broken-v0 cannot be made here: ModuleNotFoundError" in said
        and "bio_rl/Bandit-v0" in said
    )


def test_spaces_read_short():
    box, token = gym.spaces.Box(0, 255, (7, 7, 3), np.uint8), gym.spaces.Discrete(32)
    assert (
        worlds.short(gym.spaces.Dict(image=box, token=token))
        == "{image: Box(7, 7, 3), token: Discrete(32)}"
    )
    assert worlds.short(gym.spaces.MultiDiscrete([3, 2])) == "MultiDiscrete(3, 2)"
    assert worlds.short(gym.spaces.MultiBinary(100)) == "MultiBinary(100)"


def test_the_normalised_score_is_0_at_random_and_1_at_the_expert():
    reference = {"random": -280.0, "expert": 10_000.0}
    assert statistics.normalised(-280.0, reference) == (0.0, "expert")
    assert statistics.normalised(4860.0, reference) == (0.5, "expert")
    assert statistics.normalised(3.0, {"random": 1.0, "ideal": 2.0}) == (
        2.0,
        "ideal",
    )  # not clipped
    assert (
        statistics.normalised(3.0, {"random": 1.0}) is None
        and statistics.normalised(3.0, {}) is None
    )


def test_reference_scores_are_found_under_either_name_and_absent_for_other_worlds():
    assert (
        worlds.reference("Hopper-v5")
        == worlds.reference("bio_rl/Hopper-v5")
        == pytest.approx({"random": 17.1, "expert": 3500.0})
    )
    assert worlds.reference("tests.worlds:Clock-v0") == {}


def test_the_page_is_what_the_registry_says_now():
    found = worlds.worlds()
    page, remedy = PAGE.read_text(encoding="utf-8"), "run `python -m bio_rl.viz.worldbook`"
    missing = [world.id for world in found if f"| **{world.name}**<br>" not in page]
    assert not missing, f"{PAGE.name} lacks {missing}: {remedy}"
    wanted = worldbook.text(found, worldbook.folder(PAGE)).splitlines()
    stale = [line for line in page.splitlines() if line not in wanted]
    assert not stale, f"{PAGE.name} is stale: {remedy}\n" + "\n".join(stale)


def test_the_pages_pictures_are_small_and_of_worlds_that_exist():
    from PIL import Image

    names = {env_id.removeprefix("bio_rl/") for env_id in envs.discover()}
    for path in worldbook.folder(PAGE).glob("*.png"):
        assert path.stem in names and path.stat().st_size <= worldbook.BYTES, path
        with Image.open(path) as image:
            assert image.width <= worldbook.WIDTH and image.height >= worldbook.HEIGHT, path


def test_a_row_shows_a_picture_only_where_there_is_one_and_keeps_the_tables_bars(tmp_path):
    world = worlds.World(
        "control",
        "bio_rl/X-v0",
        line="ends where |x| > 1",
        observation="Box(2)",
        action="Discrete(2)",
        steps=7,
    )
    row = worldbook.row(world._replace(reference={"random": 1.0, "ideal": 2.0}), width=0)
    assert row == r"|  | **X-v0**<br>ends where \|x\| > 1 | Box(2) | Discrete(2) | 7 | 1 |  | 2 |"
    assert 'src="pictures/worlds/X-v0.png"' in worldbook.row(world, width=160)
    assert "cannot be made here: no pygame" in worldbook.row(
        world._replace(fault="no pygame"), width=0
    )


@pytest.mark.parametrize(
    ("height", "width", "size"), [(300, 300, (240, 240)), (10, 20, (240, 120)), (9, 200, (200, 63))]
)
def test_a_picture_is_small_and_drawn_the_same_every_time(height, width, size):
    image = pytest.importorskip("PIL.Image")
    from io import BytesIO

    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    data = worldbook.png(noise)
    assert data == worldbook.png(noise)
    assert image.open(BytesIO(data)).size == size
    smooth = np.tile(np.linspace(0, 255, width).astype(np.uint8)[:, None], (height, 1, 3))
    assert len(worldbook.png(smooth)) <= worldbook.BYTES


def test_the_picture_of_a_world_is_the_same_every_time():
    first = worldbook.frame("bio_rl/BanditReversal-v0")
    assert (
        first.ndim == 3
        and first.any()
        and np.array_equal(first, worldbook.frame("bio_rl/BanditReversal-v0"))
    )


def test_a_world_without_a_picture_is_still_in_the_page(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(worldbook, "worlds", lambda: [worlds.read("bio_rl/Bandit-v0")])
    monkeypatch.setattr(worldbook.strip, "pixels", lambda env_id: 1 / 0)
    worldbook.main([str(tmp_path / "worlds.md")])
    assert (
        "**Bandit-v0**" in (tmp_path / "worlds.md").read_text()
        and "<img" not in (tmp_path / "worlds.md").read_text()
    )
    assert "bio_rl/Bandit-v0 has no picture: ZeroDivisionError" in capsys.readouterr().out


def test_a_strip_shows_what_the_ideal_observer_sees_does_and_earns():
    lived = strip.lived("bio_rl/GoNoGo-v0")
    assert lived.observations.shape == (strip.STEPS, 3)
    assert lived.names.channels == ("go", "no-go", "response cue")
    # it responds while the cue is on, and is paid each time
    responds = lived.actions[:, 0] == 1
    assert responds.any() and (lived.observations[responds, 2] == 1).all()
    assert (lived.rewards[responds] == 1.0).all()


def test_only_worlds_without_a_picture_of_their_own_have_a_strip():
    assert strip.is_trial_world("bio_rl/GoNoGo-v0")
    assert not strip.is_trial_world("bio_rl/TMaze-v0")
    assert not strip.is_trial_world("bio_rl/CartPole-v1")
