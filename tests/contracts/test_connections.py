"""Contracts over every discovered connection, and over the variants of those that have settings
which change what they do.
"""

from __future__ import annotations

import pytest
import torch

from bio_rl import connections, discovery
from bio_rl.state import index, leaves, tree_map, where_reset

T, B, N_PRE, N_POST = 12, 5, 16, 6
PICTURE = (2, 6, 7)
SIZES = {"conv": (2, 3), "recurrent": (N_PRE, N_PRE)}
VARIANTS = {
    "dense": [{"graded": False}],
    "recurrent": [{"autapses": True}, {"dale": True}, {"graded": False}],
    "sparse": [{"density": 0.5}, {"graded": False}],
    "conv": [{"kernel": 2, "stride": 2}],
    "stp": [{"U": 0.15, "tau_f": 1500.0, "tau_d": 200.0}],
    "delay": [{"max_delay": 1}, {"graded": False}],
}
CASES = [
    (name, settings)
    for name in discovery.names(connections)
    for settings in [{}, *VARIANTS.get(name, [])]
]
every_connection = pytest.mark.parametrize(("name", "settings"), CASES, ids=lambda x: str(x))


def build(name, settings, seed=0):
    torch.manual_seed(seed)
    return discovery.load(connections, name).Connection(
        *SIZES.get(name, (N_PRE, N_POST)), **settings
    )


def train(name, seed=1):
    """Spikes [T, B, ...] of a layer that fires at 0.3 per tick."""
    shape = PICTURE if name == "conv" else (N_PRE,)
    return (torch.rand(T, B, *shape, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


def run(connection, spikes, state):
    drives = []
    for s in spikes:
        drive, state = connection(s, state)
        drives.append(drive)
    return torch.stack(drives), state


@every_connection
def test_drive_has_a_row_for_each_row_of_spikes(name, settings):
    connection = build(name, settings)
    expected = (
        connection.output_shape(PICTURE)
        if name == "conv"
        else (SIZES.get(name, (N_PRE, N_POST))[1],)
    )
    drives, state = run(connection, train(name), connection.initial_state(B))
    assert drives.shape == (T, B, *expected) and drives.dtype == torch.float32
    fresh = connection.initial_state(B)
    assert [x.shape for x in leaves(state)] == [x.shape for x in leaves(fresh)] and type(
        state
    ) is type(fresh)


@every_connection
def test_stateless_kinds_take_any_leading_axes(name, settings):
    connection, spikes = build(name, settings), train(name)
    if list(leaves(connection.initial_state(1))):
        pytest.skip("has a state")
    drives, _ = run(connection, spikes, ())
    torch.testing.assert_close(connection(spikes, ())[0], drives, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(connection(spikes[0, 0], ())[0], drives[0, 0], rtol=1e-5, atol=1e-6)


@every_connection
def test_no_spikes_no_drive(name, settings):
    connection, spikes = build(name, settings), train(name)
    drives, _ = run(connection, torch.zeros_like(spikes), connection.initial_state(B))
    assert torch.equal(drives, torch.zeros_like(drives))
    assert run(connection, spikes, connection.initial_state(B))[0].abs().sum() > 0


@every_connection
def test_rows_of_a_batch_never_mix(name, settings):
    connection, spikes = build(name, settings), train(name)
    before, _ = run(connection, spikes, connection.initial_state(B))
    spikes[:, 2] = 1.0 - spikes[:, 2]
    after, _ = run(connection, spikes, connection.initial_state(B))
    others = [0, 1, 3, 4]
    assert torch.equal(before[:, others], after[:, others]) and not torch.equal(
        before[:, 2], after[:, 2]
    )


@every_connection
def test_a_reset_row_equals_a_fresh_row(name, settings):
    connection, spikes = build(name, settings), train(name)
    _, used = run(connection, spikes[:6], connection.initial_state(B))
    reset = torch.tensor([False, True, False, False, True])
    mixed, _ = run(connection, spikes[6:], where_reset(reset, connection.initial_state(B), used))
    fresh, _ = run(connection, spikes[6:], connection.initial_state(B))
    kept, _ = run(connection, spikes[6:], used)
    assert torch.equal(mixed[:, reset], fresh[:, reset]) and torch.equal(
        mixed[:, ~reset], kept[:, ~reset]
    )
    if list(leaves(used)):  # a connection with a state must have had something to forget
        assert not torch.equal(fresh[:, reset], kept[:, reset])


@every_connection
def test_gradients_reach_every_parameter_and_the_spikes(name, settings):
    connection, spikes = build(name, settings), train(name).requires_grad_()
    drives, _ = run(connection, spikes, connection.initial_state(B))
    (drives + 1.0).square().sum().backward()
    assert [
        n for n, p in connection.named_parameters() if p.grad is None or p.grad.abs().sum() == 0
    ] == []
    assert spikes.grad.abs().sum() > 0 and spikes.grad.isfinite().all()


@every_connection
def test_state_is_never_hidden_in_the_module(name, settings):
    connection, spikes = build(name, settings), train(name)
    saved, start = tree_map(torch.clone, connection.state_dict()), connection.initial_state(B)
    first, after = run(connection, spikes, start)
    kept = tree_map(torch.clone, after)
    second, _ = run(
        connection, spikes, start
    )  # the same start: a call changes neither the module nor the state it was given
    assert torch.equal(first, second)
    assert all(torch.equal(saved[k], v) for k, v in connection.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(leaves(kept), leaves(after), strict=True))


@every_connection
def test_save_and_load_restores_the_function(name, settings):
    connection, other, spikes = build(name, settings), build(name, settings, seed=5), train(name)
    expected, _ = run(connection, spikes, connection.initial_state(B))
    assert not torch.equal(run(other, spikes, other.initial_state(B))[0], expected)
    other.load_state_dict(connection.state_dict())
    assert torch.equal(run(other, spikes, other.initial_state(B))[0], expected)


@every_connection
def test_state_of_another_batch_is_an_error(name, settings):
    connection = build(name, settings)
    if not list(leaves(connection.initial_state(1))):
        pytest.skip("memoryless")
    with pytest.raises(ValueError, match=f"{name}: state has {B + 1} rows"):
        connection(train(name)[0], connection.initial_state(B + 1))
    with pytest.raises(ValueError, match=rf"{name}: spikes have shape .*expected \[B, pre\]"):
        connection(train(name), connection.initial_state(B))
    one_row = index(connection.initial_state(B), slice(0, 1))  # would broadcast in silence
    with pytest.raises(ValueError, match="rows"):
        connection(train(name)[0], one_row)


@every_connection
def test_spikes_of_another_layer_are_an_error(name, settings):
    connection = build(name, settings)
    wrong = torch.zeros(B, 3, 6, 7) if name == "conv" else torch.zeros(B, N_PRE + 1)
    with pytest.raises(ValueError, match=f"{name}: .*shape"):
        connection(wrong, connection.initial_state(B))


@every_connection
def test_an_unroll_equals_ticks_with_resets_between(name, settings):
    connection, spikes = build(name, settings), train(name)
    ticks, decisions = 4, T // 4
    reset = torch.rand(decisions, B, generator=torch.Generator().manual_seed(3)) < 0.3
    _, start = run(connection, train(name, seed=2), connection.initial_state(B))
    state, expected = start, []
    for t, now in enumerate(spikes):
        if t % ticks == 0:
            fresh = connection.initial_state(B)
            state = where_reset(reset[t // ticks], fresh, state)
        drive, state = connection(now, state)
        expected.append(drive)
    drives, after = connection.unroll(spikes, start, reset, ticks)
    torch.testing.assert_close(drives, torch.stack(expected), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(leaves(after), leaves(state), strict=True))
    if connection.stateful:
        assert not torch.equal(drives, connection.unroll(spikes, start, ~reset, ticks)[0])


@every_connection
def test_the_drive_is_the_weights_times_what_arrives(name, settings):
    connection, now = build(name, settings), train(name)[0]
    if name == "conv":
        weight, arriving = connection.unfolded(now)
        drive = (arriving @ weight.t()).transpose(-1, -2).reshape(B, -1)
    else:
        arriving, _ = connection.transmit(now, connection.initial_state(B), 1.0)
        drive = arriving @ connection.effective_weight().t()
    expected, _ = connection(now, connection.initial_state(B))
    torch.testing.assert_close(drive, expected.reshape(B, -1))  # every bias is zero at first


def test_the_kind_says_whether_it_has_a_state_and_joins_any_two_layers():
    for name in discovery.names(connections):
        kind = connections.load(name)
        connection = build(name, {})
        assert kind.name == name and issubclass(kind, connections.BaseConnection)
        assert kind.stateful == bool(list(leaves(connection.initial_state(1))))
        if not kind.between_layers:
            with pytest.raises(ValueError, match=f"the connection {name} cannot join a layer of 4"):
                connections.make(name, 4, 5)


@every_connection
def test_compiles_whole(name, settings):
    connection, spikes = build(name, settings), train(name)[0]
    expected, state = connection(spikes, connection.initial_state(B))
    torch.compiler.reset()
    compiled = torch.compile(connection, backend="eager", fullgraph=True)
    drive, after = compiled(spikes, connection.initial_state(B))
    assert torch.equal(drive, expected)
    assert all(torch.equal(a, b) for a, b in zip(leaves(after), leaves(state), strict=True))


@every_connection
def test_sizes_are_checked_at_construction(name, settings):
    with pytest.raises(ValueError, match=f"{name}: .* is 0, expected a positive number"):
        discovery.load(connections, name).Connection(0, 3, **settings)
    with pytest.raises(ValueError, match=f"{name}: .* is -1, expected a positive number"):
        discovery.load(connections, name).Connection(3, -1, **settings)
