"""Distributions of actions: against PyTorch's, their scores, products and frequencies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from bio_rl.rl import distributions

OUT = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
STD = torch.full_like(OUT, -0.5).exp()
PAIRS = [
    (distributions.Categorical(4), Categorical(logits=OUT)),
    (distributions.Bernoulli(4), Independent(Bernoulli(logits=OUT), 1)),
    (distributions.DiagonalGaussian(4, -0.5), Independent(Normal(OUT, STD), 1)),
]
ALL = [*(ours for ours, _ in PAIRS), distributions.MultiCategorical([3, 1])]


@pytest.mark.parametrize(("ours", "reference"), PAIRS)
def test_distributions_equal_torchs(ours: Any, reference: Any) -> None:
    action = ours.sample(OUT, ours.noise(OUT, torch.Generator().manual_seed(0)))
    # torch's Bernoulli takes its outcomes as real numbers
    outcome = action.float() if isinstance(ours, distributions.Bernoulli) else action
    torch.testing.assert_close(ours.log_prob(OUT, action), reference.log_prob(outcome))
    torch.testing.assert_close(ours.entropy(OUT), reference.entropy())


@pytest.mark.parametrize("ours", ALL)
def test_the_score_is_the_gradient_of_the_log_probability_by_the_outputs(ours: Any) -> None:
    out = OUT.clone().requires_grad_()
    action = ours.sample(OUT, ours.noise(OUT, torch.Generator().manual_seed(2)))
    (gradient,) = torch.autograd.grad(ours.log_prob(out, action).sum(), out)
    torch.testing.assert_close(ours.score(OUT, action).detach(), gradient)


def test_multicategorical_is_the_product_of_its_parts() -> None:
    ours = distributions.MultiCategorical([3, 1])
    action = torch.stack([OUT[:, :3].argmax(-1), torch.zeros(6, dtype=torch.int64)], -1)
    assert torch.equal(ours.mode(OUT), action)
    # the part with a single choice adds nothing
    part = Categorical(logits=OUT[:, :3])
    torch.testing.assert_close(ours.log_prob(OUT, action), part.log_prob(action[:, 0]))
    torch.testing.assert_close(ours.entropy(OUT), part.entropy())


def test_categorical_samples_have_the_softmax_frequencies() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0])
    out = logits.expand(20_000, 3)
    ours = distributions.Categorical(3)
    actions = ours.sample(out, ours.noise(out, torch.Generator().manual_seed(0)))
    frequency = np.bincount(actions.numpy(), minlength=3) / 20_000
    np.testing.assert_allclose(frequency, logits.softmax(0).numpy(), atol=0.01)
