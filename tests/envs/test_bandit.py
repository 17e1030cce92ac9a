"""Bandits: the table of optimal choices by hand and against brute force; arguments."""

from functools import cache

import numpy as np
import pytest

from bio_rl.envs.neuroscience.bandit import (
    Bandit,
    bandit_reversal,
    bayes_optimal,
    optimal,
    thompson,
)
from bio_rl.vector.trials import scores


def test_value_of_one_and_two_pulls_by_hand() -> None:
    """One pull pays 1/2. After a win the same arm pays 2/3; after a loss (1/3) the other, unknown,
    pays 1/2.
    """
    assert bayes_optimal(1)[0] == 0.5
    assert bayes_optimal(2)[0] == pytest.approx(0.5 + 0.5 * 2 / 3 + 0.5 * 1 / 2)


def test_value_equals_a_recursion_over_histories() -> None:
    @cache
    def best(arms: tuple[tuple[int, int], ...], left: int) -> float:
        if left == 0:
            return 0.0
        values = []
        for a, (wins, losses) in enumerate(arms):
            p = (wins + 1) / (wins + losses + 2)
            won, lost = (
                tuple(new if i == a else x for i, x in enumerate(arms))
                for new in ((wins + 1, losses), (wins, losses + 1))
            )
            values.append(p * (1 + best(won, left - 1)) + (1 - p) * best(lost, left - 1))
        return max(values)

    for pulls in (3, 6, 11):
        assert bayes_optimal(pulls)[0] == pytest.approx(best(((0, 0), (0, 0)), pulls), rel=1e-12)


def test_optimal_choices_earn_their_value_and_more_than_thompson() -> None:
    env = Bandit(1000, pulls=20)
    best = scores(env, optimal(20), 20_000)
    second = scores(env, thompson(np.random.default_rng(1)), 20_000)
    error = best.std() / 20_000**0.5
    assert abs(best.mean() - bayes_optimal(20)[0]) < 3 * error
    assert best.mean() > second.mean() + 3 * error


def test_reference_is_the_computed_value() -> None:
    assert Bandit.metadata["reference"]["ideal"] == pytest.approx(bayes_optimal(100)[0], abs=1e-3)


def test_more_arms_are_played_by_thompson_sampling() -> None:
    """Three arms, 30 pulls: far above the 15 of random actions, below the 22.5 of who knows the
    best arm.
    """
    assert (
        18
        < scores(Bandit(500, arms=3, pulls=30), Bandit(500, arms=3, pulls=30).ideal(), 2000).mean()
        < 22.5
    )


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="arms is 1, expected at least 2"):
        Bandit(arms=1)
    with pytest.raises(ValueError, match=r"p_good is 0\.4 and hazard"):
        bandit_reversal(p_good=0.4)
