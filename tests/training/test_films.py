"""Films are written picture by picture: memory stays flat, an endless world ends, half a film is
none.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from bio_rl import vector
from bio_rl.faults import EnvironmentCrashedError
from bio_rl.training import api, config, evaluation
from bio_rl.training.reel import Reel
from bio_rl.viz import video

SIZE = 240
PICTURE = SIZE * SIZE * 3  # bytes


class Long(gym.Env):
    """Ends after `length` steps, or never; each picture is another. `breaks`: the step at which it
    cannot draw itself.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012
    observation_space, action_space = (
        gym.spaces.Box(-9, 9, (2,), np.float32),
        gym.spaces.Discrete(2),
    )

    def __init__(
        self, length: int | None = 200, breaks: int | None = None, render_mode: str | None = None
    ) -> None:
        self.length, self.breaks, self.render_mode = length, breaks, render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple:
        self.t += 1
        return np.zeros(2, np.float32), 1.0, False, self.t == self.length, {}

    def render(self) -> np.ndarray:
        if self.t == self.breaks:
            raise RuntimeError("no light")
        return np.full((SIZE, SIZE, 3), self.t % 255, np.uint8)


for _name, _settings in {"Long": {}, "Endless": {"length": None}, "Dark": {"breaks": 20}}.items():
    if f"{_name}Film-v0" not in gym.registry:
        gym.register(
            f"{_name}Film-v0", entry_point=Long, kwargs=_settings, disable_env_checker=True
        )


def trained(env_id: str) -> Any:
    experiment = config.experiment(env_id, "ppo", "mlp", steps=100, num_envs=1)
    env = vector.make(env_id, 1)
    return SimpleNamespace(agent=api.make_agent(experiment, env), experiment=experiment)


def grown(call: Any) -> tuple[Any, int]:
    """What a call returns, and the bytes by which memory had grown at most meanwhile."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    value = call()
    most = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return value, most


def test_filming_keeps_no_picture_in_memory() -> None:
    agent = trained("LongFilm-v0").agent
    env = vector.make("LongFilm-v0", 1, render_mode="rgb_array")
    evaluation.frames(agent, env, 0)
    (pictures, total), most = grown(lambda: evaluation.frames(agent, env, 0))
    assert total == 200.0 and len(pictures) == 200
    assert most < 20 * PICTURE, f"{most / PICTURE:.0f} of 200 pictures were in memory at once"
    assert [int(p[0, 0, 0]) for p in pictures] == list(range(200))


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_film_is_written_while_it_is_played(tmp_path, ending) -> None:
    imageio = pytest.importorskip("imageio.v3")
    run = trained("LongFilm-v0")
    video.film(run, tmp_path / f"first{ending}", 0)
    (path, total), most = grown(lambda: video.film(run, tmp_path / "a folder" / f"film{ending}", 0))
    assert total == 200.0 and most < 30 * PICTURE, (
        f"{most / PICTURE:.0f} of 200 pictures were in memory at once"
    )
    pictures = imageio.imread(path)
    assert len(pictures) == 200 and abs(int(pictures[100].mean()) - 100) < 5
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_endless_world_is_filmed_for_a_bounded_time_and_says_so(
    tmp_path, capsys, monkeypatch
) -> None:
    pytest.importorskip("imageio")
    monkeypatch.setattr(evaluation, "FILMED", 40)
    monkeypatch.setattr(video, "FILMED", 40)
    path, total = video.film(trained("EndlessFilm-v0"), tmp_path / "film.mp4", 0)
    assert total == 40.0 and path.stat().st_size > 0
    assert "the first 40 decisions: the episode had not ended" in capsys.readouterr().out


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_film_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("imageio")
    path = tmp_path / f"film{ending}"
    path.write_bytes(b"an older film")
    with pytest.raises(EnvironmentCrashedError, match="no light"):
        video.film(trained("DarkFilm-v0"), path, 0)
    assert path.read_bytes() == b"an older film" and list(tmp_path.iterdir()) == [path]


def test_a_film_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    pytest.importorskip("imageio")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"the film .*film\.mp4 cannot be written"):
        video.film(trained("LongFilm-v0"), tmp_path / "file" / "film.mp4", 0)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.zeros((0, 4)),
        np.uint8(3),
        np.ones((5, 4, 3), np.uint8),
    ],
)
def test_a_reel_gives_back_every_array_as_it_was(array) -> None:
    reel = Reel()
    for k in range(3):
        reel.append(np.asarray(array) + np.asarray(k, np.asarray(array).dtype))
    assert len(reel) == 3 and len(list(reel)) == 3
    for k, again in enumerate(reel):
        wanted = np.asarray(array) + np.asarray(k, np.asarray(array).dtype)
        np.testing.assert_array_equal(again, wanted, strict=True)
    np.testing.assert_array_equal(reel[-1], reel[2])
    with pytest.raises(IndexError):
        reel[3]
    reel[0][...] = 9  # the caller's own
    np.testing.assert_array_equal(reel[0], array)


def test_gymnasiums_record_video_films_our_worlds(tmp_path: Path) -> None:
    pytest.importorskip("moviepy")
    env = gym.wrappers.RecordVideo(
        gym.make("bio_rl/GoNoGo-v0", render_mode="rgb_array"), str(tmp_path)
    )
    env.reset(seed=0)
    for _ in range(20):
        env.step(env.action_space.sample())
    env.close()
    assert [p.suffix for p in tmp_path.iterdir()] == [".mp4"]
