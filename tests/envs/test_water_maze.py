"""WaterMaze-v0: moves, the wall, the platform and its visit by hand; what is seen; the observer's
search.
"""

import numpy as np
import pytest

from bio_rl.envs.neuroscience._water_maze_search import locate, spiral
from bio_rl.envs.neuroscience.water_maze import STEP, WIDTH, WaterMaze, place_cells
from bio_rl.vector.trials import scores


def placed(platform: tuple[float, float], start: float = 0.0, **settings) -> WaterMaze:
    """One pool with its platform there and all starts at the angle `start`."""
    env = WaterMaze(1, **settings)
    env.reset(seed=0)
    env.drawn["platform"][:] = platform
    env.drawn["start"][:] = start
    env.put_at_start(np.array([0]))
    return env


def test_a_visit_of_the_platform_by_hand() -> None:
    env = placed(
        (0.8, 0.0), trials=2
    )  # the start is (1, 0): two moves west end at 0.9, on the platform's edge
    obs, reward, *_ = env.step(np.array([4]))
    assert (
        reward == 0 and obs[0, -2:].tolist() == [0, 0] and obs[0, 64:66] == pytest.approx([-1, 0])
    )
    env.drawn["platform"][:, :, 0] += 1e-6
    obs, reward, terminated, *_ = env.step(np.array([4]))
    assert reward == 1 and not terminated and obs[0, -2:].tolist() == [0, 1]
    assert locate(obs[:, :64], place_cells(), WIDTH)[0] == pytest.approx([0.9, 0.0], abs=1e-5)
    obs, reward, terminated, *_ = env.step(np.array([4]))
    assert reward == 0 and not terminated and obs[0, -2:].tolist() == [1, 0]
    assert locate(obs[:, :64], place_cells(), WIDTH)[0] == pytest.approx([1.0, 0.0], abs=1e-5)
    env.step(np.array([4])), env.step(np.array([4]))
    assert env.step(np.array([0]))[2]


def test_the_wall_stops_and_a_trial_without_success_ends_after_its_limit() -> None:
    env = placed((-0.8, 0.0), trials=2, limit=3)
    for k in range(6):
        obs, reward, terminated, *_ = env.step(np.array([0]))  # against the wall
        assert env.position[0] == pytest.approx([1.0, 0.0]) and reward == 0
        assert bool(terminated[0]) == (k == 5) and obs[0, -2] == (k == 2)


def test_turns_are_to_the_left_and_at_most_90_degrees() -> None:
    env = placed(
        (-0.8, 0.0), start=-np.pi / 2, control="turn"
    )  # from the southernmost place, heading north
    env.step(np.array([[0.0]], np.float32))
    env.step(np.array([[1.0]], np.float32))
    assert env.position[0] == pytest.approx([-STEP, STEP - 1])
    obs, *_ = env.step(np.array([[-0.5]], np.float32))
    assert obs[0, 64:66] == pytest.approx([-(0.5**0.5), 0.5**0.5])


def test_place_cells_cover_the_pool_and_tell_the_place() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 2))
    x *= (np.sqrt(rng.random(1000)) / np.hypot(*x.T))[:, None]
    cells = place_cells()
    apart = np.hypot(*(x[:, None] - cells).transpose(2, 0, 1))
    assert np.hypot(*cells.T).max() < 1 and apart.min(1).max() < 0.2
    found = locate(np.exp(-np.square(apart) / (2 * WIDTH**2)).astype(np.float32), cells, WIDTH)
    assert np.abs(found - x).max() < 1e-4


def test_the_platform_stays_or_moves_where_it_was_said() -> None:
    env = WaterMaze(500, move_at=3)
    env.reset(seed=0)
    platform = env.drawn["platform"]
    assert (platform[:, :3] == platform[:, :1]).all() and (
        platform[:, 3:] == platform[:, 3:4]
    ).all()
    first, second = platform[:, 0], platform[:, 3]
    assert (
        np.hypot(*(first - second).T).min() > 0.45
        and np.hypot(*platform.reshape(-1, 2).T).max() <= 0.9
    )
    assert abs((np.hypot(*first.T) < 0.45).mean() - 0.25) < 0.07  # uniform: a quarter of the area


def test_a_platform_once_found_is_found_in_every_later_trial() -> None:
    env = WaterMaze(300, trials=5)
    observer, (obs, _), begun = env.ideal(), env.reset(seed=0), np.ones(300, bool)
    found, over = np.zeros((300, 6), bool), np.zeros(300, bool)
    while not over.all():
        trial = env.trial.copy()
        obs, reward, terminated, *_ = env.step(observer(obs, begun))
        found[np.arange(300), trial] |= (reward > 0) & ~over
        begun, over = np.zeros(300, bool), over | terminated
    later = np.logical_or.accumulate(found[:, :4], axis=1)
    assert 0.65 < found[:, 0].mean() < 0.79 and found[:, 1:5][later].all()


def test_a_platform_that_moved_is_found_again() -> None:
    env = WaterMaze(200, trials=6, move_at=3)
    assert scores(env, env.ideal(), 200).mean() > 5.2


def test_the_sweep_follows_the_compass() -> None:
    sides = np.diff(spiral()[:-1], axis=0)  # the last leads to the centre
    angle = np.arctan2(sides[:, 1], sides[:, 0]) / (np.pi / 4)
    assert np.abs(angle - np.round(angle)).max() < 1e-9


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="no control called 'turns'; did you mean 'turn'"):
        WaterMaze(control="turns")
    with pytest.raises(
        ValueError, match="move_at is trial 8, expected None or a trial from 1 to 7"
    ):
        WaterMaze(move_at=8)
    with pytest.raises(ValueError, match="limit is 0 moves"):
        WaterMaze(limit=0)
