"""CueAccumulation-v0: an episode by hand, spikes and what is drawn, the paper's 1 ms."""

import numpy as np
import pytest

from bio_rl.envs.neuroscience.cue_accumulation import LEVELS, CueAccumulation, spike_counts
from bio_rl.testing import check_vector_env
from bio_rl.vector.trials import scores

LEFT, RIGHT = 0, 1


def test_an_episode_by_hand() -> None:
    """Three cues of 2 steps and 1 without, a delay of 10, 3 steps with the recall cue; the last
    one's action is the turn.
    """
    env = CueAccumulation(2, cues=3, code="rates")
    env.reset(seed=0)
    env.drawn["right"][:], env.drawn["end"][:] = [True, False, True], 9 + 10 + 3
    seen, rewards, ends = [env.sense()[0]], [], []
    for _ in range(22):
        obs, reward, end, _, _ = env.step(np.array([RIGHT, LEFT]))
        seen.append(obs[0])
        rewards.append(reward.tolist())
        ends.append(end.all())
    left, right, recall, none = (
        [2, 0, 0, 0.5],
        [0, 2, 0, 0.5],
        [0, 0, 2, 0.5],
        [0, 0, 0, 0.5],
    )  # 40 Hz and 10 Hz in 50 ms
    cues = [right, right, none, left, left, none, right, right, none]
    np.testing.assert_allclose(seen, cues + [none] * 10 + [recall] * 3 + [[0] * 4], rtol=1e-6)
    assert rewards == [[0, 0]] * 21 + [[1, -1]] and ends == [False] * 21 + [True]


def test_periods_of_the_paper_at_1_ms() -> None:
    env = CueAccumulation(400, dt=1, code="rates")
    env.reset(seed=0)
    seen = np.stack(
        [env.sense()] + [env.step(np.zeros(400, int))[0] for _ in range(1050 + 500 + 150 - 1)]
    )
    cue = (seen[:, :, :2] > 0).any(2)
    t = np.arange(len(seen))
    assert (cue == ((t < 1050) & (t % 150 < 100))[:, None]).all()
    ends = env.drawn["end"]
    assert ends.min() >= 1050 + 500 + 150 and ends.max() <= 1050 + 1500 + 150 and np.ptp(ends) > 900
    assert (seen[:, :, 2] > 0).sum(0).max() <= 150  # the recall cue of the shortest episodes


def test_spikes_have_their_rates() -> None:
    env = CueAccumulation(300, dt=10)
    obs = [env.reset(seed=0)[0]] + [
        env.step(np.zeros(300, int))[0] for _ in range(9)
    ]  # the first cue
    counts = np.stack(obs).sum(0).reshape(300, 4, 10)
    right = env.drawn["right"][:, 0]
    shown = counts[np.arange(300), right.astype(int)]
    hidden = counts[np.arange(300), 1 - right.astype(int)]
    assert (
        shown.mean() == pytest.approx(4.0, rel=0.03) and not hidden.any() and not counts[:, 2].any()
    )
    assert counts[:, 3].mean() == pytest.approx(1.0, rel=0.06)
    assert shown.var() == pytest.approx(4 * 0.96, rel=0.08)  # binomial: at most one spike a ms


@pytest.mark.parametrize(("p", "dt"), [(0.04, 1), (0.04, 50), (0.01, 10)])
def test_counts_are_binomial(p: float, dt: int) -> None:
    counts = spike_counts(p, dt).astype(float)
    assert len(counts) == LEVELS and counts.max() <= dt
    assert counts.mean() == pytest.approx(dt * p, rel=1e-3) and counts.var() == pytest.approx(
        dt * p * (1 - p), rel=2e-3
    )


def test_spikes_of_a_step_depend_on_the_rows_own_draw() -> None:
    env = CueAccumulation(50)
    env.reset(seed=0)
    a, b = env.sense(), env.sense()
    assert (a == b).all() and len(np.unique(a, axis=0)) == 50


def test_what_is_drawn() -> None:
    env = CueAccumulation(2, cues=5)
    drawn = env.decode(np.random.default_rng(0).random((40_000, env.numbers)))
    assert np.allclose(drawn["right"].mean(0), 0.5, atol=0.01)
    ends = np.bincount(drawn["end"])
    assert ends.nonzero()[0].tolist() == list(range(15 + 10 + 3, 15 + 30 + 3 + 1))
    assert np.allclose(ends[28:] / 40_000, 1 / 21, atol=0.006)


@pytest.mark.parametrize(
    "settings", [{}, {"cues": 1}, {"cues": 3, "dt": 10}, {"code": "rates"}, {"dt": 1, "cues": 3}]
)
def test_ideal_observer_is_always_right(settings: dict) -> None:
    n = (
        20 if settings.get("dt") == 1 else 200 if settings else 1000
    )  # to count spikes for cues errs in 4 of 1,000 by default
    env = CueAccumulation(n, **settings)
    assert (scores(env, env.ideal(), n, seed=0) == 1.0).all()


@pytest.mark.parametrize("settings", [{"code": "rates"}, {"dt": 25, "cues": 3}])
def test_contract_of_other_settings(settings: dict) -> None:
    check_vector_env(CueAccumulation, max_episode_steps=7, **settings)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="cues is 4, expected an odd number"):
        CueAccumulation(cues=4)
    with pytest.raises(ValueError, match="dt is 20, expected a divisor of 50 ms"):
        CueAccumulation(dt=20)
    with pytest.raises(ValueError, match="no code called 'rate'; did you mean 'rates'"):
        CueAccumulation(code="rate")
