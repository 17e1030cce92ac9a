"""Schedules of learning rates: by hand, at their ends, and refused where they make no sense."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from bio_rl.rl.schedule import LearningRateSchedule, factor

LIVED = (0.0, 0.25, 0.5, 0.9, 1.0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (1.0, 1.0, 1.0, 1.0, 1.0)),
        ({"lr_final": 0.0}, (1.0, 0.75, 0.5, 0.1, 0.0)),
        ({"lr_final": 0.2}, (1.0, 0.8, 0.6, 0.28, 0.2)),
        ({"lr_final": 0.0, "lr_hold": 0.6}, (1.0, 1.0, 1.0, 0.25, 0.0)),
        ({"lr_final": 0.5, "lr_hold": 1.0}, (1.0, 1.0, 1.0, 1.0, 1.0)),
        ({"lr_final": 3.0}, (1.0, 1.5, 2.0, 2.8, 3.0)),
        ({"lr_final": 0.0625, "lr_shape": "exponential"}, (1.0, 0.5, 0.25, 0.0625**0.9, 0.0625)),
        (
            {"lr_final": 0.01, "lr_shape": "exponential", "lr_hold": 0.5},
            (1.0, 1.0, 1.0, 0.01**0.8, 0.01),
        ),
    ],
)
def test_factors_by_hand(settings, expected):
    schedule = LearningRateSchedule(**settings)
    assert [schedule.lr_factor(lived) for lived in LIVED] == pytest.approx(expected, abs=1e-12)
    each = schedule.lr_factor(torch.tensor(LIVED, dtype=torch.float64))
    assert each.tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("lived", [i / 97 for i in range(98)])
def test_the_plain_forms_are_exact(lived):
    assert factor(lived, 0.0, "linear") == 1.0 - lived
    assert factor(lived, 1.0, "linear", 0.3) == 1.0
    assert factor(lived, 0.1, "exponential") == 0.1**lived
    assert factor(lived, 0.0, "linear", 0.5) == min(1.0, (1.0 - lived) / 0.5)


@dataclass(frozen=True, kw_only=True)
class Config(LearningRateSchedule):
    lr: float = 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr_final": -0.1}, "lr_final is -0.1, expected 0 or more"),
        ({"lr_hold": 1.5}, "lr_hold is 1.5, expected a number from 0 to 1"),
        ({"lr_shape": "linera"}, "lr_shape is 'linera'; did you mean 'linear'"),
        ({"lr_shape": "exponential", "lr_final": 0.0}, "lr_final is 0.0, expected a pos"),
    ],
)
def test_settings_without_a_meaning_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=rf"test_schedule\.{message}"):
        Config(**settings)
