"""e-prop's traces over the K ticks of a decision, and what dopamine asks of them, in one pass over
the synapses.

The learning signal comes at the last tick. With q_k = ρ - ψ_k β the traces of `plasticity.eprop`
are linear in what they were and in the ε_k of the ticks, with coefficients that belong to neurons,
so that most of the work is two matrix products:

    ε^a_K = c_0 ε^a_0 + Σ_k c_k ψ_k ε_k                                      c_K = 1,
        c_{k-1} = q_k c_k
    ē_K = κ^K ē_0 + u_0 ε^a_0 + Σ_k (u_k + (1 - κ) κ^{K-k}) ψ_k ε_k          u_K = 0,
        u_{k-1} = q_k u_k - (1 - κ) κ^{K-k} ψ_k β
    f_K = γ^K f_0 + L ē_K
        asked += Σ_b δ_b f_0 + δ'_b f_K + p ē_K

Equal to K calls of the rule's `trace`, and sums over the rows of its `delta`, up to rounding.
"""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

from bio_rl.kernels import suited
from bio_rl.plasticity import decay
from bio_rl.plasticity.eprop import EProp, EPropState


@torch.no_grad()
def eprop_decision(
    p: EProp, s: EPropState, pre: Tensor, psi: Tensor, signal: Tensor, keep: Tensor, before: Tensor, after: Tensor,
    pull: Tensor, asked: Tensor, dt: float, *, out: EPropState | None = None, backend: str | None = None,
) -> EPropState:  # fmt: skip
    """The state after K ticks of dt ms, in the memory of `out` if it is given; s is left as it is.

    pre [K, B, pre], psi [K, B, post]; signal L [B, post], that of the last tick; keep [B]: 0 for
    rows that start afresh. asked [post, pre] is changed in place: before δ [B] gates f as it was,
    after δ' [B] as it is, pull p [B, post] ē. backend: torch (the reference) or numba; None takes
    numba where it runs (`kernels.suited`). Raises ValueError for shapes that do not fit, and for
    what a backend does not run.
    """
    given = _check(p, s, pre, psi, signal, keep, before, after, pull, asked, out)
    kappa, gamma, ticks = decay(p.tau_out, dt), decay(p.tau_gamma, dt), len(psi)
    eps_v, eps = _low_passed(decay(p.tau_mem, dt), keep.unsqueeze(-1) * s.eps_v, pre)
    of_a, of_e, c, u = _coefficients(p, psi, dt)
    keep_a, cross = keep.unsqueeze(-1) * c, keep.unsqueeze(-1) * u
    keep_e, keep_f = kappa**ticks * keep, gamma**ticks * keep
    fresh = (
        out
        if out is not None
        else EPropState(eps_v, *(torch.empty_like(x) for x in s[1:3]), _like(s.eps_a))
    )
    alike = all([x.dtype is torch.float32 and x.is_cpu for x in given])
    if backend is None:
        backend = "numba" if alike and suited(signal) == "numba" else "torch"
    if backend not in ("torch", "numba"):
        raise ValueError(f"no kernel backend called {backend!r} for e-prop; known: torch, numba")
    if backend == "numba":
        if not alike:
            kinds = sorted({f"{x.dtype} on {x.device}" for x in given})
            raise ValueError(
                f"backend 'numba' got traces of {', '.join(kinds)}; known: torch.float32 on cpu"
            )
        beta = torch.as_tensor(p.beta, dtype=psi.dtype).expand(psi.shape[-1])
        old, new = (
            (x.e_bar if isinstance(x.eps_a, tuple) else x.eps_a, x.e_bar, x.f) for x in (s, fresh)
        )
        importlib.import_module("bio_rl.kernels.numba.eprop").traces(
            eps,
            of_a,
            of_e,
            keep_a,
            keep_e,
            cross,
            keep_f,
            signal,
            beta,
            old,
            new,
            before,
            after,
            pull,
            asked,
        )
        return fresh._replace(eps_v=eps_v)
    torch.mul(s.e_bar, keep_e.view(-1, 1, 1), out=fresh.e_bar)
    if p.adapts:
        fresh.e_bar.addcmul_(cross.unsqueeze(-1), s.eps_a)
        torch.mul(s.eps_a, keep_a.unsqueeze(-1), out=fresh.eps_a).baddbmm_(
            of_a.permute(1, 2, 0), eps
        )
    fresh.e_bar.baddbmm_(of_e.permute(1, 2, 0), eps)
    torch.mul(s.f, keep_f.view(-1, 1, 1), out=fresh.f).addcmul_(signal.unsqueeze(-1), fresh.e_bar)
    asked += torch.einsum("b,bji->ji", before, s.f) + torch.einsum("b,bji->ji", after, fresh.f)
    asked += torch.einsum("bj,bji->ji", pull, fresh.e_bar)
    return fresh._replace(eps_v=eps_v)


def _check(
    p: EProp, s: EPropState, pre: Tensor, psi: Tensor, signal: Tensor, keep: Tensor, before: Tensor, after: Tensor,
    pull: Tensor, asked: Tensor, out: EPropState | None,
) -> list[Tensor]:  # fmt: skip
    """All tensors of a call. Raises ValueError for shapes that do not fit."""
    if pre.dim() != 3 or psi.dim() != 3 or not len(psi):
        shapes = f"pre has shape {tuple(pre.shape)} and psi {tuple(psi.shape)}"
        raise ValueError(f"{shapes}, expected [K, B, pre] and [K, B, post] with K >= 1 ticks")
    ticks, batch, n_pre = pre.shape
    n_post = psi.shape[2]
    row, neurons, synapses = (batch,), (batch, n_post), (batch, n_post, n_pre)
    given = [
        ("psi", psi, (ticks, batch, n_post)),
        ("signal", signal, neurons),
        ("pull", pull, neurons),
    ]
    given += [
        ("keep", keep, row),
        ("before", before, row),
        ("after", after, row),
        ("asked", asked, (n_post, n_pre)),
    ]
    if isinstance(p.beta, Tensor):
        given.append(("beta", p.beta, (n_post,) if p.beta.dim() else ()))
    for name, state in (("state", s), ("out", out)):
        if state is None:
            continue
        given += [
            (f"{name}.eps_v", state.eps_v, (batch, n_pre)),
            (f"{name}.e_bar", state.e_bar, synapses),
        ]
        given.append((f"{name}.f", state.f, synapses))
        if isinstance(state.eps_a, Tensor):
            given.append((f"{name}.eps_a", state.eps_a, synapses))
        elif p.adapts:
            raise ValueError(f"{name} has no eps_a, but the neurons adapt; begin with p.init")
    for name, tensor, shape in given:
        if tensor.shape != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, expected {shape}: pre is {(ticks, batch, n_pre)}"
            )
    return [pre, *(tensor for _, tensor, _ in given)]


def _like(x: Tensor | tuple[()]) -> Tensor | tuple[()]:
    return x if isinstance(x, tuple) else torch.zeros_like(x)


def _low_passed(alpha: float, eps_v: Tensor, pre: Tensor) -> tuple[Tensor, Tensor]:
    """(ε after the last tick [B, pre], ε of every tick [B, K, pre])."""
    eps = []
    for x in (1.0 - alpha) * pre:
        eps_v = torch.add(x, eps_v, alpha=alpha)
        eps.append(eps_v)
    return eps_v, torch.stack(eps, 1)


def _coefficients(p: EProp, psi: Tensor, dt: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(what ε of a tick adds to ε^a, and to ē, both [K, B, post]; c_0 and u_0 [B, post])."""
    kappa, rho, ticks = decay(p.tau_out, dt), decay(p.tau_adapt, dt), len(psi)
    weight = (1.0 - kappa) * kappa ** torch.arange(
        ticks - 1, -1, -1, device=psi.device, dtype=psi.dtype
    )
    c, u = torch.ones_like(psi[0]), torch.zeros_like(psi[0])
    if not p.adapts:
        return torch.zeros_like(psi), weight.view(-1, 1, 1) * psi, c, u
    faded = p.beta * psi
    q, drop = rho - faded, weight.view(-1, 1, 1) * faded
    cs, us = [], []
    for k in range(ticks - 1, -1, -1):
        cs.append(c)
        us.append(u)
        c, u = q[k] * c, torch.addcmul(-drop[k], q[k], u)
    return torch.stack(cs[::-1]) * psi, (torch.stack(us[::-1]) + weight.view(-1, 1, 1)) * psi, c, u
