"""Every network in other precisions, without rows or steps, in function transforms, copied and
pickled.
"""

import copy
import io
import pickle

import pytest
import torch

from bio_rl.contracts import Percept
from bio_rl.groups import side_by_side
from bio_rl.state import leaves, tree_map
from tests.contracts.test_networks import CASES, N_OUT, B, T, build, percepts

pytestmark = pytest.mark.thorough

every_network = pytest.mark.parametrize(("name", "settings"), CASES, ids=lambda x: str(x))


def inputs(name, dtype=torch.float32):
    xs = percepts(name)
    return xs._replace(obs=xs.obs.to(dtype))


def first(xs):
    return Percept(*(x[0] for x in xs))


def gradients(net, out):
    net.zero_grad()
    out.float().square().sum().backward()
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@every_network
def test_a_network_in_double_precision_runs_forward_and_backward(name, settings):
    net, xs = build(name, settings).double(), inputs(name, torch.float64)
    out, state = net.unroll(xs, net.initial_state(B))
    again, after = net(first(xs), state)
    assert out.dtype == again.dtype == torch.float64
    kinds = [x.dtype for x in leaves(net.initial_state(B))]
    assert kinds == [x.dtype for x in leaves(state)] == [x.dtype for x in leaves(after)]
    found = gradients(net, out)
    assert found and all(g.dtype == torch.float64 and g.isfinite().all() for g in found.values())


@pytest.mark.parametrize("name", ["mlp", "lstm", "cnn"])
def test_double_precision_gives_the_numbers_of_single_precision(name):
    net, xs = build(name, {}), inputs(name)
    single, _ = net.unroll(xs, net.initial_state(B))
    net, xs = net.double(), inputs(name, torch.float64)
    torch.testing.assert_close(
        net.unroll(xs, net.initial_state(B))[0].float(), single, rtol=1e-4, atol=1e-5
    )


@every_network
def test_a_network_under_autocast_runs_forward_and_backward(name, settings, dtype=torch.bfloat16):
    net, xs = build(name, settings), inputs(name)
    with torch.autocast("cpu", dtype=dtype):
        out, state = net.unroll(xs, net.initial_state(B))
        net(first(xs), state)
    assert out.isfinite().all()
    found = gradients(net, out)
    assert found and all(g.dtype == torch.float32 and g.isfinite().all() for g in found.values())
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        quiet, _ = net.unroll(xs, net.initial_state(B))
    assert quiet.shape == out.shape


@every_network
@pytest.mark.parametrize(("steps", "rows"), [(T, 0), (0, B), (0, 0)])
@pytest.mark.parametrize("learning", [True, False])
def test_no_rows_or_no_steps_give_empty_outputs(name, settings, steps, rows, learning):
    net, xs = build(name, settings), Percept(*(x[:steps, :rows] for x in inputs(name)))
    with torch.set_grad_enabled(learning):
        out, state = net.unroll(xs, net.initial_state(rows))
    assert out.shape == (steps, rows, N_OUT)
    before = net.initial_state(rows)
    assert [x.shape for x in leaves(state)] == [x.shape for x in leaves(before)]
    if not steps:
        assert all(torch.equal(a, b) for a, b in zip(leaves(state), leaves(before), strict=True))
    if learning:
        gradients(net, out)


@every_network
@pytest.mark.parametrize("learning", [True, False])
def test_no_rows_give_an_empty_decision(name, settings, learning):
    net, xs = build(name, settings), Percept(*(x[0, :0] for x in inputs(name)))
    with torch.set_grad_enabled(learning):
        out, _ = net(xs, net.initial_state(0))
    assert out.shape == (0, N_OUT)


@pytest.mark.parametrize("name", ["mlp", "lstm", "spiking", "lsnn"])
def test_a_group_of_networks_takes_no_rows(name):
    group = side_by_side([build(name, {}), build(name, {})])
    xs = Percept(*(x[:, :0] for x in inputs(name)))
    assert group.unroll(xs, group.initial_state(0))[0].shape == (T, 0, N_OUT)
    assert group(first(xs), group.initial_state(0))[0].shape == (0, N_OUT)


def called(net, xs, state):
    """Outputs as a function of the weights."""
    return lambda weights: torch.func.functional_call(net, weights, (first(xs), state))[0]


@every_network
def test_torch_func_grad_gives_the_gradients_of_backward(name, settings):
    net, xs = build(name, settings), inputs(name)
    state = net.initial_state(B)
    expected = gradients(net, net(first(xs), state)[0])
    found = torch.func.grad(lambda w: called(net, xs, state)(w).square().sum())(
        dict(net.named_parameters())
    )
    for key, value in found.items():
        torch.testing.assert_close(
            value, expected.get(key, torch.zeros_like(value)), rtol=1e-4, atol=1e-5
        )


@every_network
def test_torch_func_vmap_over_weights_gives_the_outputs_of_each(name, settings):
    net, xs = build(name, settings), inputs(name)
    state, other = net.initial_state(B), copy.deepcopy(net)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.1 * torch.randn_like(p))
    both = {
        k: torch.stack([v, dict(other.named_parameters())[k]]).detach()
        for k, v in net.named_parameters()
    }
    found = torch.func.vmap(called(net, xs, state))(both)
    with torch.no_grad():
        expected = torch.stack(
            [called(net, xs, state)({k: v[i] for k, v in both.items()}) for i in range(2)]
        )
    # a product in another order may move a membrane over its threshold, so most outputs, not all,
    # are compared
    assert (found - expected).abs().median() < 1e-5


@every_network
def test_torch_func_vmap_and_grad_may_be_combined(name, settings):
    net, xs = build(name, settings), inputs(name)
    state, weights = net.initial_state(B), dict(net.named_parameters())
    both = {k: torch.stack([v, v]).detach() for k, v in weights.items()}
    found = torch.func.vmap(torch.func.grad(lambda w: called(net, xs, state)(w).sum()))(both)
    assert all(found[k].shape == both[k].shape and torch.isfinite(found[k]).all() for k in both)


@pytest.mark.parametrize("name", ["mlp", "lstm", "spiking", "recurrent_spiking", "lsnn", "cells"])
def test_torch_func_vmap_over_observations_gives_the_outputs_of_each(name):
    net, x = build(name, {}), first(inputs(name))
    state = net.initial_state(B)
    with torch.no_grad():
        found = torch.func.vmap(lambda obs: net(x._replace(obs=obs), state)[0])(
            torch.stack([x.obs, -x.obs])
        )
        expected = torch.stack([net(x._replace(obs=obs), state)[0] for obs in (x.obs, -x.obs)])
    assert found.shape == expected.shape and (found - expected).abs().median() < 1e-5


def through_pickle(net):
    return pickle.loads(pickle.dumps(net))


def through_torch(net):
    file = io.BytesIO()
    torch.save(net, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=False)


@every_network
@pytest.mark.parametrize("duplicate", [copy.deepcopy, through_pickle, through_torch])
def test_a_copy_gives_equal_outputs_and_still_learns(name, settings, duplicate):
    net, xs = build(name, settings), inputs(name)
    gradients(
        net, net.unroll(xs, net.initial_state(B))[0]
    )  # what a call keeps must not stand in the way
    net.zero_grad()
    twin = duplicate(net)
    expected, _ = net.unroll(xs, net.initial_state(B))
    found, _ = twin.unroll(xs, twin.initial_state(B))
    assert torch.equal(found, expected)
    before = tree_map(torch.clone, dict(net.state_dict()))
    for network in (twin, net):
        optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
        gradients(network, network.unroll(xs, network.initial_state(B))[0])
        optimiser.step()
        if network is twin:  # a copy that learns leaves the first as it was
            assert all(torch.equal(x, before[k]) for k, x in net.state_dict().items())
    changed = dict(twin.state_dict())
    assert all(torch.equal(x, changed[k]) for k, x in net.state_dict().items())
    assert any(not torch.equal(x, before[k]) for k, x in changed.items())


@pytest.mark.parametrize("name", ["mlp", "lstm", "spiking"])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, through_pickle])
def test_a_copy_of_a_group_gives_equal_outputs(name, duplicate):
    group, xs = side_by_side([build(name, {}), build(name, {})]), inputs(name)
    xs = Percept(*(torch.cat((x, x), 1) for x in xs))
    twin = duplicate(group)
    assert torch.equal(
        twin.unroll(xs, twin.initial_state(2 * B))[0],
        group.unroll(xs, group.initial_state(2 * B))[0],
    )
