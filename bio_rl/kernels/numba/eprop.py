"""e-prop's traces for the CPU with Numba: see `kernels.eprop`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bio_rl.kernels.eprop import Coefficients, Gates
from bio_rl.kernels.numba.compile import fast_loop
from bio_rl.plasticity.eprop import EProp, EPropState


def run(
    p: EProp,
    s: EPropState,
    new: EPropState,
    eps: Tensor,
    coefficients: Coefficients,
    signal: Tensor,
    gates: Gates,
    grad: Tensor,
) -> None:
    """See `kernels.eprop.reference`."""
    post = signal.shape[-1]
    beta = torch.as_tensor(p.beta, dtype=signal.dtype).expand(post)
    _traces(
        *_arrays(eps, *coefficients, signal, beta),
        _traces_of(s),
        _traces_of(new),
        *_arrays(*gates),
        grad.numpy(),
    )


def _arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """The same memory for the loops, where it is contiguous."""
    # A loop is compiled for one layout: a strided input would compile another one.
    contiguous = [t.contiguous() for t in tensors]
    return tuple([t.numpy() for t in contiguous])


def _traces_of(state: EPropState) -> tuple[np.ndarray, ...]:
    """(ε^a, ē, f); where no neuron adapts ē stands for ε^a, which nobody reads then."""
    eps_a = state.e_bar
    if isinstance(state.eps_a, Tensor):
        eps_a = state.eps_a
    traces = (eps_a, state.e_bar, state.f)
    # not copied where they are strided: those of the new state are written
    return tuple([x.numpy() for x in traces])


@fast_loop
def _traces(
    eps,
    of_a,
    of_e,
    keep_a,
    cross,
    keep_e,
    keep_f,
    signal,
    beta,
    old,
    new,
    before,
    after,
    pull,
    grad,
):
    """One pass over the synapses, neuron by neuron so that its row of `grad` stays in cache.

    eps [B, K, pre]; coefficients as `kernels.eprop.Coefficients` has them, gates as `Gates` has
    them; old and new (ε^a, ē, f) [B, post, pre] each; signal [B, post]; beta [post], 0 where there
    is no ε^a; grad [post, pre] is added to.
    """
    a0, e0, f0 = old
    a1, e1, f1 = new
    batch, post, pre = e0.shape
    ticks = eps.shape[1]
    zero = np.float32(0.0)
    for j in range(post):
        adapts = beta[j] != zero
        row = grad[j]
        for b in range(batch):
            # Row b's synapses onto neuron j lie side by side, [pre].
            e_old = e0[b, j]
            e = e1[b, j]
            fade = keep_e[b]
            for i in range(pre):
                e[i] = fade * e_old[i]
            if adapts:
                a_old = a0[b, j]
                a = a1[b, j]
                left = keep_a[b, j]
                mix = cross[b, j]
                for i in range(pre):
                    e[i] += mix * a_old[i]
                    a[i] = left * a_old[i]
                for k in range(ticks):
                    ca = of_a[k, b, j]
                    ce = of_e[k, b, j]
                    source = eps[b, k]
                    # The pseudo-derivative is zero at most ticks of most neurons.
                    if ca != zero or ce != zero:
                        for i in range(pre):
                            a[i] += ca * source[i]
                            e[i] += ce * source[i]
            else:
                for k in range(ticks):
                    ce = of_e[k, b, j]
                    source = eps[b, k]
                    if ce != zero:
                        for i in range(pre):
                            e[i] += ce * source[i]
            f_old = f0[b, j]
            f = f1[b, j]
            fade = keep_f[b]
            now = signal[b, j]
            was = before[b]
            then = after[b]
            level = pull[b, j]
            for i in range(pre):
                new_f = fade * f_old[i] + now * e[i]
                row[i] += was * f_old[i] + then * new_f + level * e[i]
                f[i] = new_f
