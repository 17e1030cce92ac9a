"""Fused time loops against the readable reference, gradients included."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from bio_rl.kernels.backends import BACKENDS
from bio_rl.kernels.unroll import leaky_average, trace, unroll
from bio_rl.neurons.adex import AdEx
from bio_rl.neurons.alif import ALIF
from bio_rl.neurons.cuba_lif import CubaLIF
from bio_rl.neurons.izhikevich import Izhikevich
from bio_rl.neurons.lif import LIF
from bio_rl.neurons.plif import PLIF
from bio_rl.state import leaves, tree_map
from bio_rl.surrogates import SURROGATES

KINDS = {
    "lif": LIF(tau_mem=3.0),
    "refractory": LIF(tau_mem=3.0, tau_refractory=2.0),
    "cuba_lif": CubaLIF(),
    "alif": ALIF(tau_mem=3.0, tau_adapt=10.0, beta=0.3),
    "plif": PLIF(),
    "plif_each": PLIF(),
}
K = 4
"""Ticks per decision."""
RESETS = [0.0, None]
READOUTS = [None, 0.6, 1.0]


def build(kind: str, n: int, surrogate: str = "atan", v_reset: float | None = 0.0):
    p = KINDS[kind]._replace(surrogate=surrogate, v_reset=v_reset, v_leak=0.1, slope=1.7)
    if kind == "plif":
        return p._replace(w=torch.tensor(0.5))
    return p._replace(w=torch.linspace(-1.5, 1.5, n)) if kind == "plif_each" else p


def results(
    p, drive: Tensor, state, reset: Tensor, weights: Tensor, on_state: Tensor, **settings
) -> dict[str, Tensor]:
    """What a call returns, and the gradients of a random scalar of it."""
    drive = drive.clone().requires_grad_()
    state = tree_map(lambda x: x.clone().requires_grad_(), state)
    if isinstance(p, PLIF):
        p = p._replace(w=p.w.clone().requires_grad_())
    out, after = unroll(p, state, drive, reset, ticks=K, **settings)
    loss = (out * weights).sum()
    for field in ("v", "i", "a"):
        if hasattr(after, field):
            loss = loss + (getattr(after, field) * on_state).sum()
    loss.backward()
    found = {"out": out.detach(), "d drive": drive.grad}
    for field, x in after._asdict().items():
        if isinstance(x, Tensor):
            found[field] = x.detach()
            if field != "refractory":
                found[f"d {field}"] = getattr(state, field).grad
    return found | ({"d w": p.w.grad} if isinstance(p, PLIF) else {})


def case(p, batch: int, n: int, hold: int, readout: float | None, decisions: int = 4):
    """Drive, state, resets and the weights of the scalar, at random."""
    torch.manual_seed(0)
    drive = 2.0 * torch.randn(decisions * K // hold, batch, n)
    state = tree_map(lambda x: 0.5 * torch.rand_like(x), p.init(batch, n))
    if getattr(state, "refractory", ()) != ():
        state = state._replace(
            refractory=(4 * torch.rand(batch, n)).floor()
        )  # some are held as it starts
    weights = torch.randn(decisions * K if readout is None else decisions, batch, n)
    return drive, state, torch.rand(decisions, batch) < 0.3, weights, torch.randn(batch, n)


def assert_agree(
    ours: dict[str, Tensor], reference: dict[str, Tensor], exact: bool, w: Tensor | None = None
) -> None:
    """Spikes equal, all else within 1e-5 of the largest value; a scalar PLIF's dw, a long sum,
    within 1e-4 of a double's.
    """
    assert ours.keys() == reference.keys()
    for name, expected in reference.items():
        assert expected.abs().sum() > 0, f"{name}: an empty case"
        if name == "out" and exact:
            assert torch.equal(ours[name], expected)
        elif name == "d w" and w is not None:
            assert ours[name].item() == pytest.approx(w.item(), rel=1e-4)
        else:
            error = (ours[name] - expected).abs().max() / expected.abs().max()
            assert error <= 1e-5, f"{name}: relative error {error:.1e}"


def check(
    kind: str,
    surrogate: str,
    v_reset: float | None,
    hold: int,
    readout: float | None,
    batch: int,
    n: int,
) -> None:
    p = build(kind, n, surrogate, v_reset)
    given = case(p, batch, n, hold, readout)
    settings = {"hold": hold, "readout": readout}
    reference = results(p, *given, **settings, backend="torch")
    w = None
    if kind == "plif":
        double = tree_map(lambda x: x.double() if x.is_floating_point() else x, given)
        exact = results(p._replace(w=p.w.double()), *double, **settings, backend="torch")
        w = (
            exact["d w"]
            if torch.equal(exact["out"].float(), reference["out"])
            else reference["d w"]
        )
    assert_agree(results(p, *given, **settings, backend="numba"), reference, readout is None, w)


@pytest.mark.parametrize(
    ("kind", "surrogate", "v_reset"), list(itertools.product(KINDS, SURROGATES, RESETS))
)
def test_numba_agrees_with_the_reference(kind, surrogate, v_reset):
    pytest.importorskip("numba")
    for hold, readout in itertools.product((1, K), READOUTS):
        check(kind, surrogate, v_reset, hold, readout, batch=9, n=7)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_numba_agrees_over_several_blocks_and_threads(kind, threads, monkeypatch):
    pytest.importorskip("numba")
    from bio_rl.kernels.numba import loops
    from bio_rl.kernels.numba import threads as workers

    # neuron-ticks that are worth a thread: these are few
    monkeypatch.setattr(workers, "WORTH", 1 << 16)
    shares = []
    pool = workers.pool
    monkeypatch.setattr(workers, "pool", lambda count: shares.append(count) or pool(count))
    batch, n = 150, 60
    assert batch * n > 2 * loops.BLOCK  # three blocks, the last one short
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        check(kind, "atan", 0.0, 1, None, batch, n)
        check(kind, "sigmoid", None, K, 0.6, batch, n)
    finally:
        torch.set_num_threads(before)
    assert set(shares) == ({2} if threads == 2 else set())


@pytest.mark.parametrize(("batch", "n"), [(1, 1), (2, 1), (3, 5000)])
def test_numba_agrees_for_a_lone_neuron_and_for_a_layer_wider_than_a_block(batch, n):
    pytest.importorskip("numba")
    p = build("lif", n)
    given = case(p, batch, n, 1, None)
    given = (
        given[0],
        given[1],
        given[2] & (torch.arange(4) > 2).unsqueeze(1),
        *given[3:],
    )  # a gradient is left for v at the start
    assert_agree(
        results(p, *given, backend="numba"), results(p, *given, backend="torch"), exact=True
    )


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_no_surrogate_hides_a_zero_gradient(backend, surrogate):
    if backend != "torch":
        pytest.importorskip(backend)
    # one silent tick of half a threshold below it, and one spike: both must move the drive
    drive = torch.tensor([0.9, 1.15]).view(1, 1, 2).requires_grad_()
    p = LIF(tau_mem=1e-3, surrogate=surrogate, slope=1.0)
    z, _ = unroll(
        p, p.init(1, 2), drive, torch.zeros(1, 1, dtype=torch.bool), ticks=1, backend=backend
    )
    z.sum().backward()
    expected = SURROGATES[surrogate](drive.detach() - 1.0, 1.0)
    assert z.flatten().tolist() == [0, 1] and (drive.grad > 0).all()
    torch.testing.assert_close(drive.grad, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_cuts_the_gradient_to_the_past(kind, backend):
    if backend != "torch":
        pytest.importorskip(backend)
    torch.manual_seed(0)
    p, drive = build(kind, 3), torch.randn(8, 2, 3).mul(2).requires_grad_()
    reset = torch.tensor(
        [[False, False], [True, False]]
    )  # row 0 starts an episode at the second decision
    start = tree_map(lambda x: x.requires_grad_(), p.init(2, 3))
    z, s = unroll(p, start, drive, reset, ticks=K, backend=backend)
    (z[K:].sum() + sum(getattr(s, f).sum() for f in ("v", "i", "a") if hasattr(s, f))).backward()
    assert (drive.grad[:K, 0] == 0).all() and (start.v.grad[0] == 0).all()
    assert drive.grad[K:, 0].abs().sum() > 0 and drive.grad[:K, 1].abs().sum() > 0


def test_the_default_backend_runs_every_neuron_in_the_way_it_can():
    # no core, no fused loop: torch, and asking for another is refused
    for p in (AdEx(), Izhikevich()):
        drive, reset = torch.zeros(4, 2, 3), torch.zeros(1, 2, dtype=torch.bool)
        out, _ = unroll(p, p.init(2, 3), drive, reset, ticks=4)
        assert out.shape == (4, 2, 3)
        with pytest.raises(
            ValueError,
            match=f"{type(p).__name__} has no fused time loop for backend 'numba'; "
            "known for it: torch",
        ):
            unroll(p, p.init(2, 3), drive, reset, ticks=4, backend="numba")


def test_wrong_shapes_and_backends_are_refused():
    p, none = LIF(), torch.zeros(1, 2, dtype=torch.bool)
    with pytest.raises(
        ValueError, match=r"drive has shape \(5, 2, 3\) held for 1, expected .* with T=1, K=4, B=2"
    ):
        unroll(p, p.init(2, 3), torch.zeros(5, 2, 3), none, ticks=4)
    with pytest.raises(ValueError, match="drive has shape"):
        unroll(p, p.init(2, 3), torch.zeros(4, 2, 3), none, ticks=4, hold=4)
    with pytest.raises(ValueError, match="drive has shape"):
        unroll(p, p.init(3, 3), torch.zeros(4, 3, 3), none, ticks=4)
    with pytest.raises(
        ValueError, match=r"state.v has shape \(2, 4\), expected \[B, N\] = \(2, 3\)"
    ):
        unroll(p, p.init(2, 4), torch.zeros(4, 2, 3), none, ticks=4)
    with pytest.raises(
        ValueError, match=f"no kernel backend called 'cuda-magic'; known: {', '.join(BACKENDS)}"
    ):
        unroll(p, p.init(2, 3), torch.zeros(4, 2, 3), none, ticks=4, backend="cuda-magic")


def test_a_held_drive_is_the_same_drive_at_every_tick():
    torch.manual_seed(0)
    p, drive, none = ALIF(tau_mem=3.0), 3 * torch.rand(2, 2, 3), torch.zeros(2, 2, dtype=torch.bool)
    held, s = unroll(p, p.init(2, 3), drive, none, ticks=K, hold=K, backend="torch")
    each, s2 = unroll(
        p, p.init(2, 3), drive.repeat_interleave(K, 0), none, ticks=K, backend="torch"
    )
    z, v, s3 = trace(p, p.init(2, 3), drive, none, ticks=K, hold=K)
    assert (
        torch.equal(held, each)
        and torch.equal(held, z)
        and torch.equal(v[-1], s3.v)
        and held.sum() > 0
    )
    assert all(
        torch.equal(a, b) and torch.equal(a, c)
        for a, b, c in zip(leaves(s), leaves(s2), leaves(s3), strict=True)
    )


def test_the_readout_is_a_leaky_average_that_tells_late_spikes_from_early_ones():
    # κ ½, K 4: weights ⅛ ¼ ½ 1 over 1.875
    early, late = torch.zeros(4, 1, 1), torch.zeros(4, 1, 1)
    early[0], late[3] = 1.0, 1.0
    assert leaky_average(early, 4, 0.5).item() == pytest.approx(0.125 / 1.875)
    assert leaky_average(late, 4, 0.5).item() == pytest.approx(1 / 1.875)
    assert (
        leaky_average(early, 4, 1.0).item() == leaky_average(late, 4, 1.0).item() == 0.25
    )  # the firing rate
    assert leaky_average(torch.ones(8, 2, 3), 4, 0.6).tolist() == torch.ones(2, 2, 3).tolist()


@pytest.mark.parametrize("kind", ["lif", "cuba_lif"])
def test_the_number_of_decisions_is_a_run_time_argument(kind):
    pytest.importorskip("numba")
    from bio_rl.kernels.numba import loops

    p = build(kind, 3)

    def signatures_after(decisions: int, batch: int) -> tuple[int, int]:
        results(p, *case(p, batch, 3, 1, None, decisions), backend="numba")
        return len(loops.forward.signatures), len(loops.backward.signatures)

    first = signatures_after(2, 5)
    assert (
        signatures_after(7, 5) == first
        and signatures_after(3, 11) == first
        and signatures_after(1, 1) == first
    )


def test_what_is_kept_for_the_way_back_is_one_float_a_tick_and_no_spikes():
    pytest.importorskip("numba")
    p = LIF(tau_mem=3.0)
    decisions, batch, n = 6, 5, 7
    drive, state, reset, *_ = case(p, batch, n, 1, None, decisions)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        unroll(p, state, drive.requires_grad_(), reset, ticks=K, backend="numba")
    floats = [x for x in kept if x.dtype.is_floating_point]
    assert sum(x.numel() for x in floats) == decisions * K * batch * n and all(
        x.dtype == torch.float32 for x in floats
    )
    assert [x.dtype for x in kept if not x.dtype.is_floating_point] == [torch.bool]  # the resets
    kept.clear()
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x),
        torch.no_grad(),
    ):
        unroll(p, state, drive, reset, ticks=K, backend="numba")
    assert kept == []


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_a_learned_decay_beside_other_state_is_refused_not_wrong(backend):
    class Odd(ALIF):
        def core(self, dt):
            return super().core(dt)._replace(decay=torch.tensor(0.5))

    with pytest.raises(ValueError, match="learned of a membrane alone"):
        unroll(
            Odd(),
            Odd().init(1, 1),
            torch.zeros(1, 1, 1),
            torch.zeros(1, 1, dtype=torch.bool),
            ticks=1,
            backend=backend,
        )
