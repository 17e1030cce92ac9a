"""Contracts over every discovered neuron. `python -m tests.contracts.test_neurons` prints
tests/golden/neurons.json anew.
"""

from __future__ import annotations

import io
import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bio_rl import discovery, neurons
from bio_rl.kernels.unroll import unroll
from bio_rl.neurons.cuba_lif import CubaLIF
from bio_rl.state import leaves, tree_map

GOLDEN = Path(__file__).parents[1] / "golden" / "neurons.json"
B, N = 4, 5
NOISELESS = {
    "escape_noise": {"delta": 0.01}
}  # its escape rate a threshold below the threshold is e^-100
NAMES = list(discovery.names(neurons))
NOT_SPIKING = set(NAMES) - set(neurons.spiking())
every_neuron = pytest.mark.parametrize("name", NAMES)


def build(name: str, quiet: bool = False):
    return neurons.load(name)()._replace(**NOISELESS.get(name, {}) if quiet else {})


def unit(p) -> float:
    """A drive of about the threshold, in the neuron's own unit."""
    return (
        0.1 if isinstance(p, CubaLIF) else p.unit_drive
    )  # τ_mem τ_syn 0.1 = 0.5 is PopSAN's threshold


def rand_drive(p, ticks: int, seed: int = 1) -> Tensor:
    """[ticks, B, N], strong enough that every kind fires."""
    return 3.0 * unit(p) * torch.rand(ticks, B, N, generator=torch.Generator().manual_seed(seed))


def run(p, drive: Tensor, state=None, dt: float = 1.0):
    """Outputs and membranes [T, B, N], and the state after them."""
    state, outputs, membranes = p.init(*drive.shape[1:]) if state is None else state, [], []
    for x in drive:
        z, state = p.step(state, x, dt)
        outputs.append(z)
        membranes.append(state.v)
    return torch.stack(outputs), torch.stack(membranes), state


def backends(p) -> list[str]:
    return ["torch", "numba"] if p.core(1.0) and _installed("numba") else ["torch"]


def _installed(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


@every_neuron
def test_a_tick_keeps_every_shape_and_spikes_are_zero_or_one(name):
    p = build(name)
    fresh = p.init(B, N)
    z, _, state = run(p, rand_drive(p, 60))
    assert z.shape == (60, B, N) and z.dtype == torch.float32
    assert type(state) is type(fresh)
    assert [(x.shape, x.dtype) for x in leaves(state)] == [
        (x.shape, x.dtype) for x in leaves(fresh)
    ]
    assert all(x.isfinite().all() for x in leaves(state))
    if name not in NOT_SPIKING:
        assert ((z == 0) | (z == 1)).all() and z.sum(0).min() > 0  # every neuron fired


@every_neuron
@pytest.mark.parametrize("dt", [1.0, 0.25])
def test_a_resting_neuron_without_input_stays_at_rest_and_silent(name, dt):
    p = build(name, quiet=True)
    rest = p.init(B, N)
    z, _, state = run(p, torch.zeros(400, B, N), dt=dt)
    assert z.sum() == 0
    for field, before, after in zip(rest._fields, rest, state, strict=True):
        if isinstance(before, Tensor) and field != "key":
            torch.testing.assert_close(
                after, before, rtol=1e-6, atol=1e-6 * unit(p)
            )  # of AdEx 5 µV: its exponential


@every_neuron
def test_no_drive_however_strong_leaves_the_numbers(name):
    p = build(name)
    for sign in (1.0, -1.0):
        drive = torch.full((20, B, N), sign * 1e3 * unit(p)).requires_grad_()
        z, v, state = run(p, drive)
        (z.sum() + v[-1].sum()).backward()
        assert all(x.isfinite().all() for x in (z, v, *leaves(state)))
        if (
            name != "izhikevich" or sign > 0
        ):  # v² of a hyperpolarised Izhikevich neuron explodes in its gradient as in itself
            assert drive.grad.isfinite().all()


def membranes_below_threshold(p, impulse: bool, dt: float) -> Tensor:
    """v at every ms of 50 in double precision, under a slow wave that does not make it fire."""
    t = torch.arange(round(50 / dt), dtype=torch.float64) * dt
    wave = 0.025 * unit(p) * (1.0 - torch.cos(2 * math.pi * t / 25)) * (dt if impulse else 1.0)
    state = tree_map(lambda x: x.double() if x.is_floating_point() else x, p.init(1, 1))
    z, v, _ = run(p, wave.view(-1, 1, 1), state, dt)
    assert not ((z == 1).any())
    return v[round(1 / dt) - 1 :: round(1 / dt)]


@every_neuron
def test_halving_dt_converges(name):
    # a first-order scheme: half the tick, half the error. CUBA-LIF's drive is an impulse, so a
    # steady current of x is x dt
    p, impulse = build(name, quiet=True), name == "cuba_lif"
    finest = membranes_below_threshold(p, impulse, 1 / 64)
    errors = [
        (membranes_below_threshold(p, impulse, dt) - finest).abs().max().item()
        for dt in (1.0, 0.5, 0.25, 0.125)
    ]
    ratios = [after / before for before, after in itertools.pairwise(errors)]
    assert all(0.3 < r < 0.6 for r in ratios), (errors, ratios)
    assert errors[-1] < 0.07 * (finest.max() - finest.min())


FIRING = {"izhikevich": 0.2, "adex": 0.2, "alif": 6.0}
"""A drive, in units, under which a neuron fires regularly; 1.5 for the others."""


@every_neuron
def test_the_firing_rate_converges_as_dt_halves(name):
    if name in NOT_SPIKING or name == "escape_noise":
        pytest.skip("does not fire, or fires at random: see tests/brain/test_neurons.py")
    p = build(name)

    def count(dt: float) -> float:
        steady = torch.full(
            (1, 1, 1), FIRING.get(name, 1.5) * unit(p) * (dt if name == "cuba_lif" else 1.0)
        )
        return run(p, steady.expand(round(200 / dt), 1, 1), dt=dt)[0].sum().item()

    coarse, middle, fine = count(0.5), count(0.125), count(0.03125)
    assert (
        fine >= 4
        and abs(middle - fine) <= max(1, abs(coarse - fine))
        and abs(middle - fine) <= max(1, 0.06 * fine)
    )


def golden(name: str) -> dict:
    """60 ticks of 2 x 3 neurons under sines, no random numbers in them: a string of spikes a
    neuron, and the final state.
    """
    p = build(name)
    t, phase = torch.arange(60.0).view(-1, 1, 1), torch.arange(6.0).view(2, 3)
    z, _, state = run(p, 3.0 * unit(p) * (0.6 + torch.sin(0.37 * (1 + 0.1 * phase) * t + phase)))
    rows = z.permute(1, 2, 0).reshape(6, -1)
    spikes = [] if name in NOT_SPIKING else ["".join(str(int(x)) for x in row) for row in rows]
    return {
        "spikes": spikes,
        "state": {k: x.tolist() for k, x in state._asdict().items() if isinstance(x, Tensor)},
    }


@every_neuron
def test_the_golden_run_is_what_it_was(name):
    stored = json.loads(GOLDEN.read_text())
    assert sorted(stored) == NAMES, (
        "a neuron came or went: python -m tests.contracts.test_neurons > tests/golden/neurons.json"
    )
    now = golden(name)
    assert now["spikes"] == stored[name]["spikes"]
    assert name in NOT_SPIKING or all("1" in row and "0" in row for row in now["spikes"])
    assert sorted(now["state"]) == sorted(stored[name]["state"])
    for field, values in now["state"].items():
        torch.testing.assert_close(
            torch.tensor(values), torch.tensor(stored[name]["state"][field]), rtol=1e-5, atol=1e-5
        )


@every_neuron
def test_a_reset_row_equals_a_fresh_row(name):
    p, k = build(name), 6
    drive = rand_drive(p, 3 * k)
    reset = torch.zeros(3, B, dtype=torch.bool)
    reset[1, 0] = reset[1, 3] = True
    for backend in backends(p):
        _, before = unroll(p, p.init(B, N), drive[:k], reset[:1], ticks=k, backend=backend)
        start = p.init(B, N)
        if p.noisy:
            start = start._replace(key=before.key)  # the noise goes on
        out, after = unroll(p, p.init(B, N), drive, reset, ticks=k, backend=backend)
        fresh, fresh_after = unroll(
            p, start, drive[k:], reset[:1].expand(2, -1), ticks=k, backend=backend
        )
        kept, _ = unroll(p, before, drive[k:], reset[:1].expand(2, -1), ticks=k, backend=backend)
        rows = reset[1]
        assert torch.equal(out[k:, rows], fresh[:, rows]) and torch.equal(
            out[k:, ~rows], kept[:, ~rows]
        )
        assert equal(tree_map(lambda x: x[rows], after), tree_map(lambda x: x[rows], fresh_after))  # noqa: B023
        assert not torch.equal(before.v[rows], start.v[rows])  # there was something to forget


@every_neuron
def test_unroll_equals_steps(name):
    p = build(name)
    drive, no_reset = rand_drive(p, 12), torch.zeros(3, B, dtype=torch.bool)
    z, v, state = run(p, drive, dt=0.5)
    for backend in backends(p):
        out, after = unroll(p, p.init(B, N), drive, no_reset, ticks=4, dt=0.5, backend=backend)
        assert torch.equal(out, z) and torch.equal(v[-1], state.v)
        for a, b in zip(leaves(after), leaves(state), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@every_neuron
def test_state_and_constants_survive_a_save_that_holds_names_and_tensors_only(name):
    p = build(name)._replace(v_threshold=1.2) if name == "lif" else build(name)
    if name == "plif":
        p = p.learning(3.0, N)
    drive = rand_drive(p, 20)
    _, _, state = run(p, drive[:10])
    file = io.BytesIO()
    torch.save({"constants": p._asdict(), "state": state._asdict()}, file)
    saved = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    p2, state2 = type(p)(**saved["constants"]), type(state)(**saved["state"])
    assert equal(run(p, drive[10:], state), run(p2, drive[10:], state2))
    assert name in NOT_SPIKING or not equal(
        run(p, drive[10:], state)[0], run(p2, drive[10:])[0]
    )  # the state mattered


@every_neuron
def test_gradients_reach_every_drive(name):
    p = build(name)
    drive = (0.3 * rand_drive(p, 12)).requires_grad_()
    z, v, _ = run(p, drive)
    (z.sum() + v[-1].sum()).backward()
    assert drive.grad.isfinite().all() and (drive.grad.abs().amax(dim=(1, 2)) > 0).all()
    if name in NOT_SPIKING:
        return
    drive.grad = None
    run(p, drive)[0].sum().backward()  # through spikes alone
    assert drive.grad.isfinite().all() and drive.grad.abs().sum() > 0


@every_neuron
def test_rows_and_neurons_never_mix(name):
    p, drive = build(name), rand_drive(build(name), 30)
    other = drive.clone()
    other[:, 2, 3] = 0.0
    a, b = run(p, drive), run(p, other)
    changed = torch.zeros(B, N, dtype=torch.bool)
    changed[2, 3] = True
    for x, y in zip(leaves(a), leaves(b), strict=True):
        if x.dim() > 1:  # a key [B] has no neurons
            assert torch.equal(x[..., ~changed], y[..., ~changed])
    assert not torch.equal(a[1][..., changed], b[1][..., changed])


@every_neuron
def test_a_tick_changes_nothing_that_it_was_given(name):
    p, drive = build(name), rand_drive(build(name), 1)[0]
    state = run(p, rand_drive(p, 5))[2]
    kept, kept_drive = tree_map(torch.clone, state), drive.clone()
    first, again = p.step(state, drive), p.step(state, drive)
    assert equal(first, again) and equal(state, kept) and torch.equal(drive, kept_drive)


@every_neuron
def test_a_tick_compiles_without_a_graph_break(name):
    torch._dynamo.reset()
    p, drive = build(name), rand_drive(build(name), 8)
    compiled = torch.compile(lambda s, x: p.step(s, x, 0.5), backend="eager", fullgraph=True)
    state = run(p, drive[:7], dt=0.5)[2]
    assert equal(compiled(state, drive[7]), p.step(state, drive[7], 0.5))


def agrees_with_itself_under_compile(name: str, backend: str) -> bool:
    p = build(name)
    drive, reset = (
        rand_drive(p, 8),
        torch.rand(2, B, generator=torch.Generator().manual_seed(3)) < 0.5,
    )

    def loop(s, x, r):
        return unroll(p, s, x, r, ticks=4, backend=backend)

    plain, compiled = drive.clone().requires_grad_(), drive.clone().requires_grad_()
    expected = loop(p.init(B, N), plain, reset)
    torch._dynamo.reset()
    found = torch.compile(loop, backend="eager")(p.init(B, N), compiled, reset)
    expected[0].sum().backward()
    found[0].sum().backward()
    return equal(found, expected) and torch.equal(compiled.grad, plain.grad)


@every_neuron
def test_the_time_loop_agrees_with_itself_under_compile(name):
    assert agrees_with_itself_under_compile(name, "torch")


@pytest.mark.parametrize("name", [name for name in NAMES if build(name).core(1.0)])
def test_the_fused_time_loop_agrees_with_itself_under_compile(name):
    pytest.importorskip("numba")
    assert agrees_with_itself_under_compile(name, "numba")


if __name__ == "__main__":
    print(json.dumps({name: golden(name) for name in NAMES}, indent=1))
