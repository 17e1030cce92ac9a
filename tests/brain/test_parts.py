"""Small parts: states, keyed noise, running statistics, distributions."""

import numpy as np
import pytest
import torch

from bio_rl import seeding, state
from bio_rl.neurons.lif import LIFState
from bio_rl.rl import distributions
from bio_rl.rl.normalize import RunningNorm
from bio_rl.training import config


def test_where_reset_takes_fresh_rows_and_keeps_the_structure():
    old, new = LIFState(torch.ones(3, 2)), LIFState(torch.zeros(3, 2))
    mixed = state.where_reset(torch.tensor([True, False, True]), ((new,), ()), ((old,), ()))
    assert isinstance(mixed[0][0], LIFState) and mixed[1] == ()
    assert mixed[0][0].v[:, 0].tolist() == [0.0, 1.0, 0.0]


def test_a_state_of_another_batch_is_refused():
    with pytest.raises(ValueError, match=r"initial_state\(5\)"):
        state.check_batch((LIFState(torch.zeros(3, 2)),), 5, "lif")


def test_keyed_noise_is_a_pure_function_of_its_key_and_uniform():
    key = seeding.keys(7, 64)
    a, b = seeding.uniform(key, 50, 20), seeding.uniform(key, 50, 20)
    assert torch.equal(a, b) and not torch.equal(a, seeding.uniform(seeding.advance(key), 50, 20))
    assert (
        a.min() >= 0
        and a.max() < 1
        and abs(a.mean().item() - 0.5) < 0.005
        and abs(a.var().item() - 1 / 12) < 0.002
    )
    assert abs(torch.corrcoef(a.flatten(1)[:2])[0, 1].item()) < 0.1  # rows are independent
    assert torch.equal(seeding.uniform(key[3:4], 50, 20)[0], a[3])  # and do not depend on the batch


def test_running_norm_equals_the_statistics_of_all_samples():
    torch.manual_seed(0)
    norm, x = RunningNorm((3,)), 5 + 2 * torch.randn(4, 10, 3)
    valid = torch.rand(4, 10) < 0.7
    for part, mask in zip(x.split(1), valid.split(1), strict=True):
        norm.update(part, mask)
    kept = x[valid].double()
    torch.testing.assert_close(norm.mean, kept.mean(0))
    torch.testing.assert_close(norm.m2 / norm.count, kept.var(0, unbiased=False))
    torch.testing.assert_close(
        norm(x), ((x - kept.mean(0)) / kept.std(0, unbiased=False)).float(), rtol=1e-4, atol=1e-4
    )


def test_running_norm_is_the_identity_before_its_first_update():
    x = torch.randn(5, 3)
    assert torch.equal(RunningNorm((3,))(x), x)


OUT = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
PAIRS = [
    (distributions.Categorical(4), torch.distributions.Categorical(logits=OUT)),
    (
        distributions.Bernoulli(4),
        torch.distributions.Independent(torch.distributions.Bernoulli(logits=OUT), 1),
    ),
    (
        distributions.DiagonalGaussian(4, -0.5),
        torch.distributions.Independent(
            torch.distributions.Normal(OUT, torch.full_like(OUT, -0.5).exp()), 1
        ),
    ),
]


@pytest.mark.parametrize(("ours", "reference"), PAIRS)
def test_distributions_equal_torchs(ours, reference):
    action = ours.sample(OUT, ours.noise(OUT, torch.Generator().manual_seed(0)))
    wanted = reference.log_prob(
        action.float() if isinstance(ours, distributions.Bernoulli) else action
    )
    torch.testing.assert_close(ours.log_prob(OUT, action), wanted)
    torch.testing.assert_close(ours.entropy(OUT), reference.entropy())


@pytest.mark.parametrize(
    "ours", [*(ours for ours, _ in PAIRS), distributions.MultiCategorical([3, 1])]
)
def test_the_score_is_the_gradient_of_the_log_probability_by_the_outputs(ours):
    out = OUT.clone().requires_grad_()
    action = ours.sample(OUT, ours.noise(OUT, torch.Generator().manual_seed(2)))
    (wanted,) = torch.autograd.grad(ours.log_prob(out, action).sum(), out)
    torch.testing.assert_close(ours.score(OUT, action).detach(), wanted)


def test_multicategorical_is_the_product_of_its_parts():
    ours = distributions.MultiCategorical([3, 1])
    action = torch.stack([OUT[:, :3].argmax(-1), torch.zeros(6, dtype=torch.int64)], -1)
    assert torch.equal(ours.mode(OUT), action)
    part = torch.distributions.Categorical(logits=OUT[:, :3])
    torch.testing.assert_close(ours.log_prob(OUT, action), part.log_prob(action[:, 0]))
    torch.testing.assert_close(ours.entropy(OUT), part.entropy())


def test_categorical_samples_have_the_softmax_frequencies():
    out = torch.tensor([0.0, 1.0, 2.0]).expand(20_000, 3)
    ours = distributions.Categorical(3)
    drawn = ours.sample(out, ours.noise(out, torch.Generator().manual_seed(0)))
    frequency = np.bincount(drawn.numpy(), minlength=3) / 20_000
    np.testing.assert_allclose(
        frequency, torch.tensor([0.0, 1.0, 2.0]).softmax(0).numpy(), atol=0.01
    )


def test_one_number_stands_for_a_setting_that_may_have_several():
    experiment = config.experiment(
        network="spiking", network_settings={"tau_mem": 3.0, "slope": [1.0, 4.0]}
    )
    assert experiment.network.config.tau_mem == (3.0,) and experiment.network.config.slope == (
        1.0,
        4.0,
    )
