"""e-prop's traces over the K ticks of a decision, and the gradient that dopamine makes of them, in
one pass over the synapses.

The learning signal comes at the last tick. With q_k = ρ - ψ_k β the traces of `plasticity.eprop`
are linear in what they were and in the ε_k of the ticks, with coefficients that belong to neurons,
so that most of the work is two matrix products:

    ε^a_K = c_0 ε^a_0 + Σ_k c_k ψ_k ε_k                                      c_K = 1,
        c_{k-1} = q_k c_k
    ē_K = κ^K ē_0 + u_0 ε^a_0 + Σ_k (u_k + (1 - κ) κ^{K-k}) ψ_k ε_k          u_K = 0,
        u_{k-1} = q_k u_k - (1 - κ) κ^{K-k} ψ_k β
    f_K = γ^K f_0 + L ē_K
        grad += Σ_b δ_b f_0 + δ'_b f_K + p ē_K

Equal to K calls of the rule's `trace`, and sums over the rows of its `delta`, up to rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bio_rl.kernels.backends import form, pick
from bio_rl.plasticity import decay
from bio_rl.plasticity.eprop import EProp, EPropState


class Coefficients(NamedTuple):
    """The numbers of neurons and rows by which the traces after a decision follow from those
    before it.
    """

    of_a: Tensor
    """[K, B, post] c_k ψ_k: the part of each tick's ε in ε^a."""
    of_e: Tensor
    """[K, B, post] (u_k + (1 - κ) κ^{K-k}) ψ_k: its part in ē."""
    keep_a: Tensor
    """[B, post] c_0: the part of ε^a that is left."""
    cross: Tensor
    """[B, post] u_0: its part in ē."""
    keep_e: Tensor
    """[B] κ^K: the part of ē that is left."""
    keep_f: Tensor
    """[B] γ^K: the part of f that is left."""


class Sizes(NamedTuple):
    """The sizes of a call."""

    ticks: int
    batch: int
    post: int
    pre: int


class Gates(NamedTuple):
    """The factors of the traces in the gradient."""

    before: Tensor
    """[B] δ of f as it was."""
    after: Tensor
    """[B] δ' of f as it is."""
    pull: Tensor
    """[B, post] p of ē."""


@torch.no_grad()
def eprop_decision(
    p: EProp,
    s: EPropState,
    pre: Tensor,
    psi: Tensor,
    signal: Tensor,
    keep: Tensor,
    before: Tensor,
    after: Tensor,
    pull: Tensor,
    grad: Tensor,
    dt: float,
    *,
    out: EPropState | None = None,
    backend: str | None = None,
) -> EPropState:
    """The state after K ticks of dt ms, in the memory of `out` if it is given; s is left as it is.

    pre [K, B, pre], psi [K, B, post]; signal L [B, post], that of the last tick; keep [B]: 0 for
    rows that start afresh. grad [post, pre] is changed in place: before δ [B] gates f as it was,
    after δ' [B] as it is, pull p [B, post] ē. backend: torch (the reference) or numba; None takes
    numba where it runs (`backends.pick`). Raises ValueError for shapes that do not fit, and for
    what a backend does not run.
    """
    gates = Gates(before, after, pull)
    n = _check_ticks(pre, psi)
    tensors = [pre, *_check(p, n, psi, signal, keep, gates, grad)]
    for name, state in (("state", s), ("out", out)):
        if state is not None:
            tensors += _check_state(p, n, name, state)
    chosen = _chosen(tensors, signal, backend)
    # ε belongs to the presynaptic neurons alone, and takes no part in the pass over synapses.
    left = keep.unsqueeze(-1) * s.eps_v
    alpha = float(decay(p.tau_mem, dt))  # the time constants of e-prop are numbers
    eps_v, eps = _low_passed(alpha, left, pre)
    coefficients = _coefficients(p, psi, keep, dt)
    new = _memory(s) if out is None else out
    run = reference if chosen == "torch" else form("eprop", chosen).run
    run(p, s, new, eps, coefficients, signal, gates, grad)
    return new._replace(eps_v=eps_v)


def reference(
    p: EProp,
    s: EPropState,
    new: EPropState,
    eps: Tensor,
    c: Coefficients,
    signal: Tensor,
    gates: Gates,
    grad: Tensor,
) -> None:
    """The equations, an operation at a time: the traces of `new` are written, and grad is added to.

    eps [B, K, pre]: ε of every tick.
    """
    # Numbers of rows [B] and of neurons [B, post] are spread over synapses [B, post, pre].
    torch.mul(s.e_bar, _over_synapses(c.keep_e), out=new.e_bar)
    if isinstance(s.eps_a, Tensor) and isinstance(new.eps_a, Tensor) and p.adapts:
        new.e_bar.addcmul_(c.cross.unsqueeze(-1), s.eps_a)
        torch.mul(s.eps_a, c.keep_a.unsqueeze(-1), out=new.eps_a)
        # [K, B, post] as [B, post, K], times [B, K, pre]: the sum over the ticks
        new.eps_a.baddbmm_(c.of_a.permute(1, 2, 0), eps)
    new.e_bar.baddbmm_(c.of_e.permute(1, 2, 0), eps)
    torch.mul(s.f, _over_synapses(c.keep_f), out=new.f)
    new.f.addcmul_(signal.unsqueeze(-1), new.e_bar)
    _add_gradient(s.f, new, gates, grad)


def _over_synapses(x: Tensor) -> Tensor:
    """x [B] as [B, 1, 1]."""
    return x.view(-1, 1, 1)


def _add_gradient(f_before: Tensor, new: EPropState, gates: Gates, grad: Tensor) -> None:
    """Add the gated traces, summed over the rows, to grad [post, pre]."""
    # The sum of the first two comes first, as in one operation on both.
    of_before = torch.einsum("b,bji->ji", gates.before, f_before)
    of_after = torch.einsum("b,bji->ji", gates.after, new.f)
    grad += of_before + of_after
    grad += torch.einsum("bj,bji->ji", gates.pull, new.e_bar)


def _chosen(tensors: list[Tensor], signal: Tensor, backend: str | None) -> str:
    """The backend that runs. Raises ValueError for one that is asked for and does not run this."""
    # The choice looks at one tensor, but a loop reads them all.
    alike = all([x.dtype is torch.float32 and x.is_cpu for x in tensors])
    if backend is None and not alike:
        return "torch"
    chosen = pick("eprop", signal, backend)
    if chosen == "numba" and not alike:
        kinds = sorted({f"{x.dtype} on {x.device}" for x in tensors})
        met = ", ".join(kinds)
        known = "torch.float32 on cpu"
        raise ValueError(f"backend 'numba' got traces of {met}; known: {known}")
    return chosen


def _memory(s: EPropState) -> EPropState:
    """A state for the traces to be written into."""
    # Rows of neurons that do not adapt are not written, and stay zero.
    eps_a = ()
    if isinstance(s.eps_a, Tensor):
        eps_a = torch.zeros_like(s.eps_a)
    return EPropState(
        eps_v=s.eps_v,
        e_bar=torch.empty_like(s.e_bar),
        f=torch.empty_like(s.f),
        eps_a=eps_a,
    )


def _low_passed(alpha: float, eps_v: Tensor, pre: Tensor) -> tuple[Tensor, Tensor]:
    """(ε after the last tick [B, pre], ε of every tick [B, K, pre])."""
    eps = []
    for x in (1.0 - alpha) * pre:  # one tick [B, pre] after the other
        eps_v = torch.add(x, eps_v, alpha=alpha)
        eps.append(eps_v)
    return eps_v, torch.stack(eps, 1)


def _coefficients(p: EProp, psi: Tensor, keep: Tensor, dt: float) -> Coefficients:
    """The coefficients of a decision with pseudo-derivatives psi [K, B, post]."""
    ticks = len(psi)
    kappa = decay(p.tau_out, dt)
    gamma = decay(p.tau_gamma, dt)
    following = torch.arange(ticks - 1, -1, -1, device=psi.device, dtype=psi.dtype)
    # (1 - κ) κ^{K-k} of each tick, [K, 1, 1]
    weight = _over_synapses((1.0 - kappa) * kappa**following)
    if p.adapts:
        cs, us, c, u = _backwards(p, psi, weight, dt)
        of_a = cs * psi
        of_e = (us + weight) * psi
    else:
        c, u = _last(psi)
        of_a = torch.zeros_like(psi)
        of_e = weight * psi
    left = keep.unsqueeze(-1)
    return Coefficients(
        of_a=of_a,
        of_e=of_e,
        keep_a=left * c,
        cross=left * u,
        keep_e=kappa**ticks * keep,
        keep_f=gamma**ticks * keep,
    )


def _last(psi: Tensor) -> tuple[Tensor, Tensor]:
    """(c_K = 1, u_K = 0), both [B, post]: the coefficients after the last tick."""
    c = torch.ones_like(psi[0])
    u = torch.zeros_like(psi[0])
    return c, u


def _backwards(
    p: EProp, psi: Tensor, weight: Tensor, dt: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(c_k and u_k of every tick [K, B, post], c_0 and u_0 [B, post])."""
    faded = p.beta * psi
    q = decay(p.tau_adapt, dt) - faded
    drop = weight * faded
    c, u = _last(psi)
    # from the last tick to the first
    cs = []
    us = []
    for k in range(len(psi) - 1, -1, -1):
        cs.append(c)
        us.append(u)
        c = q[k] * c
        u = torch.addcmul(-drop[k], q[k], u)
    cs.reverse()
    us.reverse()
    return torch.stack(cs), torch.stack(us), c, u


# ---------------------------------- checks


def _check_ticks(pre: Tensor, psi: Tensor) -> Sizes:
    """The sizes of a call. Raises ValueError for inputs that are not those of ticks."""
    if pre.dim() != 3 or psi.dim() != 3 or not len(psi):
        met = tuple(pre.shape)
        of_psi = tuple(psi.shape)
        raise ValueError(
            f"pre has shape {met} and psi {of_psi}, "
            "expected [K, B, pre] and [K, B, post] with K >= 1 ticks"
        )
    ticks, batch, n_pre = pre.shape
    n_post = psi.shape[2]
    return Sizes(ticks, batch, n_post, n_pre)


def _check(
    p: EProp,
    n: Sizes,
    psi: Tensor,
    signal: Tensor,
    keep: Tensor,
    gates: Gates,
    grad: Tensor,
) -> list[Tensor]:
    """The tensors of a call beside its states. Raises ValueError for shapes that do not fit."""
    neurons = (n.batch, n.post)
    expected = [
        ("psi", psi, (n.ticks, *neurons)),
        ("signal", signal, neurons),
        ("pull", gates.pull, neurons),
        ("keep", keep, (n.batch,)),
        ("before", gates.before, (n.batch,)),
        ("after", gates.after, (n.batch,)),
        ("grad", grad, (n.post, n.pre)),
    ]
    if isinstance(p.beta, Tensor):
        expected.append(("beta", p.beta, (n.post,) if p.beta.dim() else ()))
    return _checked(n, expected)


def _check_state(p: EProp, n: Sizes, name: str, state: EPropState) -> list[Tensor]:
    """The tensors of a state. Raises ValueError for shapes that do not fit, and where neurons adapt
    and it has no trace of that.
    """
    synapses = (n.batch, n.post, n.pre)
    expected = [
        (f"{name}.eps_v", state.eps_v, (n.batch, n.pre)),
        (f"{name}.e_bar", state.e_bar, synapses),
        (f"{name}.f", state.f, synapses),
    ]
    if isinstance(state.eps_a, Tensor):
        expected.append((f"{name}.eps_a", state.eps_a, synapses))
    elif p.adapts:
        raise ValueError(f"{name} has no eps_a, but the neurons adapt; begin with p.init")
    return _checked(n, expected)


def _checked(n: Sizes, expected: list[tuple[str, Tensor, tuple[int, ...]]]) -> list[Tensor]:
    """The tensors of (name, tensor, shape). Raises ValueError for one of another shape."""
    for name, tensor, shape in expected:
        if tensor.shape != shape:
            met = tuple(tensor.shape)
            pre = (n.ticks, n.batch, n.pre)
            raise ValueError(f"{name} has shape {met}, expected {shape}: pre is {pre}")
    return [tensor for _, tensor, _ in expected]
