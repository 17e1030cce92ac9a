"""DMS-v0: trials by hand, what is drawn, closed forms of the random agent and of the noisy
observer.
"""

from math import erf

import numpy as np
import pytest

from bio_rl.envs.neuroscience.dms import DMS, FIXATE, MATCH, NON_MATCH
from bio_rl.testing import check_vector_env
from bio_rl.vector.trials import scores

FIRST, LAST = 8 + 5, 8 + 5 + 4  # steps of the test where the delay is the shortest


def fixed(test: int, **settings) -> DMS:
    """One environment whose trials show stimulus 1, have the shortest delay, and test with stimulus
    `test`.
    """
    env = DMS(1, stimuli=3, delay=(500, 500), **settings)
    env.reset(seed=0)
    env.drawn["sample"][:], env.drawn["test"][:], env.drawn["match"][:] = 1, test, test == 1
    return env


def play(env: DMS, actions: dict[int, int], steps: int) -> tuple[list[float], list[bool]]:
    """Rewards and ends of `steps` steps: action actions[t] at step t of the episode, or fixate."""
    out = [env.step(np.array([actions.get(t, FIXATE)])) for t in range(steps)]
    return [float(reward[0]) for _, reward, *_ in out], [bool(end[0]) for _, _, end, *_ in out]


def test_periods_of_a_trial_by_hand() -> None:
    """Fixation lasts 3 steps; sample, delay and test 5 each; nothing is shown once it is over."""
    env = fixed(test=2)
    seen = [env.sense()[0].tolist()] + [
        env.step(np.array([FIXATE]))[0][0].tolist() for _ in range(18)
    ]
    nothing, sample, test = [1, 0, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 1]
    assert seen == [nothing] * 3 + [sample] * 5 + [nothing] * 5 + [test] * 5 + [[0] * 5]


@pytest.mark.parametrize("t", [FIRST, LAST])
@pytest.mark.parametrize(
    ("test", "choice", "reward"),
    [(1, MATCH, 1), (1, NON_MATCH, 0), (2, MATCH, 0), (2, NON_MATCH, 1)],
)
def test_a_choice_in_the_test_ends_the_trial(t: int, test: int, choice: int, reward: float) -> None:
    rewards, ends = play(fixed(test), {t: choice}, t + 1)
    assert rewards == [0.0] * t + [reward] and ends == [False] * t + [True]


def test_no_choice_ends_with_the_test() -> None:
    rewards, ends = play(fixed(1), {}, LAST + 1)
    assert rewards == [0.0] * (LAST + 1) and ends == [False] * LAST + [True]


def test_each_step_of_broken_fixation_costs_up_to_the_last_one_before_the_test() -> None:
    rewards, ends = play(
        fixed(1), {0: MATCH, 5: NON_MATCH, FIRST - 1: MATCH, FIRST: MATCH}, FIRST + 1
    )
    assert rewards == [-0.01] + [0.0] * 4 + [-0.01] + [0.0] * (FIRST - 7) + [
        -0.01,
        1.0,
    ] and ends == [False] * FIRST + [True]


def test_the_next_trial_follows_at_once() -> None:
    rewards, ends = play(
        fixed(1, trials=2), {FIRST: MATCH, FIRST + 1: MATCH, 2 * FIRST + 1: MATCH}, 2 * FIRST + 2
    )
    assert rewards == [0.0] * FIRST + [1.0, -0.01] + [0.0] * (FIRST - 1) + [1.0] and ends == [
        False
    ] * (2 * FIRST + 1) + [True]


def test_what_is_drawn() -> None:
    env = DMS(2, trials=2, stimuli=3)
    drawn = env.decode(np.random.default_rng(0).random((20_000, env.numbers)))
    lengths = np.diff(drawn["ends"], axis=2, prepend=0)
    assert (lengths[:, :, [0, 1, 3]] == [3, 5, 5]).all()
    delays = np.bincount(lengths[:, :, 2].ravel())
    assert (
        len(delays) == 41
        and not delays[:5].any()
        and np.allclose(delays[5:] / 40_000, 1 / 36, atol=0.005)
    )
    match, sample, test = drawn["match"], drawn["sample"], drawn["test"]
    assert ((sample == test) == match).all() and abs(match.mean() - 0.5) < 0.01
    pairs = np.bincount((3 * sample + test)[~match], minlength=9).reshape(3, 3) / (~match).sum()
    assert np.allclose(pairs, (1 - np.eye(3)) / 6, atol=0.01)


def test_random_floor_in_closed_form() -> None:
    before = np.mean([8 + delay for delay in range(5, 41)])
    assert DMS.metadata["reference"]["random"] == pytest.approx(
        -0.01 * 2 / 3 * before + (1 - 3.0**-5) / 2, abs=1e-5
    )


def test_noisy_observer_reaches_the_closed_form_of_two_stimuli() -> None:
    """Each of the two stimuli is told right with p = Φ(5 / (σ √10)); the choice is right if both
    are, or neither is.
    """
    env = DMS(1000, stimuli=2, noise=1.0, delay=(500, 1000), trials=4)
    p = (1 + erf(5 / 10**0.5 / 2**0.5)) / 2
    returns = scores(env, env.ideal(), 4000, seed=0) / 4
    assert abs(returns.mean() - (p**2 + (1 - p) ** 2)) < 3.5 * returns.std() / 4000**0.5


def test_noise_stays_in_the_box_and_holds_the_contract() -> None:
    check_vector_env(DMS, noise=0.5, trials=2, max_episode_steps=10)
    env = DMS(100, noise=0.5)
    obs = [env.reset(seed=0)[0]] + [env.step(np.zeros(100, int))[0] for _ in range(7)]
    assert np.std([x[:, 1:-1] for x in obs[:3]]) == pytest.approx(0.5, rel=0.05)
    assert np.mean([x[:, 1:-1].sum(1) for x in obs[3:]]) == pytest.approx(
        1.0, abs=0.15
    )  # one stimulus is on
    assert all(
        (x[:, 0] == 1).all() and (x[:, -1] == 0).all() for x in obs
    )  # the spot and the cue have no noise


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="stimuli is 1 and noise 0"):
        DMS(stimuli=1)
    with pytest.raises(ValueError, match="noise -1"):
        DMS(noise=-1)
    with pytest.raises(ValueError, match="period delay"):
        DMS(delay=(1000, 500))
