"""Error feedback: by hand, against the gradient, and what a hidden layer learns from it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bio_rl.modulators.feedback import KINDS, Feedback, FeedbackState
from bio_rl.plasticity import Post, Pre
from bio_rl.plasticity.three_factor import ThreeFactor

N_IN, HIDDEN, N_OUT, ROWS = 10, 30, 3, 64
CONSTANTS = {
    "random": Feedback("random"),
    "symmetric": Feedback("symmetric"),
    "adaptive": Feedback("adaptive", decay=1e-3),
}
RULE = ThreeFactor(tau_e=0.0, lr=0.05)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_signal_by_hand():
    b = torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]])
    error = torch.tensor([[1.0, 1.0], [2.0, -2.0]])
    found = Feedback().signal(FeedbackState(b), torch.zeros(2, 3), error)
    torch.testing.assert_close(found, torch.tensor([[3.0, -1.0, 3.5], [-2.0, 2.0, 5.0]]))


def test_symmetric_feedback_is_the_gradient_by_the_activity():
    g = generator()
    h, w, target = (
        torch.randn(4, 5, generator=g),
        torch.randn(2, 5, generator=g),
        torch.randn(4, 2, generator=g),
    )
    h.requires_grad_()
    error = h @ w.T - target
    (gradient,) = torch.autograd.grad(0.5 * error.square().sum(), h)
    p = CONSTANTS["symmetric"]
    torch.testing.assert_close(p.signal(p.init(w), w, error), gradient)


def test_adaptive_feedback_becomes_symmetric_at_the_rate_of_the_decay():
    p, g, w = (
        Feedback("adaptive", decay=0.01),
        generator(),
        torch.randn(2, 5, generator=generator(1)),
    )
    s = p.init(w, g)
    assert isinstance(s.b, Tensor)
    apart = s.b - w.T
    for _ in range(200):
        w, s = p.step(s, w, 0.1 * torch.randn(2, 5, generator=g))
    torch.testing.assert_close(s.b - w.T, 0.99**200 * apart, rtol=1e-3, atol=1e-5)
    assert w.std() > 0.1


@pytest.mark.parametrize("kind", ["random", "symmetric"])
def test_other_feedback_stays_and_the_readout_takes_its_change(kind):
    p, w = CONSTANTS[kind], torch.ones(2, 5)
    s = p.init(w, generator())
    changed, after = p.step(s, w, torch.full((2, 5), 0.5))
    assert after is s and torch.equal(changed, torch.full((2, 5), 1.5))


def test_groups_have_feedback_of_their_own():
    p, w = CONSTANTS["random"], torch.zeros(4, 2, 5)
    s = p.init(w, generator())
    assert isinstance(s.b, Tensor) and s.b.shape == (4, 5, 2) and not torch.equal(s.b[0], s.b[1])
    error = torch.randn(4, 2, generator=generator(1))
    found = p.signal(s, w, error)
    torch.testing.assert_close(found[3], s.b[3] @ error[3])


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (Feedback("mirror"), "known: random"),
        (Feedback("adaptive"), "0.0"),
        (Feedback(decay=0.1), "0.1"),
    ],
)
def test_constants_that_do_not_fit_are_refused(p, message):
    with pytest.raises(ValueError, match=message):
        p.init(torch.zeros(2, 5))


def learn(
    p: Feedback, steps: int = 500, hidden: bool = True, shuffled: bool = False
) -> tuple[float, float]:
    """(Loss at the end by that at the start, cosine of the signal and the gradient) of a tanh layer
    and a linear readout that learn a teacher of the same kind by the three-factor rule; hidden:
    whether the layer learns; shuffled: it is given the errors of other rows.
    """
    g = generator()
    teacher = (
        2.0 * torch.randn(5, N_IN, generator=g) / N_IN**0.5,
        torch.randn(N_OUT, 5, generator=g),
    )
    w_in, w_out = torch.randn(HIDDEN, N_IN, generator=g) / N_IN**0.5, torch.zeros(N_OUT, HIDDEN)
    feedback, losses, cosine = p.init(w_out, g), [], 0.0
    for _ in range(steps):
        x = torch.randn(ROWS, N_IN, generator=g)
        h = torch.tanh(x @ w_in.T)
        error = h @ w_out.T - torch.tanh(x @ teacher[0].T) @ teacher[1].T
        signal = p.signal(
            feedback, w_out, error[torch.randperm(ROWS, generator=g)] if shuffled else error
        )
        losses.append(error.square().mean().item())
        cosine = torch.cosine_similarity(signal, error @ w_out, dim=1).mean().item()
        if hidden:
            w_in = w_in + change(w_in, x, signal * (1.0 - h.square()))
        w_out, feedback = p.step(feedback, w_out, change(w_out, h, error))
    return sum(losses[-50:]) / 50 / losses[0], cosine


def change(w: Tensor, pre: Tensor, signal: Tensor) -> Tensor:
    """Of shared weights, the mean over rows: down the gradient, hence a modulator of minus one."""
    s = RULE.trace(RULE.init(ROWS, *w.shape), w, Pre(pre), Post(signal), signal)
    return RULE.delta(s, w, -torch.ones(ROWS)).mean(0)


@pytest.fixture(scope="module")
def fixed() -> float:
    """The loss that the readout alone comes to."""
    return learn(CONSTANTS["random"], hidden=False)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_hidden_layer_learns_from_fed_back_errors(kind, fixed):
    loss, cosine = learn(CONSTANTS[kind])
    assert loss < 0.5 * fixed and cosine > 0.35


def test_from_errors_of_other_rows_it_learns_nothing(fixed):
    loss, _ = learn(CONSTANTS["random"], shuffled=True)
    assert loss > 0.9 * fixed
