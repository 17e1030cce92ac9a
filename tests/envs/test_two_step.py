"""TwoStep-v0: a trial by hand, and the stay probabilities that tell planning from repeating what
paid.
"""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from bio_rl.envs.neuroscience.two_step import TwoStep, interaction, stay_probabilities
from bio_rl.vector.trials import Policy


def test_a_trial_by_hand() -> None:
    """Choice 1 by the rare transition to place A, which pays; then choice 0 by the common one to A,
    which does not.
    """
    env = TwoStep(1, trials=2)
    obs, _ = env.reset(seed=0)
    env.drawn["common"][0] = [False, True]
    env.drawn["pays"][0] = [[True, False], [False, True]]
    life = [(obs[0], 0.0, False)]
    for action in (1, 0, 0, 1):
        obs, reward, terminated, _, _ = env.step(np.array([action]))
        life.append((obs[0], reward[0], bool(terminated[0])))
    expected = [  # stage 3, choice 2, reward, passed
        ([1, 0, 0, 0, 0, 0, 0], 0, False),
        ([0, 1, 0, 0, 1, 0, 0], 0, False),
        ([1, 0, 0, 0, 1, 1, 0.5], 1, False),
        ([0, 1, 0, 1, 0, 0, 0.5], 0, False),
        ([1, 0, 0, 1, 0, 0, 1], 0, True),
    ]
    for (obs, *rest), (wanted, *others) in zip(life, expected, strict=True):
        np.testing.assert_array_equal(obs, np.float32(wanted))
        assert rest == others


def test_common_transitions_and_good_places_come_at_their_rates() -> None:
    env = TwoStep(1, trials=40_000, hazard=0.0)
    drawn = env.draw(np.random.default_rng(0))
    assert abs(drawn["common"].mean() - 0.8) < 0.01
    assert sorted(drawn["pays"].mean(0)) == pytest.approx([0.1, 0.9], abs=0.01)


# Daw's signature


def model_free(rng: np.random.Generator, rows: int) -> Policy:
    """Q(choice) ← Q + 0.5 (r - Q), blind to the place: softmax with inverse temperature 4."""
    q = np.zeros((rows, 2))

    def policy(obs: np.ndarray, begun: np.ndarray) -> np.ndarray:
        told = (obs[:, 0] > 0)[:, None] & (obs[:, 3:5] > 0)
        q[:] = np.where(told, q + 0.5 * (obs[:, 5:6] - q), q)
        q[begun] = 0.0
        return (rng.random(rows) < 1 / (1 + np.exp(-4 * (q[:, 1] - q[:, 0])))).astype(np.int64)

    return policy


def behaviour(
    policy: Policy, mode: AutoresetMode = AutoresetMode.NEXT_STEP
) -> tuple[np.ndarray, np.ndarray]:
    """Observations [T, N, 7] and better places [T, N] of two episodes in 300 environments."""
    env = TwoStep(300, autoreset_mode=mode)
    obs, _ = env.reset(seed=0)
    begun, ended = np.ones(300, bool), np.zeros(300, bool)
    seen, better = [obs], [np.zeros(300, int)]
    for _ in range(401):
        obs, _, terminated, _, info = env.step(policy(obs, begun))
        begun = terminated if mode is AutoresetMode.SAME_STEP else ended
        ended = terminated
        seen.append(obs)
        better.append(
            info.get("better", np.zeros(300, int))
        )  # a step in which every row begins anew has none
    return np.stack(seen), np.stack(better)


def test_ideal_observer_shows_the_interaction_and_a_model_free_learner_does_not() -> None:
    planned = stay_probabilities(*behaviour(TwoStep(300).ideal()))
    assert interaction(planned) > 0.5
    assert (
        planned[1, 1] > planned[0, 1] and planned[0, 0] > planned[1, 0]
    )  # after a rare transition reward speaks against it
    repeated = stay_probabilities(*behaviour(model_free(np.random.default_rng(0), 300)))
    assert abs(interaction(repeated)) < 0.04
    assert (repeated[1] > repeated[0] + 0.2).all()  # reward alone counts


def test_the_raw_table_is_biased_by_blocks() -> None:
    """Akam et al. 2015: without the hidden state the same model-free learner seems to plan."""
    obs, _ = behaviour(model_free(np.random.default_rng(0), 300))
    assert interaction(stay_probabilities(obs)) > 0.2


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_stay_probabilities_by_hand(mode: AutoresetMode) -> None:
    """Alternating choices never stay, a constant one always does, and no pair of trials spans two
    episodes.
    """
    assert (
        np.nanmax(
            stay_probabilities(behaviour(lambda obs, begun: np.where(obs[:, 3] > 0, 1, 0), mode)[0])
        )
        == 0
    )
    constant = behaviour(lambda obs, begun: np.arange(300) % 2, mode)[0]
    assert np.nanmin(stay_probabilities(constant)) == 1
    steps = stay_probabilities(constant[:3])  # one trial and the start of the second: no pair yet
    assert np.isnan(steps).all()


def test_stay_probabilities_leave_out_pairs_that_span_episodes() -> None:
    """One trial an episode: there are no pairs at all."""
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        env = TwoStep(20, trials=1, autoreset_mode=mode)
        seen = [env.reset(seed=0)[0], *(env.step(np.ones(20, int))[0] for _ in range(30))]
        assert np.isnan(stay_probabilities(np.stack(seen))).all()


def test_arguments_are_checked() -> None:
    for name in ("p_common", "p_good"):
        with pytest.raises(
            ValueError, match=rf"{name} is 0\.3, expected a probability from 0\.5 to 1"
        ):
            TwoStep(**{name: 0.3})
    with pytest.raises(ValueError, match="hazard is 2"):
        TwoStep(hazard=2)
