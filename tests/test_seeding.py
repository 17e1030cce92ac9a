"""Keyed noise: a pure function of its key, uniform, and independent from row to row."""

from __future__ import annotations

import pytest
import torch

from bio_rl import seeding

KEY = seeding.keys(7, 64)


def test_keyed_noise_is_a_pure_function_of_its_key() -> None:
    noise = seeding.uniform(KEY, 50, 20)
    assert torch.equal(noise, seeding.uniform(KEY, 50, 20))
    assert not torch.equal(noise, seeding.uniform(seeding.advance(KEY), 50, 20))


def test_keyed_noise_is_uniform_between_0_and_1() -> None:
    noise = seeding.uniform(KEY, 50, 20)
    assert noise.min() >= 0
    assert noise.max() < 1
    assert noise.mean().item() == pytest.approx(0.5, abs=0.005)
    assert noise.var().item() == pytest.approx(1 / 12, abs=0.002)


def test_rows_of_keyed_noise_are_independent_and_know_nothing_of_their_batch() -> None:
    noise = seeding.uniform(KEY, 50, 20)
    assert abs(torch.corrcoef(noise.flatten(1)[:2])[0, 1].item()) < 0.1
    assert torch.equal(seeding.uniform(KEY[3:4], 50, 20)[0], noise[3])
