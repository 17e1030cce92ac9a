"""EvidenceDM-v0: trials by hand, the stopping rule against its simulation and against Wald, tables
of behaviour.
"""

import numpy as np
import pytest

from bio_rl.envs.neuroscience import evidence_dm
from bio_rl.envs.neuroscience.evidence_dm import LEFT, RIGHT, WAIT, EvidenceDM, stopping_rule
from bio_rl.testing import check_vector_env
from bio_rl.vector.trials import scores
from bio_rl.viz.psychophysics import Choices, chronometric, psychometric, record


def fixed(coherence: float, **settings) -> EvidenceDM:
    """One environment whose trials have this coherence."""
    env = EvidenceDM(1, noise=1e-6, **settings)
    env.reset(seed=0)
    env.drawn["coherence"][:], env.drawn["right"][:] = coherence, coherence > 0
    return env


def test_a_trial_by_hand() -> None:
    """5 steps of fixation, 55 of dots; each step with dots costs; without a choice the last one
    ends the trial.
    """
    env = fixed(0.2)
    seen, rewards, ends, viewed = [env.sense()[0]], [], [], []
    for _ in range(60):
        obs, reward, end, _, info = env.step(np.array([WAIT]))
        for kept, x in zip(
            (seen, rewards, ends, viewed),
            (obs[0], reward[0], end[0], info["viewed"][0]),
            strict=True,
        ):
            kept.append(x)
    np.testing.assert_allclose(
        seen, [[1, 0, 0]] * 5 + [[0, 0.4, 0.6]] * 55 + [[0, 0, 0]], atol=1e-4
    )
    assert rewards == [0.0] * 5 + [-0.005] * 55 and ends == [False] * 59 + [True]
    assert viewed == [0] * 5 + list(range(1, 56))


@pytest.mark.parametrize("steps", [1, 2, 55])
@pytest.mark.parametrize(
    ("coherence", "choice", "correct"),
    [(0.1, RIGHT, 1), (0.1, LEFT, 0), (-0.1, RIGHT, 0), (-0.1, LEFT, 1)],
)
def test_a_choice_counts_from_the_first_step_with_dots(
    steps: int, coherence: float, choice: int, correct: int
) -> None:
    env = fixed(coherence)
    for _ in range(5):  # before the dots a choice does nothing
        _, reward, end, _, _ = env.step(np.array([choice]))
        assert reward == 0 and not end
    for _ in range(steps - 1):
        assert not env.step(np.array([WAIT]))[2]
    _, reward, end, _, info = env.step(np.array([choice]))
    assert reward == pytest.approx(correct - 0.005) and end
    assert info["viewed"] == steps and info["coherence"] == np.float32(coherence)


def test_what_is_drawn() -> None:
    env = EvidenceDM(2, trials=2, coherences=(0.0, 0.5))
    drawn = env.decode(np.random.default_rng(0).random((20_000, env.numbers)))
    values, counts = np.unique(drawn["coherence"], return_counts=True)
    assert values.tolist() == [-0.5, 0, 0.5] and np.allclose(
        counts / 40_000, [1 / 4, 1 / 2, 1 / 4], atol=0.01
    )
    assert (drawn["right"] == (drawn["coherence"] > 0))[drawn["coherence"] != 0].all()
    assert abs(drawn["right"][drawn["coherence"] == 0].mean() - 0.5) < 0.015  # a coin decides


def test_evidence_has_its_mean_and_its_deviation() -> None:
    env = EvidenceDM(500, coherences=(0.4,), noise=0.05, dt=25)  # 0.05 √40 a step
    obs, _ = env.reset(seed=0)
    seen = [env.step(np.zeros(500, int))[0] for _ in range(30)][10:]  # fixation lasts 10 steps here
    sign = np.sign(env.drawn["coherence"])[:, 0]
    difference = np.stack([x[:, 2] - x[:, 1] for x in seen]) * sign
    assert difference.mean() == pytest.approx(0.4, abs=0.02)
    assert np.stack(seen)[:, :, 1:].std((0, 1)) == pytest.approx(
        (0.05**2 * 40 + 0.2**2) ** 0.5, rel=0.03
    )
    assert (
        np.stack(seen)[:, :, 1:].sum(2).mean() == pytest.approx(1.0, abs=0.02) and obs[:, 0].all()
    )


def test_stopping_rule_reaches_its_expected_reward() -> None:
    env = EvidenceDM(2000)
    assert env.metadata["reference"]["ideal"] == pytest.approx(env.rule().value, abs=1e-4)
    returns = scores(env, env.ideal(), 10_000, seed=2)
    assert abs(returns.mean() - env.rule().value) < 3.5 * returns.std() / 10_000**0.5


def test_bounds_fall_to_zero_at_the_last_step_and_none_other_does_better() -> None:
    env = EvidenceDM(2000)
    bounds = env.rule().bounds
    assert bounds[-1] == 0.0 and (np.diff(bounds[10:]) <= 0).all() and (bounds[:-1] > 0).all()
    best = scores(env, evidence_dm.accumulate(bounds), 10_000, seed=3)
    for other in (0.5 * bounds, 1.7 * bounds, np.full(55, bounds[0])):
        returns = scores(env, evidence_dm.accumulate(other), 10_000, seed=3)
        assert returns.mean() < best.mean(), other[:3]


def test_one_coherence_and_much_time_give_walds_probability_ratio_test() -> None:
    """The optimal threshold on the log odds, θ = 2 c X / σ², is then constant, and the reward is
    Wald's.

    A path stopped at ±θ is right with p = 1 / (1 + e^-θ) and takes E[k] = σ² θ (2p - 1) / (2 c²)
    samples (no overshoot): the best θ of p - C E[k] is what the dynamic programme finds, to the
    overshoot of a discrete path, 0.58 σ a side.
    """
    c, deviation = 0.02, 0.2
    rule = stopping_rule((c,), deviation, steps=600)
    early = rule.bounds[50:200]
    assert np.ptp(early) < 0.06 * early.mean()
    theta = np.linspace(0.01, 5, 2000)
    p = 1 / (1 + np.exp(-theta))
    reward = p - evidence_dm.COST * deviation**2 * theta * (2 * p - 1) / (2 * c**2)
    best = theta[reward.argmax()] * deviation**2 / (2 * c)
    assert early.mean() == pytest.approx(best - 0.583 * deviation, rel=0.05)  # 0.583: Siegmund 1985
    assert rule.value == pytest.approx(reward.max(), abs=0.005)


def test_a_single_sample_by_hand() -> None:
    """One look at coherence 1 of either sign, σ = 1: choose its sign, right with Φ(1)."""
    rule = stopping_rule((1.0,), 1.0, steps=1, points=1601)
    assert rule.bounds.tolist() == [0.0]
    assert rule.value == pytest.approx(0.8413447 - 0.005, abs=1e-3)


def test_tables_of_the_ideal_observer() -> None:
    env = EvidenceDM(1500)
    choices = record(env, env.ideal(), 4, seed=0)
    assert len(choices.action) == 6000 and (choices.action != WAIT).all()  # its last bound is 0
    right = psychometric(choices)
    assert len(right) == 11 and right[:, 2].sum() == 6000
    assert (
        np.allclose(right[[0, 1, -2, -1], 1], [0, 0, 1, 1], atol=0.02)
        and abs(right[5, 1] - 0.5) < 0.06
    )
    assert np.allclose(right[:, 1] + right[::-1, 1], 1, atol=0.1)  # left and right alike
    assert (np.diff(right[:, 1]) > -0.03).all()
    time = chronometric(choices, dt=50)
    assert (np.diff(time[1:, 1]) < 0).all() and time[0, 1] > 4 * time[
        -1, 1
    ]  # strong evidence is quick


def test_tables_by_hand() -> None:
    choices = Choices(
        *(np.array(x) for x in ([-0.1, 0.1, 0.1, 0.1], [LEFT, RIGHT, LEFT, WAIT], [2, 4, 6, 8]))
    )
    assert psychometric(choices).tolist() == [[-0.1, 0.0, 1], [0.1, 0.5, 2]]
    assert chronometric(choices, dt=10).tolist() == [[0.1, 50.0, 4]]


def test_record_takes_as_many_trials_of_each_row() -> None:
    env = EvidenceDM(3, trials=2)
    choices = record(env, lambda obs, begun: np.array([LEFT, WAIT, RIGHT]), 5)
    assert choices.action.reshape(3, 5).tolist() == [[LEFT] * 5, [WAIT] * 5, [RIGHT] * 5]
    assert choices.viewed.reshape(3, 5).tolist() == [[1] * 5, [55] * 5, [1] * 5]
    assert np.isin(np.abs(choices.coherence), np.float32(evidence_dm.COHERENCES)).all()


def test_contract_with_several_trials() -> None:
    check_vector_env(EvidenceDM, trials=3, max_episode_steps=7)


def test_arguments_are_checked() -> None:
    for settings in ({"coherences": ()}, {"coherences": (1.2,)}, {"noise": 0.0}):
        with pytest.raises(ValueError, match="coherences are"):
            EvidenceDM(**settings)
    with pytest.raises(ValueError, match="period fixation"):
        EvidenceDM(dt=1e4)
