"""Statistics over runs, by hand."""

import numpy as np
import pytest

from bio_rl.training import statistics
from bio_rl.training.statistics import estimate, interquartile_mean, student_t


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
    for figure in (interquartile_mean, estimate):
        with pytest.raises(ValueError, match="no values"):
            figure([])


@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)]
)
def test_students_t_is_that_of_the_tables(freedom, t):
    assert student_t(freedom) == pytest.approx(t, abs=5e-4)
    assert student_t(freedom + 0.9) == student_t(freedom)  # rounded down: t is larger so


def test_the_interval_of_three_runs_is_that_of_their_plain_mean():
    # mean 2, deviation 1, error 1/√3, two degrees of freedom
    low, high = estimate([1.0, 2.0, 3.0]).interval()
    assert (low, high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)


def test_the_interval_of_five_runs_moves_the_best_and_the_worst_to_their_neighbours():
    # winsorised 2, 2, 3, 5, 5: mean 3.4, squares 9.2; three left in
    found = estimate([-50.0, 2.0, 3.0, 5.0, 900.0])
    assert found.value == pytest.approx(10 / 3)
    assert found.error == pytest.approx((9.2 / 6) ** 0.5) and found.freedom == 2


DRAWS = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "exponential": lambda rng, shape: rng.standard_exponential(shape),
    "log-normal": lambda rng, shape: np.exp(rng.standard_normal(shape)),
}


@pytest.mark.parametrize(
    ("kind", "runs", "least"),
    [
        ("normal", 3, 0.945),
        ("normal", 5, 0.93),
        ("normal", 10, 0.93),
        ("exponential", 3, 0.87),
        ("exponential", 5, 0.89),
        ("exponential", 10, 0.90),
        ("log-normal", 3, 0.83),
        ("log-normal", 5, 0.87),
        ("log-normal", 10, 0.88),
    ],
)
def test_the_interval_holds_the_true_value_about_as_often_as_it_says(kind, runs, least):
    rng = np.random.default_rng(0)
    true = interquartile_mean(DRAWS[kind](rng, (runs, 200_000)), axis=0).mean()
    low, high = estimate(DRAWS[kind](rng, (runs, 20_000))).interval()
    assert np.mean((low <= true) & (true <= high)) >= least


def test_an_interval_of_percentiles_which_this_replaces_would_fail_that():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 2_000))
    # every resample of three runs, 27 of them, stands for the bootstrap
    resampled = x[np.indices((3, 3, 3)).reshape(3, -1)].mean(axis=0)
    low, high = np.quantile(resampled, (0.025, 0.975), axis=0)
    assert np.mean((low <= 0) & (high >= 0)) < 0.8


def test_the_interval_of_a_ratio_holds_the_true_one():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        a = estimate(2.0 + 0.4 * rng.standard_normal(5))
        b = estimate(1.0 + 0.2 * rng.standard_normal(3))
        low, high = statistics.ratio(a, b).interval()
        hits += low <= 2.0 <= high
    assert hits >= 930


def test_equal_runs_have_an_interval_of_no_width_and_one_run_has_none():
    same = estimate([3.0] * 5)
    assert same.interval() == (3.0, 3.0)
    assert statistics.ratio(same, same).interval() == (1.0, 1.0)
    one = estimate([3.0])
    assert one.value == 3.0 and one.interval() is None
    assert statistics.mean([same, one]).interval() is None


def test_an_estimate_has_the_shape_of_what_follows_the_runs():
    x = np.random.default_rng(1).normal(size=(6, 4))
    found = estimate(x)
    assert found.value.shape == found.error.shape == (4,)
    assert found.error[2] == estimate(x[:, 2]).error


def test_few_runs_are_told_with_their_degrees_of_freedom():
    assert statistics.described(1) == "no interval: one seed"
    assert "over 5 seeds, on 2 degrees of freedom" in statistics.described(5)
    assert statistics.described(10) == "95% t interval over 10 seeds"


def test_a_confidence_is_a_probability():
    with pytest.raises(ValueError, match="between 0 and 1"):
        student_t(3, 95)
    with pytest.raises(ValueError, match="at least one"):
        student_t(0)
