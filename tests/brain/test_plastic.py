"""Plastic connections: their steps against the rule by hand, whose weights they are, gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bio_rl import discovery, plasticity
from bio_rl.connections._plastic import Plastic, PlasticState, Trail
from bio_rl.plasticity import Post, Pre
from bio_rl.plasticity.three_factor import ThreeFactor
from bio_rl.state import index, leaves, tree_map
from bio_rl.testing import no_autograd

B, POST, PRE = 4, 3, 5
RULES = [*discovery.names(plasticity), "three_factor+scaling+intrinsic+bounds"]
HALF = 1.0 / math.log(2.0)
"""A time constant after which half is left in a tick of 1 ms."""
PLAIN = ThreeFactor(tau_e=HALF, lr=1.0)


class Grouped(nn.Module):
    """Weights of G groups [G, post, pre], and perhaps their biases."""

    def __init__(self, groups: int, bias: bool) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.weight = nn.Buffer(torch.randn(groups, POST, PRE, generator=g))
        self.bias = nn.Parameter(torch.randn(groups, POST, generator=g)) if bias else None


def linear(bias: bool = True) -> nn.Linear:
    """A connection of PRE onto POST neurons with drawn weights."""
    connection = nn.Linear(PRE, POST, bias=bias)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in connection.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g))
    return connection


def tick(seed: int, batch: int = B) -> tuple[Pre, Post, Tensor]:
    """Both sides of a tick with all variables, spikes among them, and a signal."""
    g = torch.Generator().manual_seed(seed)
    pre = (torch.rand(batch, PRE, generator=g) < 0.5).float()
    spike = (torch.rand(batch, POST, generator=g) < 0.5).float()
    p, psi = torch.rand(2, batch, POST, generator=g)
    v, signal = torch.randn(2, batch, POST, generator=g)
    return Pre(pre), Post(spike, p=p, psi=psi, v=v), signal


def lived(plastic: Plastic, ticks: int = 3, batch: int = B) -> PlasticState:
    """The state after some ticks."""
    state = plastic.initial_state(batch)
    for k in range(ticks):
        state = plastic.remember(state, *tick(k, batch))
    return state


def numbers(*values: float) -> Tensor:
    return torch.tensor([values])


# ---------------------------------- by hand


def test_two_ticks_and_a_reward_by_hand():
    connection = nn.Linear(2, 1)
    with torch.no_grad():
        connection.weight[:] = numbers(1.0, -1.0)
        connection.bias[:] = 0.5
    plastic = Plastic(connection, ThreeFactor(tau_e=HALF, lr=0.5))
    state = plastic.initial_state(1)
    # u = 1·2 - 1·3 + 0.5
    assert plastic.forward(numbers(2.0, 3.0), state).item() == -0.5
    # e = 1.5 (2, 3, 1), the bias a synapse from a neuron that is always active
    state = plastic.remember(state, Pre(numbers(2.0, 3.0)), Post(numbers(0.0)), numbers(1.5))
    torch.testing.assert_close(state.traces.e, numbers(3.0, 4.5, 1.5).unsqueeze(0))
    # e = (3, 4.5, 1.5) / 2 - (1, 0, 1)
    state = plastic.remember(state, Pre(numbers(1.0, 0.0)), Post(numbers(0.0)), numbers(-1.0))
    torch.testing.assert_close(state.traces.e, numbers(0.5, 2.25, -0.25).unsqueeze(0))
    # ΔW = 0.1 · 0.5 · 2 e
    after = plastic.learn(state, torch.tensor([2.0]), lr=0.1)
    torch.testing.assert_close(connection.weight.data, numbers(1.05, -0.775))
    torch.testing.assert_close(connection.bias.data, torch.tensor([0.475]))
    torch.testing.assert_close(after.traces.e, state.traces.e)
    assert plastic.forward(numbers(1.0, 1.0), after).item() == pytest.approx(0.75)


def test_every_neuron_may_have_a_learning_rate_of_its_own():
    alike, each = Plastic(linear(), PLAIN), Plastic(linear(), PLAIN)
    before, modulator = alike.weights.clone(), torch.ones(B)
    alike.learn(lived(alike), modulator, lr=1.0)
    each.learn(lived(each), modulator, lr=torch.tensor([0.0, 1.0, 0.5]))
    torch.testing.assert_close(each.weights[0], before[0])
    torch.testing.assert_close(each.weights[1], alike.weights[1])
    torch.testing.assert_close(each.weights[2], (before[2] + alike.weights[2]) / 2)


# ---------------------------------- whose weights


def test_rows_that_share_weights_change_them_by_their_sum():
    together = Plastic(linear(), PLAIN)
    before, modulator = together.weights.clone(), torch.tensor([1.0, -2.0, 0.0, 0.5])
    state = lived(together)
    together.learn(state, modulator, lr=0.1)
    change = 0.1 * (modulator.view(-1, 1, 1) * state.traces.e).sum(0)
    assert change.abs().min() > 0
    torch.testing.assert_close(together.weights, before + change)


@pytest.mark.parametrize("bias", [True, False])
def test_groups_are_blocks_of_rows_that_do_what_each_does_alone(bias):
    groups = 2
    whole = Plastic(Grouped(groups, bias), PLAIN)
    alone = []
    for g in range(groups):
        connection = linear(bias)
        connection.weight.data[:] = whole.connection.weight[g]
        if bias:
            connection.bias.data[:] = whole.connection.bias[g]
        alone.append(Plastic(connection, PLAIN))
    modulator = torch.tensor([1.0, -2.0, 3.0, 0.5])
    x = tick(9)[0].spike
    state = whole.learn(lived(whole), modulator, lr=0.1)
    y = whole.forward(x, state)
    for g, one in enumerate(alone):
        block = slice(2 * g, 2 * g + 2)
        part = one.learn(index(lived(one), block), modulator[block], lr=0.1)
        torch.testing.assert_close(whole.weights[g], one.weights)
        torch.testing.assert_close(y[block], one.forward(x[block], part))
    assert whole.groups == groups


def test_rows_with_weights_of_their_own_start_from_the_connections_and_leave_them():
    connection = linear()
    plastic = Plastic(connection, PLAIN, per_row=True)
    before, modulator = plastic.weights.clone(), torch.tensor([1.0, -2.0, 0.0, 0.5])
    state = lived(plastic)
    torch.testing.assert_close(state.w, before.expand(B, -1, -1))
    after = plastic.learn(state, modulator, lr=0.1)
    torch.testing.assert_close(after.w, before + 0.1 * modulator.view(-1, 1, 1) * state.traces.e)
    assert torch.equal(after.w[2], before) and not torch.equal(after.w[0], before)
    assert torch.equal(plastic.weights, before) and torch.equal(state.w[0], before)
    x = tick(9)[0].spike
    y = torch.stack([w[:, :-1] @ row + w[:, -1] for w, row in zip(after.w, x, strict=True)])
    torch.testing.assert_close(plastic.forward(x, after), y)


def test_the_weights_are_in_the_connections_own_memory_the_bias_last():
    connection = linear()
    names = list(connection.state_dict())
    plastic = Plastic(connection, PLAIN)
    assert list(connection.state_dict()) == names
    plastic.learn(lived(plastic), torch.ones(B), lr=0.1)
    assert torch.equal(plastic.weights[:, :-1], connection.weight)
    assert torch.equal(plastic.weights[:, -1], connection.bias)
    x = tick(9)[0].spike
    torch.testing.assert_close(plastic.forward(x, plastic.initial_state(B)), connection(x))
    # what is loaded into the connection is what the rule changes from then on
    saved = linear().state_dict()
    connection.load_state_dict(saved)
    assert torch.equal(plastic.weights[:, :-1], saved["weight"])
    assert torch.equal(plastic.weights[:, -1], saved["bias"])


def test_without_a_bias_there_is_no_further_synapse():
    connection = linear(bias=False)
    plastic = Plastic(connection, PLAIN)
    assert plastic.weights.shape == (POST, PRE)
    assert plastic.initial_state(B).traces.e.shape == (B, POST, PRE)
    plastic.learn(lived(plastic), torch.ones(B))
    assert torch.equal(plastic.weights, connection.weight)


def test_a_rule_of_biases_changes_the_bias_alone():
    plastic = Plastic(linear(), plasticity.make("intrinsic"))
    before = plastic.weights.clone()
    plastic.learn(lived(plastic), torch.ones(B))
    assert torch.equal(plastic.weights[:, :-1], before[:, :-1])
    assert (plastic.weights[:, -1] != before[:, -1]).all()


@pytest.mark.parametrize("per_row", [True, False])
def test_where_there_is_no_synapse_nothing_grows(per_row):
    mask = torch.ones(POST, PRE)
    mask[0, 1] = mask[2, 3] = 0.0
    plastic = Plastic(linear(), PLAIN, mask=mask, per_row=per_row)
    before = plastic.weights.clone()
    after = plastic.learn(lived(plastic, ticks=8), torch.ones(B))
    changed = (after.w if per_row else plastic.weights) != before
    expected = torch.cat((mask, torch.ones(POST, 1)), -1)  # the bias is always there
    assert torch.equal(changed.any(0) if per_row else changed, expected.bool())


@pytest.mark.parametrize("per_row", [True, False])
def test_weights_stay_within_the_bound(per_row):
    bound = 0.3
    connection = linear()
    connection.weight.data.clamp_(-bound, bound)
    connection.bias.data.clamp_(-bound, bound)
    plastic = Plastic(connection, PLAIN, bound=bound, per_row=per_row)
    after = plastic.learn(lived(plastic), torch.full((B,), 100.0))
    weights = after.w if per_row else plastic.weights
    assert weights.abs().max() == bound and weights.unique().numel() > 1


# ---------------------------------- the three steps as one


def reference(
    plastic: Plastic,
    state: PlasticState,
    x: Tensor,
    signal: Tensor,
    modulator: Tensor,
    x_next: Tensor,
    lr: Any,
    decay: Any,
) -> tuple[Tensor, PlasticState]:
    """`step`, as traces that fade, `remember`, `learn` and `forward`."""
    kept = torch.as_tensor(decay, dtype=x.dtype).expand(len(x))
    faded = tree_map(lambda trace: trace * kept.view(-1, *[1] * (trace.dim() - 1)), state.traces)
    state = state._replace(traces=faded)
    state = plastic.remember(state, Pre(x), Post(signal), signal)
    state = plastic.learn(state, modulator, lr)
    return plastic.forward(x_next, state), state


@pytest.mark.parametrize("groups", [0, 1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bound", [0.0, 0.5])
@pytest.mark.parametrize("each", [True, False])
def test_the_fused_step_is_remember_learn_and_forward(groups, bias, bound, each):
    """each: a learning rate for every neuron, and rows whose episode begins."""
    fused, steps = (
        Plastic(Grouped(groups, bias) if groups else linear(bias), PLAIN, bound=bound)
        for _ in range(2)
    )
    assert fused.fused
    state, other = fused.initial_state(B), steps.initial_state(B)
    g = torch.Generator().manual_seed(3)
    for t in range(6):
        x, x_next = torch.rand(2, B, PRE, generator=g)
        signal, modulator = torch.randn(B, POST, generator=g), torch.randn(B, generator=g)
        lr: Any = torch.rand(POST, generator=g) if each else 0.3
        decay = 0.9 * (torch.rand(B, generator=g) > 0.3) if each else 0.9
        y, state = fused.step(state, x, signal, modulator, x_next, lr, decay)
        expected, other = reference(steps, other, x, signal, modulator, x_next, lr, decay)
        torch.testing.assert_close(y, expected, msg=f"tick {t}")
        torch.testing.assert_close(fused.weights, steps.weights)
        torch.testing.assert_close(state.traces.e, other.traces.e)
    assert torch.equal(fused.weights[..., :PRE], fused.connection.weight)


@pytest.mark.parametrize("decay", [0.5, 0.5 * torch.tensor([False, True, True, False])])
@pytest.mark.parametrize("per_row", [True, False])
def test_the_step_of_a_rule_without_a_kernel_is_remember_learn_and_forward(per_row, decay):
    rule = plasticity.make("three_factor+scaling", {"three_factor.lr": 0.5})
    one, other = (Plastic(linear(), rule, per_row=per_row) for _ in range(2))
    assert not one.fused
    x, x_next, signal = tick(1)[0].spike, tick(2)[0].spike, tick(1)[2]
    modulator = torch.ones(B)
    begun = one.remember(one.initial_state(B), *tick(0))
    y, state = one.step(begun, x, signal, modulator, x_next, 0.3, decay)
    begun = other.remember(other.initial_state(B), *tick(0))
    expected, after = reference(other, begun, x, signal, modulator, x_next, 0.3, decay)
    assert torch.equal(y, expected)
    assert all(torch.equal(a, b) for a, b in zip(leaves(state), leaves(after), strict=True))


@pytest.mark.parametrize("groups", [0, 2])
@pytest.mark.parametrize("decay", [1.0, 0.5, 0.9 * torch.tensor([True, False, True, True])])
@pytest.mark.parametrize("constants", [{"lr": 1.0}, {"lr": 0.2, "tau_e": HALF}, {"tau_e": 0.0}])
def test_a_step_means_the_same_fused_or_not(groups, decay, constants):
    rule = ThreeFactor(**constants)
    fused = Plastic(Grouped(groups, True) if groups else linear(), rule)
    # a mask that leaves all synapses keeps the kernel away, and changes nothing else
    other = Plastic(Grouped(groups, True) if groups else linear(), rule, mask=torch.ones(POST, PRE))
    assert fused.fused and not other.fused
    before = fused.weights.clone()
    state, expected = fused.initial_state(B), other.initial_state(B)
    for t in range(3):
        x, x_next, signal = tick(t)[0].spike, tick(t + 1)[0].spike, tick(t)[2]
        given = x, signal, torch.tensor([1.0, -2.0, 3.0, 0.5]), x_next, 0.3, decay
        y, state = fused.step(state, *given)
        y_other, expected = other.step(expected, *given)
        torch.testing.assert_close(y, y_other)
        torch.testing.assert_close(state.traces.e, expected.traces.e)
        torch.testing.assert_close(fused.weights, other.weights)
    assert not torch.equal(fused.weights, before)


def test_one_row_with_weights_of_its_own_learns_as_one_that_shares_them_with_none():
    rule = ThreeFactor(lr=0.2, tau_e=HALF)
    fused, other = Plastic(linear(), rule), Plastic(linear(), rule, per_row=True)
    assert fused.fused and not other.fused
    state, expected = fused.initial_state(1), other.initial_state(1)
    for t in range(3):
        x, x_next, signal = tick(t, 1)[0].spike, tick(t + 1, 1)[0].spike, tick(t, 1)[2]
        y, state = fused.step(state, x, signal, torch.ones(1), x_next, 0.3, 0.5)
        y_other, expected = other.step(expected, x, signal, torch.ones(1), x_next, 0.3, 0.5)
        torch.testing.assert_close(y, y_other)
    torch.testing.assert_close(fused.weights, expected.w[0])


def test_a_step_by_hand_fades_by_the_decay_and_by_the_rule():
    connection = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(connection.weight)
    plastic = Plastic(connection, ThreeFactor(lr=0.5, tau_e=HALF))
    one = torch.ones(1, 1)
    # e = 1, w = 0.1 · 0.5 · 2 · 1 = 0.1
    y, state = plastic.step(plastic.initial_state(1), one, one, 2.0 * one[0], one, 0.1, 0.8)
    assert y.item() == pytest.approx(0.1)
    # e = 0.8 / 2 · 1 + 1 = 1.4, w = 0.1 + 0.1 · 0.5 · 2 · 1.4
    y, _ = plastic.step(state, one, one, 2.0 * one[0], one, 0.1, 0.8)
    assert y.item() == pytest.approx(0.24)


def test_constants_that_a_gradient_may_reach_keep_the_kernel_away():
    learns = ThreeFactor(lr=torch.tensor(0.3, requires_grad=True))
    assert Plastic(linear(), ThreeFactor(lr=0.3)).fused
    assert not Plastic(linear(), learns).fused


# ---------------------------------- gradients


def loss(plastic: Plastic, batch: int = B) -> Tensor:
    """What the connection drives after it has learned twice, a number."""
    state = plastic.initial_state(batch)
    for k in range(4):
        state = plastic.remember(state, *tick(k, batch))
        if k % 2:
            state = plastic.learn(state, torch.full((batch,), 0.7), lr=0.5)
    return plastic.forward(tick(9, batch)[0].spike, state).square().sum()


@pytest.mark.parametrize("constant", ["lr", "tau_e", "tau_pre"])
def test_a_gradient_flows_through_weights_of_rows_to_the_rules_constants(constant):
    values = {"lr": 0.3, "tau_e": 5.0, "tau_pre": 3.0}

    def of(value: Any) -> Tensor:
        rule = ThreeFactor(**{**values, constant: value})
        return loss(Plastic(linear(), rule, per_row=True))

    at = torch.tensor(values[constant], requires_grad=True)
    of(at).backward()
    step = 1e-2
    slope = (of(values[constant] + step) - of(values[constant] - step)) / (2 * step)
    assert at.grad is not None and at.grad.abs() > 1e-3
    assert at.grad.item() == pytest.approx(slope.item(), rel=2e-2)


@pytest.mark.parametrize("per_row", [True, False])
def test_none_is_prepared_where_nobody_asks_for_a_gradient(per_row):
    plastic = Plastic(linear(), ThreeFactor(lr=0.3, tau_e=5.0), per_row=per_row)
    assert plastic.connection.weight.requires_grad
    with no_autograd():
        assert not loss(plastic).requires_grad


def test_shared_weights_take_no_history_from_constants_that_learn():
    rule = ThreeFactor(lr=torch.tensor(0.3, requires_grad=True), tau_e=5.0)
    plastic = Plastic(linear(), rule)
    assert not loss(plastic).requires_grad
    assert not plastic.weights.requires_grad


def test_without_grad_constants_that_learn_leave_no_history_in_the_state():
    rule = ThreeFactor(lr=torch.tensor(0.3, requires_grad=True), tau_e=5.0)
    plastic = Plastic(linear(), rule, per_row=True)
    with torch.no_grad(), no_autograd():
        state = plastic.learn(lived(plastic), torch.ones(B))
    assert not any(x.requires_grad for x in leaves(state))


# ---------------------------------- rows


def first_row_of(x: Tensor, others: Tensor) -> Tensor:
    """The first row of x, followed by the further rows of the others."""
    return torch.cat((x[:1], others[1:]))


@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("name", RULES)
def test_rows_never_mix(name, per_row):
    plastic = Plastic(linear(), plasticity.make(name), per_row=per_row)
    state = plastic.initial_state(B)
    other = plastic.initial_state(B)
    for k in range(4):
        state = plastic.remember(state, *tick(k))
        # every row but the first lives something else
        pre, post, signal = tree_map(first_row_of, tick(k), tick(k + 90))
        other = plastic.remember(other, pre, post, signal)
        if per_row:
            state = plastic.learn(state, torch.ones(B))
            other = plastic.learn(other, torch.tensor([1.0, -3.0, 0.0, 2.0]))
    pairs = list(zip(leaves(state), leaves(other), strict=True))
    assert all(torch.equal(a[0], b[0]) for a, b in pairs)
    assert any(not torch.equal(a[1:], b[1:]) for a, b in pairs)


@pytest.mark.parametrize("name", RULES)
def test_a_row_whose_episode_begins_equals_a_new_one(name):
    plastic = Plastic(linear(), plasticity.make(name))
    old = lived(plastic)
    fresh = torch.tensor([True, False, True, False])
    state = plastic.remember(old, *tick(7), fresh=fresh)
    new = plastic.remember(plastic.initial_state(B), *tick(7))
    kept = plastic.remember(old, *tick(7))
    for x, of_new, of_old in zip(leaves(state), leaves(new), leaves(kept), strict=True):
        assert torch.equal(x[fresh], of_new[fresh])
        assert torch.equal(x[~fresh], of_old[~fresh])


# ---------------------------------- the trail of a decision


def test_a_trail_gives_its_ticks_and_their_means():
    ticks = [tick(k) for k in range(3)]
    pre = torch.stack([pre.spike for pre, _, _ in ticks], 1)
    post = Post(torch.stack([post.spike for _, post, _ in ticks], 1))
    trail = Trail(pre, post)
    assert torch.equal(trail.tick(1)[0].spike, ticks[1][0].spike)
    assert torch.equal(trail.tick(2)[1].spike, ticks[2][1].spike)
    assert trail.tick(0)[1].psi == ()
    torch.testing.assert_close(trail.mean()[0].spike, pre.sum(1) / 3)
    torch.testing.assert_close(trail.mean()[1].spike, post.spike.sum(1) / 3)


def test_the_trail_of_a_single_tick_is_that_tick():
    pre, post, _ = tick(0)
    trail = Trail.once(pre.spike, post)
    for side_before, side_after in (trail.tick(0), trail.mean()):
        assert torch.equal(side_before.spike, pre.spike)
        assert all(torch.equal(a, b) for a, b in zip(side_after, post, strict=True))
