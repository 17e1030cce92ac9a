"""One tick of neurons in compiled loops: the equations of `neurons.Core`, forwards and backwards.

A state that a neuron does not have is None: Numba compiles that neuron's loop without it. Arrays
without a B axis are flat, M = B·N, so that loops vectorise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from bio_rl.kernels.numba.compile import inlined, loop

_NEVER = np.float32(-np.inf)
"""The distance from the threshold of a neuron that cannot spike."""
_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


class Numbers(NamedTuple):
    """The numbers of a Core and of a call as the loops take them: one array, which costs a tenth of
    so many arguments.
    """

    decay: Any
    gain: Any
    v_threshold: Any
    v_leak: Any
    v_reset: Any
    decay_synapse: Any
    decay_adaptation: Any
    adaptation: Any
    refractory: Any
    dt: Any
    half_dt: Any
    keep: Any
    slope: Any


@loop
def named(x):
    """Numbers of an array in their order."""
    return Numbers(
        x[0],
        x[1],
        x[2],
        x[3],
        x[4],
        x[5],
        x[6],
        x[7],
        x[8],
        x[9],
        x[10],
        x[11],
        x[12],
    )


# ---------------------------------- what every neuron does


@inlined
def charged(v, current, decay, gain, v_leak):
    """The membrane before its reset."""
    above = v - v_leak
    return v_leak + decay * above + gain * current


@inlined
def adapted(a, z, decay):
    """The adaptation after a tick with z spikes."""
    return decay * a + z


@inlined
def waited(r, fired, refractory, dt):
    """The time for which a neuron cannot spike, after a tick."""
    left = max(r - dt, _ZERO)
    return refractory if fired else left


# ---------------------------------- constants that may be learned


def decay_of(learned, m, c):
    """β of neuron m: learned[m], or the core's number where none is learned; known when the loop is
    compiled.
    """
    raise AssertionError("only inside a compiled loop")


@overload(decay_of)
def _decay_of(learned, m, c):
    if isinstance(learned, types.NoneType):
        return lambda learned, m, c: c.decay
    return lambda learned, m, c: learned[m]


def gain_of(learned, m, c):
    """g of neuron m, 1 - β where β is learned."""
    raise AssertionError("only inside a compiled loop")


@overload(gain_of)
def _gain_of(learned, m, c):
    if isinstance(learned, types.NoneType):
        return lambda learned, m, c: c.gain
    return lambda learned, m, c: np.float32(1.0) - learned[m]


# ---------------------------------- the ticks of `neurons.Core`


@loop
def tick(adds, drive, v, i, a, r, out, x, learned, c, soft):
    """One tick of M neurons; all arrays [M]. The state is advanced in place.

    adds: None for the first tick of a sum, which writes out; else out is added to. (Given out
    twice, a loop would find that its arrays overlap, and not vectorise.)
    """
    for m in range(len(v)):
        current = drive[m]
        if i is not None:
            current += c.decay_synapse * i[m]
            i[m] = current
        decay = decay_of(learned, m, c)
        gain = gain_of(learned, m, c)
        h = charged(v[m], current, decay, gain, c.v_leak)
        margin = h - c.v_threshold
        if a is not None:
            margin -= c.adaptation * a[m]
        if r is not None:
            held = r[m] > c.half_dt
            h = v[m] if held else h
            margin = _NEVER if held else margin
        # The choices below are selections, not branches: the loop stays one of vectors.
        fired = margin >= _ZERO
        z = _ONE if fired else _ZERO
        after = h - c.v_threshold if soft else c.v_reset
        v[m] = after if fired else h
        if a is not None:
            a[m] = adapted(a[m], z, c.decay_adaptation)
        if r is not None:
            r[m] = waited(r[m], fired, c.refractory, c.dt)
        x[m] = margin
        if adds is not None:
            z += c.keep * out[m]
        out[m] = z


@loop
def membrane_after(x, v_threshold, v_reset, soft, out):
    """The membrane after a tick into out [M], from its distance x [M] to the threshold before the
    reset.
    """
    for m in range(len(out)):
        # x is the membrane before the reset, less the threshold
        margin = x[m]
        h = margin + v_threshold
        after = margin if soft else v_reset
        out[m] = after if margin >= _ZERO else h


@loop
def tick_back(
    adds,
    grad_out,
    weight,
    gv,
    gi,
    ga,
    r,
    x,
    derivative,
    learned,
    c,
    soft,
    grad_drive,
    before,
    drive,
    gdecay,
):
    """One tick backwards, all arrays [M]: gv, gi, ga become the gradients of the state before this
    tick.

    r is not None where neurons are refractory after a spike. adds: None for the last tick of a held
    drive, as in `tick`. With gdecay the gradient of the decay is added to it; before is the
    membrane before this tick.
    """
    for m in range(len(gv)):
        # A hard reset cuts the gradient of the membrane where there was a spike.
        through = gv[m] if (soft or x[m] < _ZERO) else _ZERO
        dz = weight * grad_out[m]
        if ga is not None:
            dz += ga[m]
        dx = dz * derivative[m]
        dh = dx + through
        if ga is not None:
            ga[m] = c.decay_adaptation * ga[m] - c.adaptation * dx
        charge = gain_of(learned, m, c) * dh
        passed = decay_of(learned, m, c) * dh
        if r is not None:
            held = x[m] == _NEVER
            charge = _ZERO if held else charge
            passed = through if held else passed
        if gdecay is not None:
            gdecay[m] += dh * (before[m] - c.v_leak - drive[m])
        if gi is not None:
            charge += gi[m]
            gi[m] = c.decay_synapse * charge
        if adds is not None:
            charge += grad_drive[m]
        grad_drive[m] = charge
        gv[m] = passed
