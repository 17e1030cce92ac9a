"""What the kernels do not check they read past: every entry refuses what does not fit, or means
what the reference means.
"""

import os
import subprocess
import sys

import pytest
import torch

from bio_rl.codes.conjunctive import Grid, Scattered
from bio_rl.kernels.cells import respond
from bio_rl.kernels.eprop import eprop_decision
from bio_rl.kernels.lsnn import decision
from bio_rl.kernels.perceptron import perceptron
from bio_rl.kernels.plastic import plastic_step
from bio_rl.kernels.td import td_error
from bio_rl.kernels.unroll import trace, unroll
from bio_rl.neurons.adex import AdEx
from bio_rl.neurons.alif import ALIF
from bio_rl.neurons.cuba_lif import CubaLIF
from bio_rl.neurons.escape_noise import EscapeNoise
from bio_rl.neurons.izhikevich import Izhikevich
from bio_rl.neurons.leaky_integrator import LeakyIntegrator
from bio_rl.neurons.lif import LIF
from bio_rl.neurons.plif import PLIF
from bio_rl.plasticity.eprop import EProp
from bio_rl.state import leaves

pytestmark = pytest.mark.thorough

pytest.importorskip("numba")
B, N, K, T = 4, 6, 4, 3
NEURONS = {
    "lif": LIF(),
    "refractory": LIF(tau_refractory=2.0),
    "cuba_lif": CubaLIF(),
    "alif": ALIF(tau_mem=3.0, tau_adapt=10.0, beta=0.3),
    "plif": PLIF(),
    "plif_each": PLIF(w=torch.zeros(N)),
}
BACKENDS = [None, "numba", "torch"]


def drive(*shape, scale=3.0):
    return scale * torch.rand(*(shape or (T * K, B, N)), generator=torch.Generator().manual_seed(0))


def never(steps=T, batch=B):
    return torch.zeros(steps, batch, dtype=torch.bool)


# unroll

WRONG_FIELDS = {
    "fewer rows": lambda x: x[:2].clone(),
    "one row": lambda x: x[:1].clone(),
    "fewer neurons": lambda x: x[:, :2].clone(),
    "more rows": lambda x: torch.cat((x, x)),
    "flat": lambda x: x.flatten(),
    "transposed": lambda x: x.T.contiguous(),
    "empty": lambda x: x[:0].clone(),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wrong", WRONG_FIELDS)
@pytest.mark.parametrize("kind", NEURONS)
def test_a_state_of_another_shape_is_refused(kind, wrong, backend):
    p = NEURONS[kind]
    fresh = p.init(B, N)
    for name, x in fresh._asdict().items():
        if isinstance(x, torch.Tensor):
            state = fresh._replace(**{name: WRONG_FIELDS[wrong](x)})
            with pytest.raises(ValueError, match=f"state.{name} has shape .*expected"):
                unroll(p, state, drive(), never(), ticks=K, backend=backend)


def other_layouts(x):
    """The same numbers, laid out otherwise."""
    yield x.T.contiguous().T
    yield torch.stack((x, x), -1)[..., 0]
    yield torch.cat((x, x), -1)[..., : x.shape[-1]]


@pytest.mark.parametrize("kind", NEURONS)
def test_a_state_or_a_drive_that_is_not_contiguous_means_the_same(kind):
    p = NEURONS[kind]
    _, state = unroll(p, p.init(B, N), drive(), never(), ticks=K)
    expected, after = unroll(p, state, drive(), never(), ticks=K, backend="numba")
    for name, x in state._asdict().items():
        for same in other_layouts(x) if isinstance(x, torch.Tensor) else ():
            found, _ = unroll(
                p, state._replace(**{name: same}), drive(), never(), ticks=K, backend="numba"
            )
            assert torch.equal(found, expected)
    strided = drive().transpose(0, 2).contiguous().transpose(0, 2)
    reset = torch.stack((never(), never()), -1)[..., 0]
    found, final = unroll(p, state, strided, reset, ticks=K, backend="numba")
    assert torch.equal(found, expected)
    assert all(torch.equal(a, b) for a, b in zip(leaves(after), leaves(final), strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", NEURONS)
def test_a_state_of_another_precision_is_what_it_is_in_torch(kind, dtype):
    p = NEURONS[kind]
    fresh = p.init(B, N)
    state = fresh._replace(v=fresh.v.to(dtype) + 0.1)
    expected, after = unroll(p, state, drive(), never(), ticks=K, backend="torch")
    found, final = unroll(p, state, drive(), never(), ticks=K)
    assert (
        torch.equal(found, expected)
        and final.v.dtype == after.v.dtype
        and torch.equal(final.v, after.v)
    )
    with pytest.raises(ValueError, match="numba"):
        unroll(p, state, drive(), never(), ticks=K, backend="numba")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reset": never().long()}, "reset is of torch.int64"),
        ({"reset": never().float()}, "reset is of torch.float32"),
        ({"reset": never().to(torch.uint8)}, "reset is of torch.uint8"),
        ({"reset": never().flatten()}, "expected"),
        ({"reset": never().to("meta")}, "meta"),
        ({"drive": drive().flatten(1)}, "expected"),
        ({"drive": drive(T * K, B, N, 1)}, "expected"),
        ({"drive": drive()[:-1]}, "drive has shape"),
        ({"ticks": 0}, "ticks is 0"),
        ({"ticks": -4}, "ticks is -4"),
        ({"hold": 0}, "hold is 0"),
    ],
)
def test_what_else_does_not_fit_an_unroll_is_refused(given, message, backend):
    given = {"drive": drive(), "reset": never(), "ticks": K, **given}
    with pytest.raises(ValueError, match=message):
        unroll(
            LIF(),
            LIF().init(B, N),
            given.pop("drive"),
            given.pop("reset"),
            backend=backend,
            **given,
        )


each, all_alike = torch.linspace(0.5, 2.0, N), torch.tensor(1.5)
CONSTANTS = {
    "lif": (LIF(), ("tau_mem", "v_threshold", "v_leak", "v_reset", "tau_refractory", "slope")),
    "alif": (
        ALIF(tau_mem=2.0),
        (
            "tau_mem",
            "tau_adapt",
            "beta",
            "v_threshold",
            "v_leak",
            "v_reset",
            "tau_refractory",
            "slope",
        ),
    ),
    "cuba_lif": (CubaLIF(), ("tau_mem", "tau_syn", "v_threshold", "v_leak", "v_reset", "slope")),
    "plif": (PLIF(), ("w", "v_threshold", "v_leak", "v_reset", "slope")),
    "escape_noise": (
        EscapeNoise(),
        ("tau_mem", "v_threshold", "v_leak", "v_reset", "rate_threshold", "delta"),
    ),
    "adex": (
        AdEx(),
        (
            "capacitance",
            "g_leak",
            "v_leak",
            "v_t",
            "delta_t",
            "v_threshold",
            "v_reset",
            "tau_w",
            "a",
            "b",
            "slope",
        ),
    ),
    "izhikevich": (Izhikevich(), ("a", "b", "c", "d", "v_threshold", "slope")),
    "leaky_integrator": (LeakyIntegrator(), ("tau_out",)),
}


def differing():
    for kind, (p, names) in CONSTANTS.items():
        for name in names:
            yield pytest.param(p, name, id=f"{kind}.{name}")


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("scale", [each, all_alike], ids=["[N]", "[]"])
@pytest.mark.parametrize(("p", "name"), list(differing()))
def test_a_constant_that_differs_between_neurons_or_learns_is_what_it_is_in_torch(
    p, name, scale, learned
):
    before = getattr(p, name)
    value = (
        (scale * (before or 1.0) if before != 0.0 else 0.1 * scale).clone().requires_grad_(learned)
    )
    p = type(p)(**{**p._asdict(), name: value})
    unit = p.unit_drive
    expected, after = unroll(p, p.init(B, N), unit * drive(), never(), ticks=K, backend="torch")
    found, final = unroll(p, p.init(B, N), unit * drive(), never(), ticks=K)
    # each neuron on its own, with a number for the constant
    with torch.no_grad():
        for n in range(N):
            one = type(p)(**{**p._asdict(), name: float(value.expand(N)[n])})
            if isinstance(p, EscapeNoise):
                continue  # draws belong to a lane
            alone, _ = unroll(
                one,
                one.init(B, 1),
                unit * drive()[..., n : n + 1],
                never(),
                ticks=K,
                backend="torch",
            )
            assert (alone[..., 0] - expected[..., n]).abs().mean() < 0.1
    assert torch.equal(found, expected) and found.requires_grad == expected.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(leaves(final), leaves(after), strict=True))
    if learned and expected.requires_grad:
        (wanted,) = torch.autograd.grad(expected.sum() + after.v.sum(), value, allow_unused=True)
        (got,) = torch.autograd.grad(found.sum() + final.v.sum(), value, allow_unused=True)
        assert (wanted is None) == (got is None) and (
            wanted is None or torch.allclose(got, wanted, rtol=1e-4, atol=1e-5)
        )


@pytest.mark.parametrize(
    "p",
    [
        ALIF(beta=torch.zeros(N)),
        LIF(v_threshold=each),
        ALIF(tau_refractory=2.0),
        CubaLIF(tau_mem=each),
    ],
    ids=str,
)
def test_a_fused_loop_that_cannot_run_a_constant_says_so_where_it_is_asked_for(p):
    with pytest.raises(
        ValueError, match="has no fused time loop for backend 'numba'; known for it: torch"
    ):
        unroll(p, p.init(B, N), drive(), never(), ticks=K, backend="numba")
    unroll(p, p.init(B, N), drive(), never(), ticks=K)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("steps", "batch"), [(0, B), (T, 0), (0, 0)])
@pytest.mark.parametrize("readout", [None, 0.5])
@pytest.mark.parametrize("kind", NEURONS)
def test_no_steps_or_no_rows_give_no_spikes(kind, readout, steps, batch, backend):
    p = NEURONS[kind]
    for hold in (1, K):
        x = torch.zeros(steps * K // hold, batch, N, requires_grad=True)
        out, state = unroll(
            p,
            p.init(batch, N),
            x,
            never(steps, batch),
            ticks=K,
            hold=hold,
            readout=readout,
            backend=backend,
        )
        assert out.shape == (steps if readout else steps * K, batch, N)
        assert [a.shape for a in leaves(state)] == [a.shape for a in leaves(p.init(batch, N))]
        out.sum().backward()
        assert x.grad is not None and x.grad.shape == x.shape
    spikes, membranes, _ = trace(
        p, p.init(batch, N), x.detach(), never(steps, batch), ticks=K, hold=K
    )
    assert spikes.shape == membranes.shape == (steps * K, batch, N)


# cells

GRID = Grid((3, 3))


@pytest.mark.parametrize(
    "neuron",
    [ALIF(), CubaLIF(), LIF(tau_refractory=2.0), Izhikevich(), LIF(v_threshold=torch.tensor(2.0))],
)
def test_cells_that_are_more_than_membranes_answer_as_in_torch(neuron):
    features = drive(5, 2)
    expected, _ = respond(GRID, neuron, features, gain=5.0, ticks=8, backend="torch")
    found, _ = respond(GRID, neuron, features, gain=5.0, ticks=8)
    assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="more than a membrane"):
        respond(GRID, neuron, features, gain=5.0, ticks=8, backend="numba")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_features_of_another_precision_are_answered_in_torch(dtype):
    grid = Grid((3, 3)).to(dtype)
    rates, _ = respond(grid, LIF(), drive(5, 2).to(dtype), gain=5.0, ticks=8)
    assert rates.shape == (5, 9)
    with pytest.raises(ValueError, match=r"known: torch\.float32 on cpu"):
        respond(grid, LIF(), drive(5, 2).to(dtype), gain=5.0, ticks=8, backend="numba")


@pytest.mark.parametrize(
    "code",
    [
        lambda x: x.double(),
        lambda x: x[:1],
        lambda x: x.T,
        lambda x: x.to(torch.float16),
        lambda x: x.new_zeros(2, 9),
    ],
    ids=["double", "fewer rows", "transposed", "half", "others"],
)
def test_a_code_whose_activities_do_not_fit_the_loop_is_refused(code):
    with pytest.raises(ValueError, match="the code gave activities"):
        respond(code, LIF(), drive(5, 2), gain=5.0, ticks=8, backend="numba")


def test_a_grid_of_another_precision_than_the_features_is_refused():
    with pytest.raises(ValueError, match=r"the grid is of torch\.float64"):
        respond(Grid((3, 3)).double(), LIF(), drive(5, 2), gain=5.0, ticks=8, backend="numba")


@pytest.mark.parametrize("shape", [(0, 2), (3, 0, 2), (0, 3, 2)])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "code", [GRID, Scattered(9, 2, torch.Generator())], ids=["grid", "scattered"]
)
def test_no_features_have_no_answer(code, shape, backend):
    rates, power = respond(code, LIF(), torch.zeros(shape), gain=5.0, ticks=8, backend=backend)
    assert rates.shape == (*shape[:-1], 9) and power.shape == (*shape[:-1], 1)


# td

ROWS, FLAGS = ("reward", "value", "next_value"), ("terminated", "cut", "reset", "valid")


def td(**changed):
    given = {name: drive(B) for name in ROWS} | {
        name: torch.ones(B, dtype=torch.bool) for name in FLAGS
    }
    return given | changed


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [*ROWS, *FLAGS])
def test_a_decision_that_does_not_fit_has_no_error(name, backend):
    for wrong in (td()[name][:2], td()[name][:0], td()[name].unsqueeze(0), td()[name].repeat(2)):
        with pytest.raises(ValueError, match=r"all arguments are \[B\]"):
            td_error(**td(**{name: wrong}), gamma=0.9, lam=0.8, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_decisions_of_several_steps_are_not_taken_for_those_of_one(backend):
    several = {name: x.expand(3, B) for name, x in td().items()}
    with pytest.raises(ValueError, match=r"all arguments are \[B\]"):
        td_error(**several, gamma=0.9, lam=0.8, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_flags_that_are_not_bool_are_refused(name, dtype, backend):
    with pytest.raises(ValueError, match=r"expected torch\.bool"):
        td_error(**td(**{name: torch.ones(B).to(dtype)}), gamma=0.9, lam=0.8, backend=backend)


@pytest.mark.parametrize("name", ROWS)
def test_errors_in_double_precision_are_those_of_torch(name):
    double = td(**{name: drive(B).double()})
    expected = td_error(**double, gamma=0.9, lam=0.8, backend="torch")
    assert torch.equal(td_error(**double, gamma=0.9, lam=0.8).rpe, expected.rpe)
    with pytest.raises(ValueError, match="numba"):
        td_error(**double, gamma=0.9, lam=0.8, backend="numba")


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_decisions_have_no_error(backend):
    found = td_error(
        **{name: x[:0] for name, x in td().items()}, gamma=0.9, lam=0.8, backend=backend
    )
    assert found.rpe.shape == found.decay.shape == (0,) and found.valid == found.ended == 0


def test_flags_and_values_that_are_not_contiguous_mean_the_same():
    strided = {
        name: torch.stack((x, ~x if x.dtype == torch.bool else -x), -1)[..., 0]
        for name, x in td().items()
    }
    found, expected = (td_error(**x, gamma=0.9, lam=0.8, backend="numba") for x in (strided, td()))
    assert (
        torch.equal(found.rpe, expected.rpe)
        and torch.equal(found.decay, expected.decay)
        and found[2:] == expected[2:]
    )


# plastic


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weights", [(3, 5), (1, 3, 5)])
def test_no_rows_change_no_weight(weights, backend):
    w = drive(*weights)
    before = w.clone()
    x, none = torch.zeros(0, 5), torch.zeros(0)
    for modulator in (none, torch.zeros(0, 3)):
        y = plastic_step(
            w,
            torch.zeros(0, 3, 5),
            x,
            torch.zeros(0, 3),
            modulator,
            x,
            lr=0.1,
            decay=none,
            backend=backend,
        )
        assert y.shape == (0, 3) and torch.equal(w, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_synapses_that_share_memory_are_refused(backend):
    both = drive(B, 3, 5)
    x, signal, m = drive(B, 5), drive(B, 3), drive(B)
    with pytest.raises(ValueError, match="share memory"):
        plastic_step(both, both, x, signal, m, x, lr=0.1, decay=0.9, backend=backend)


def test_synapses_in_double_precision_change_in_torch():
    w, e, x, signal, m = (drive(*s).double() for s in ((3, 5), (B, 3, 5), (B, 5), (B, 3), (B,)))
    found, expected = (
        plastic_step(w.clone(), e.clone(), x, signal, m, x, lr=0.1, decay=0.9, backend=b)
        for b in (None, "torch")
    )
    assert torch.equal(found, expected) and found.dtype == torch.float64


# e-prop

PRE, POST = 5, 3


def traces(p, **changed):
    state = p.init(B, POST, PRE)
    given = {
        "s": state,
        "pre": drive(K, B, PRE),
        "psi": drive(K, B, POST),
        "signal": drive(B, POST),
        "keep": torch.ones(B),
        "before": drive(B),
        "after": drive(B),
        "pull": drive(B, POST),
        "grad": torch.zeros(POST, PRE),
    }
    given |= {name: x for name, x in changed.items() if name in given}
    given["s"] = given["s"]._replace(
        **{name: x for name, x in changed.items() if name in state._fields}
    )
    return given


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "name",
    [
        "pre",
        "psi",
        "signal",
        "keep",
        "before",
        "after",
        "pull",
        "grad",
        "eps_v",
        "e_bar",
        "f",
        "eps_a",
    ],
)
def test_traces_that_do_not_fit_are_refused(name, backend):
    p = EProp(beta=0.3)
    right = traces(p)
    x = right[name] if name in right else getattr(right["s"], name)
    for wrong in (
        x[:1].clone(),
        x[..., :1].clone(),
        x[..., :0].clone(),
        x.unsqueeze(0),
        torch.cat((x, x)),
    ):
        with pytest.raises(ValueError, match=r"shape|eps_a"):
            eprop_decision(p, **traces(p, **{name: wrong}), dt=1.0, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_traces_without_an_adaptation_are_refused_for_neurons_that_adapt(backend):
    with pytest.raises(ValueError, match="has no eps_a"):
        eprop_decision(
            EProp(beta=0.3), **traces(EProp(beta=0.3), eps_a=()), dt=1.0, backend=backend
        )


@pytest.mark.parametrize(
    "beta",
    [torch.zeros(2), torch.zeros(POST + 1), torch.zeros(B, POST)],
    ids=lambda x: str(x.shape),
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_adaptations_of_other_neurons_are_refused(beta, backend):
    with pytest.raises(ValueError, match="beta has shape"):
        eprop_decision(EProp(beta=beta), **traces(EProp(beta=beta)), dt=1.0, backend=backend)


@pytest.mark.parametrize("beta", [0.0, 0.3, torch.linspace(0.0, 1.0, POST)], ids=str)
def test_traces_in_double_precision_and_strided_ones_are_those_of_torch(beta):
    p = EProp(beta=beta)
    for change in (lambda x: x.double(), lambda x: torch.stack((x, -x), -1)[..., 0]):
        given = {name: change(x) for name, x in traces(p).items() if name != "s"}
        given["s"] = type(traces(p)["s"])(
            *(change(x) if isinstance(x, torch.Tensor) else x for x in traces(p)["s"])
        )
        found, expected = (
            (
                eprop_decision(
                    p, **{**given, "grad": (grad := given["grad"].clone())}, dt=1.0, backend=b
                ),
                grad,
            )
            for b in (None, "torch")
        )
        for state, _ in (found, expected):
            if isinstance(beta, torch.Tensor):
                state.eps_a[:, beta == 0] = (
                    0.0  # what nobody reads of neurons that do not adapt, a loop need not keep
                )
        for a, b in zip(leaves(found), leaves(expected), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_traces_of_mixed_precision_are_refused_by_the_loop():
    with pytest.raises(ValueError, match="numba"):
        eprop_decision(
            EProp(), **traces(EProp(), psi=drive(K, B, POST).double()), dt=1.0, backend="numba"
        )


# lsnn


def ticks(p, **changed):
    s = p.init(B, N)
    given = {
        "z": torch.zeros(B, N),
        "x": torch.zeros(B, N),
        "current": drive(B, N),
        "inside": 0.1 * drive(N, N),
    }
    given |= {name: x for name, x in changed.items() if name in given}
    return {
        "s": s._replace(**{name: x for name, x in changed.items() if name in s._fields}),
        **given,
    }


SETTINGS = {"jump": 2.0, "keep": 0.9, "ticks": K, "dt": 1.0}
REFRACTORY = ALIF(tau_mem=3.0, tau_adapt=10.0, beta=0.3, tau_refractory=2.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["z", "x", "inside", "v", "a", "refractory"])
def test_ticks_that_do_not_fit_are_refused(name, backend):
    right = ticks(REFRACTORY)
    x = right[name] if name in right else getattr(right["s"], name)
    for wrong in (
        x[:1].clone(),
        x[:, :1].clone(),
        x[:0].clone(),
        x.unsqueeze(0),
        torch.cat((x, x)),
        x.flatten(),
    ):
        with pytest.raises(ValueError, match=f"{name} has shape"):
            decision(REFRACTORY, **ticks(REFRACTORY, **{name: wrong}), **SETTINGS, backend=backend)


@pytest.mark.parametrize(
    "beta", [torch.zeros(2), torch.zeros(B, N), torch.zeros(1)], ids=lambda x: str(x.shape)
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_thresholds_of_other_neurons_are_refused(beta, backend):
    p = REFRACTORY._replace(beta=beta)
    with pytest.raises(ValueError, match="beta has shape"):
        decision(p, **ticks(p), **SETTINGS, backend=backend)


@pytest.mark.parametrize(
    "changed",
    [{"v_reset": 0.0}, {"tau_refractory": 0.0}, {"v_threshold": each}, {"tau_adapt": each * 10}],
)
def test_ticks_of_neurons_that_the_loop_does_not_know_are_those_of_torch(changed):
    p = REFRACTORY._replace(**changed)
    with torch.no_grad():
        found, expected = (
            decision(p, **ticks(p), **SETTINGS, backend=backend) for backend in (None, "torch")
        )
    assert torch.equal(found.spikes, expected.spikes) and torch.equal(found.x, expected.x)
    with pytest.raises(ValueError, match="backend 'numba' does not run these ticks"):
        decision(p, **ticks(p), **SETTINGS, backend="numba")


@pytest.mark.parametrize("name", ["z", "x", "current", "inside", "v", "a", "beta"])
def test_a_gradient_that_is_wanted_is_not_lost_in_the_loop(name):
    p, right = REFRACTORY, ticks(REFRACTORY)
    if name == "beta":
        wanted = torch.full((N,), 0.3, requires_grad=True)
        p = p._replace(beta=wanted)
    else:
        wanted = (
            (right[name] if name in right else getattr(right["s"], name)).clone().requires_grad_()
        )
    out = decision(p, **ticks(p, **{name: wanted}), **SETTINGS)
    assert out.membranes.requires_grad or out.x.requires_grad


@pytest.mark.parametrize(
    "change",
    [torch.Tensor.double, lambda x: torch.stack((x, -x), -1)[..., 0]],
    ids=["double", "strided"],
)
def test_ticks_in_double_precision_and_strided_ones_are_those_of_torch(change):
    given = ticks(REFRACTORY)
    given = {name: change(x) for name, x in given.items() if name != "s"} | {
        "s": type(given["s"])(*map(change, given["s"]))
    }
    with torch.no_grad():
        found, expected = (
            decision(REFRACTORY, **given, **SETTINGS, backend=backend)
            for backend in (None, "torch")
        )
    assert torch.equal(found.spikes, expected.spikes) and found.x.dtype == expected.x.dtype


# perceptron


def layers(groups):
    shape = (groups,) if groups else ()
    return [drive(*shape, 7, 5), drive(*shape, 2, 7)], [drive(*shape, 7), drive(*shape, 2)]


@pytest.mark.parametrize("shape", [(3, 4, 5), (5,), (3, 5)], ids=str)
def test_rows_that_are_not_a_block_for_each_group_are_refused(shape):
    with pytest.raises(ValueError, match=r"x has shape .*expected"):
        perceptron(drive(*shape), *layers(2), "tanh")


@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize(
    ("shape", "groups"), [((0, 5), 0), ((3, 0, 5), 0), ((0, 3, 5), 0), ((0, 5), 2), ((1, 0, 5), 2)]
)
def test_no_rows_go_through_all_layers(shape, groups, learning):
    weights, biases = layers(groups)
    with torch.set_grad_enabled(learning):
        out = perceptron(torch.zeros(shape), [w.requires_grad_() for w in weights], biases, "relu")
    assert out.shape == (*shape[:-1], 2)
    if learning:
        out.sum().backward()
        assert all(w.grad is not None and not w.grad.any() for w in weights)


def test_rows_that_are_not_contiguous_go_through_each_group():
    x = drive(5, 4).T
    assert torch.equal(
        perceptron(x, *layers(2), "tanh"), perceptron(x.contiguous(), *layers(2), "tanh")
    )


# a place for what is compiled

NO_PLACE = """
import os
os.environ.pop("NUMBA_CACHE_DIR", None)
from numba.core import caching
def refuse(self):
    raise OSError("read-only")
for name in dir(caching):
    kind = getattr(caching, name)
    if isinstance(kind, type) and hasattr(kind, "ensure_cache_path"):
        kind.ensure_cache_path = refuse
"""
FULL = """
import errno
from numba.core import caching
def full(self, *arguments):
    raise OSError(errno.ENOSPC, "No space left on device")
caching.IndexDataCacheFile.save = full
caching.IndexDataCacheFile.load = full
"""
TD_ERROR = """
import torch
from bio_rl.kernels.td import td_error
x, flag = torch.ones(3), torch.ones(3, dtype=torch.bool)
assert td_error(x, x, x, flag, flag, flag, flag, gamma=0.9, lam=0.8).valid == 3
"""
DOCTOR = """
from bio_rl import doctor
doctor.rendering = lambda: []
raise SystemExit(doctor.main())
"""


def run(code):
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300
    )


@pytest.mark.parametrize("fault", [NO_PLACE, FULL], ids=["no writable folder", "full disk"])
def test_without_a_place_for_compiled_loops_they_run_from_memory_and_it_is_said_once(fault):
    found = run(fault + TD_ERROR)
    assert found.returncode == 0, found.stderr
    assert found.stderr.count("set NUMBA_CACHE_DIR") == 1


def test_the_doctor_says_that_there_is_no_place_for_compiled_loops_and_what_to_do():
    found = run(NO_PLACE + DOCTOR)
    (row,) = [line for line in found.stdout.splitlines() if "kernels: cache" in line]
    assert "missing" in row and found.returncode == 0 and "ready to train" in found.stdout
    assert "NUMBA_CACHE_DIR" in found.stdout


def test_the_doctor_does_not_call_it_ready_where_the_loops_that_training_takes_do_not_run():
    broken = "from bio_rl.kernels import unroll\nunroll.form = lambda *a: 1 / 0\n"
    found = run(broken + DOCTOR)
    assert (
        found.returncode == 1 and "cannot train before this works: kernels: numba" in found.stdout
    )
