"""Parameters as one vector: the same step as with separate ones."""

import copy

import pytest
import torch
from torch import nn

from bio_rl.rl.optim import clip_, flatten


def test_a_clipped_adam_step_on_the_vector_equals_one_on_the_parts():
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    theirs = copy.deepcopy(ours)
    flat = flatten(ours.parameters())
    optimizers = torch.optim.Adam([flat], 0.01), torch.optim.Adam(theirs.parameters(), 0.01)
    for _ in range(3):
        x = 10 * torch.randn(7, 3)
        flat.grad.zero_()
        ours(x).square().sum().backward()
        clip_(flat.grad, 0.5)
        assert flat.grad.norm() <= 0.5 + 1e-5
        optimizers[1].zero_grad()
        theirs(x).square().sum().backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_loading_weights_reaches_the_vector_and_a_short_gradient_stays():
    net = nn.Linear(2, 2)
    flat = flatten(net.parameters())
    net.load_state_dict({"weight": torch.ones(2, 2), "bias": torch.zeros(2)})
    assert flat.tolist() == [1, 1, 1, 1, 0, 0]
    grad = torch.tensor([0.3, 0.4])
    clip_(grad, 1.0)
    assert grad.tolist() == pytest.approx([0.3, 0.4])


def test_parameters_of_several_kinds_are_refused():
    with pytest.raises(ValueError, match="one dtype"):
        flatten([nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, dtype=torch.float64))])
