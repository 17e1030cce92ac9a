"""Running statistics of observations."""

from __future__ import annotations

import torch

from bio_rl.rl.normalize import RunningNorm


def test_running_norm_equals_the_statistics_of_all_samples() -> None:
    torch.manual_seed(0)
    norm = RunningNorm((3,))
    x = 5 + 2 * torch.randn(4, 10, 3)
    valid = torch.rand(4, 10) < 0.7
    for part, mask in zip(x.split(1), valid.split(1), strict=True):
        norm.update(part, mask)
    samples = x[valid].double()
    mean = samples.mean(0)
    variance = samples.var(0, unbiased=False)
    torch.testing.assert_close(norm.mean, mean)
    torch.testing.assert_close(norm.m2 / norm.count, variance)
    expected = ((x - mean) / variance.sqrt()).float()
    torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-4)


def test_running_norm_is_the_identity_before_its_first_update() -> None:
    x = torch.randn(5, 3)
    assert torch.equal(RunningNorm((3,))(x), x)
