"""Statistics over runs, by hand."""

import numpy as np
import pytest

from bio_rl.training.statistics import bootstrap, bootstrap_interval, interquartile_mean, interval


def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end():
    assert interquartile_mean([100.0, 2.0, 3.0, 4.0, -50.0]) == pytest.approx(
        3.0
    )  # floor(5/4) = 1 at either end
    assert interquartile_mean([8, 1, 7, 2, 6, 3, 5, 4]) == pytest.approx(
        (3 + 4 + 5 + 6) / 4
    )  # 2 at either end
    assert interquartile_mean([1.0, 2.0, 9.0]) == pytest.approx(4.0)  # too few to leave any out


def test_the_interquartile_mean_reduces_the_axis_it_is_given():
    x = np.array([[0.0, 1.0, 2.0, 99.0], [5.0, 5.0, 5.0, 5.0]])
    assert interquartile_mean(x).tolist() == [1.5, 5.0]
    assert interquartile_mean(x.T, axis=0).tolist() == [1.5, 5.0]


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="no values"):
        interquartile_mean([])
    with pytest.raises(ValueError, match="shape"):
        bootstrap([], np.mean)


def test_the_bootstrap_draws_with_replacement():
    # of two runs 0 and 1, the mean of a resample is 0, ½, 1 with probabilities ¼, ½, ¼
    draws = bootstrap([0.0, 1.0], np.mean)
    assert set(draws.tolist()) == {0.0, 0.5, 1.0}
    assert np.mean(draws == 0.5) == pytest.approx(0.5, abs=0.02)  # 4 standard errors


def test_the_interval_of_the_mean_has_the_width_that_theory_gives():
    x = np.random.default_rng(1).normal(10.0, 2.0, 400)
    low, high = bootstrap_interval(x, np.mean)
    width = 2 * 1.96 * x.std() / 20  # ± 1.96 σ/√n
    assert high - low == pytest.approx(width, rel=0.05) and low < x.mean() < high


def test_equal_runs_have_an_interval_of_no_width_and_the_seed_decides():
    assert bootstrap_interval([3.0] * 5, interquartile_mean) == (3.0, 3.0)
    x = [1.0, 5.0, 2.0, 8.0, 3.0]
    assert bootstrap_interval(x, np.median) == bootstrap_interval(x, np.median)
    assert (bootstrap(x, np.mean, seed=0) != bootstrap(x, np.mean, seed=1)).any()


def test_the_confidence_is_the_share_of_the_draws():
    assert interval(np.arange(101.0), 0.9) == pytest.approx((5.0, 95.0))
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval(np.arange(3.0), 95)
