"""The network of the distal reward problem: one synapse of 80,000 earns rewards seconds later.

A reward follows when its two neurons fired together. 1,000 Izhikevich neurons at ticks of 1 ms, a
spike arriving at the next tick; each excitatory synapse s has an eligibility c by
`plasticity.rstdp`, and every 10 ms all of them change by the dopamine D, tonic level included:

    I = 13 (U(0, 1) - ½) + Σ s         s ← clip(s + D c, 0, 4 mV)
        D: `modulators.dopamine`, 0.5 more at each reward

Izhikevich 2007, fig. 1; constants and the order of events are those of its published program. Where
this one differs: targets are distinct and never the neuron itself, n2 is excitatory, traces add up,
and spikes of one tick do not pair (rstdp).

The loop visits synapses only where a spike does, and all of them every 10 ms: c is kept as it would
be at the start of such a period, so that what is added later in it is divided by the decay since.
The same in torch, from the neuron, the rule and the modulator of the library, is in
tests/bench/test_distal_reward.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bio_rl.kernels.numba.compile import compiled
from bio_rl.modulators.dopamine import Dopamine
from bio_rl.neurons.izhikevich import PRESETS
from bio_rl.plasticity.rstdp import RSTDP

CHUNK = 1000
"""Ticks of one call of the loop; no reward may come earlier after what earned it."""
PERIOD = 10
"""Ticks between two changes of the weights."""
NEVER = -(1 << 40)
# Bits of Trace.spikes.
N1 = 1
N2 = 2
EARNS = 4

_jit = compiled(nogil=True, error_model="numpy")
_f = np.float32


class Constants(NamedTuple):
    """Izhikevich 2007; times in ticks of 1 ms, weights in mV."""

    excitatory: int = 800
    inhibitory: int = 200
    synapses: int = 100
    """Synapses of each neuron onto others; an inhibitory one has excitatory targets only."""
    noise: float = 13.0
    """Width of the uniform noise that drives every neuron."""
    w_excitatory: float = 1.0
    """Excitatory weights at the start; the synapse to be rewarded starts at 0."""
    w_inhibitory: float = -1.0
    w_max: float = 4.0
    rule: RSTDP = RSTDP()
    dopamine: Dopamine = Dopamine(tau_d=200.0, tonic=0.002)
    pulse: float = 0.5
    """Dopamine of one reward."""
    coincidence: int = 20
    """n2 fires less than this long after n1: that earns a reward."""
    delay: tuple[int, int] = (1000, 3000)
    """The reward comes later than the first and not later than the second, uniformly."""

    @property
    def neurons(self) -> int:
        """N, the excitatory ones first."""
        return self.excitatory + self.inhibitory


class Wiring(NamedTuple):
    """Who projects to whom.

    Excitatory synapses have numbers: e = i M + k is the k-th synapse of neuron i. n1 is neuron 0,
    n2 is post[0, 0], and synapse 0 between them is the one to be rewarded.
    """

    post: np.ndarray
    """[N, M] targets of each neuron."""
    incoming: np.ndarray
    """[N_exc · M] numbers of the excitatory synapses, in the order of their targets."""
    start: np.ndarray
    """[N + 1] index in `incoming` at which those onto each neuron start."""


class State(NamedTuple):
    """All arrays, advanced in place."""

    v: np.ndarray
    """[N] mV"""
    u: np.ndarray
    """[N]"""
    x: np.ndarray
    """[N] traces of spikes, as presynaptic ones."""
    y: np.ndarray
    """[N] traces of spikes, as postsynaptic ones."""
    w: np.ndarray
    """[N, M] mV"""
    c: np.ndarray
    """[N_exc, M] eligibility at the start of the running period."""
    d: np.ndarray
    """[1] dopamine above the tonic level."""
    fired: np.ndarray
    """[N + 1] the number of neurons that spiked at the last tick, and which they were."""
    last: np.ndarray
    """[1] tick of the last spike of n1."""


class Trace(NamedTuple):
    """The synapse to be rewarded, and what befell it, at each tick [T]."""

    w: np.ndarray
    """Its weight, mV."""
    c: np.ndarray
    """Its eligibility."""
    d: np.ndarray
    """Dopamine, tonic level included."""
    spikes: np.ndarray
    """N1 and N2 where they spiked; EARNS where n2 did so soon after n1 that it earns a reward."""
    count: np.ndarray
    """Spikes of the whole network."""


def wire(p: Constants, rng: np.random.Generator) -> Wiring:
    """Random connections to distinct targets."""
    n = p.neurons
    post = np.empty((n, p.synapses), np.int32)
    for i in range(n):
        if i < p.excitatory:
            # Drawn among the n - 1 others: numbers from i on stand for the neuron after them.
            chosen = rng.choice(n - 1, p.synapses, replace=False)
            post[i] = chosen + (chosen >= i)
        else:
            post[i] = rng.choice(p.excitatory, p.synapses, replace=False)
    # n2 is to be excitatory: the first target of n1 that is comes to the front.
    first = int(np.argmax(post[0] < p.excitatory))
    post[0, [0, first]] = post[0, [first, 0]]
    targets = post[: p.excitatory].ravel()
    # A stable order by target puts the synapses onto neuron n at incoming[start[n] : start[n + 1]].
    incoming = np.argsort(targets, kind="stable").astype(np.int32)
    start = np.concatenate(([0], np.bincount(targets, minlength=n).cumsum()))
    return Wiring(post, incoming, start.astype(np.int32))


def initial_state(p: Constants) -> State:
    """The network at rest, without traces, as the published program starts it."""
    n = p.neurons
    w = np.full((n, p.synapses), p.w_excitatory, _f)
    w[p.excitatory :] = p.w_inhibitory
    w[0, 0] = 0.0
    v = np.full(n, -65.0, _f)
    return State(
        v=v,
        u=_f(0.2) * v,
        x=np.zeros(n, _f),
        y=np.zeros(n, _f),
        w=w,
        c=np.zeros((p.excitatory, p.synapses), _f),
        d=np.zeros(1, _f),
        fired=np.zeros(n + 1, np.int32),
        last=np.full(1, NEVER),
    )


class Run(NamedTuple):
    """The course of a simulation."""

    trace: Trace
    others: np.ndarray
    """[T / CHUNK] mV, mean of all other excitatory synapses."""
    rewards: np.ndarray
    """[T] rewards that came at each tick."""


def simulate(
    p: Constants,
    wiring: Wiring,
    s: State,
    ticks: int,
    rng: np.random.Generator,
    rewards: np.ndarray | None = None,
) -> Run:
    """`ticks` of the network, with `s` advanced in place.

    rewards: [T] how many come at each tick, whatever the network does; by default those that n1 and
    n2 earn. Raises ValueError for ticks that are no multiple of CHUNK, or a delay shorter than
    that.
    """
    if ticks % CHUNK or ticks < 1 or p.delay[0] < CHUNK:
        raise ValueError(
            f"simulate: {ticks} ticks, delay {p.delay}; "
            f"expected a multiple of {CHUNK}, and no delay below it"
        )
    earned = rewards is None
    if rewards is None:
        rewards = np.zeros(ticks, _f)
    trace = empty_trace(ticks)
    others = np.zeros(ticks // CHUNK)
    noise = np.empty((CHUNK, p.neurons), _f)
    for begin in range(0, ticks, CHUNK):
        part = slice(begin, begin + CHUNK)
        now = Trace(*(x[part] for x in trace))
        rng.random(dtype=_f, out=noise)
        drive = _f(p.noise) * (noise - _f(0.5))
        advance(p, wiring, s, drive, _f(p.pulse) * rewards[part], now, begin)
        plastic = s.w[: p.excitatory]
        total = plastic.sum(dtype=float) - plastic[0, 0]
        others[begin // CHUNK] = total / (plastic.size - 1)
        if earned:
            # No delay is shorter than a chunk, so that none of these rewards is in the past.
            when = begin + np.flatnonzero(now.spikes & EARNS)
            when = when + rng.integers(*p.delay, len(when), endpoint=True)
            np.add.at(rewards, when[when < ticks], 1.0)
    return Run(trace, others, rewards)


def empty_trace(ticks: int) -> Trace:
    """A trace of so many ticks, to be written."""
    return Trace(
        w=np.zeros(ticks, _f),
        c=np.zeros(ticks, _f),
        d=np.zeros(ticks, _f),
        spikes=np.zeros(ticks, np.uint8),
        count=np.zeros(ticks, np.int32),
    )


def advance(
    p: Constants,
    wiring: Wiring,
    s: State,
    noise: np.ndarray,
    pulses: np.ndarray,
    trace: Trace,
    begin: int = 0,
) -> None:
    """Some ticks, a multiple of PERIOD, from tick `begin`.

    noise: [T, N], pulses: [T] dopamine; `trace` [T] is written.
    """
    regular = PRESETS["regular_spiking"]
    fast = PRESETS["fast_spiking"]
    is_excitatory = np.arange(p.neurons) < p.excitatory
    a = np.where(is_excitatory, regular.a, fast.a).astype(_f)
    d = np.where(is_excitatory, regular.d, fast.d).astype(_f)
    taus = (p.rule.tau_plus, p.rule.tau_minus, p.rule.tau_c, p.dopamine.tau_d)
    decays = [math.exp(-1.0 / tau) for tau in taus]
    numbers = (*decays, p.rule.a_plus, p.rule.a_minus, p.rule.lr, p.w_max, p.dopamine.tonic)
    _loop(wiring, s, noise, pulses, trace, a, d, np.array(numbers, _f), begin, p.coincidence)


@_jit
def _loop(wiring, s, noise, pulses, trace, a, d, numbers, begin, coincidence):
    """Advance the network tick by tick, with all synapses changed at the end of each period."""
    keep_x, keep_y, keep_c, keep_d, a_plus, a_minus, lr, w_max, tonic = numbers
    exc, m = s.c.shape
    # by the number of the synapse
    c = s.c.reshape(-1)
    w = s.w.reshape(-1)[: exc * m]
    n2 = wiring.post[0, 0]
    # c is as at the start of the period: what is added now is divided by the decay since then
    inverse = _f(1.0)
    for t in range(len(noise)):
        drive = noise[t]
        for k in range(s.fired[0]):
            i = s.fired[k + 1]
            for e in range(m):
                drive[wiring.post[i, e]] += s.w[i, e]
        _neurons(s, drive, a, d)
        inverse /= keep_c
        for n in range(len(s.x)):
            s.x[n] *= keep_x
            s.y[n] *= keep_y
        up = a_plus * inverse
        down = a_minus * inverse
        for k in range(s.fired[0]):
            i = s.fired[k + 1]
            for e in wiring.incoming[wiring.start[i] : wiring.start[i + 1]]:
                # e // m is the neuron that synapse e comes from
                c[e] += up * s.x[e // m]
            if i < exc:
                for e in range(m):
                    s.c[i, e] -= down * s.y[wiring.post[i, e]]
        trace.spikes[t] = _pair(s, n2, begin + t, coincidence)
        s.d[0] = keep_d * s.d[0] + pulses[t]
        level = s.d[0] + tonic
        trace.c[t] = c[0] / inverse
        if (t + 1) % PERIOD == 0:
            _change(w, c, lr * level, _f(1.0) / inverse, w_max)
            inverse = _f(1.0)
        trace.w[t] = w[0]
        trace.d[t] = level
        trace.count[t] = s.fired[0]


@_jit
def _neurons(s, drive, a, d):
    """Advance neurons.izhikevich by one tick, and note which of them spiked."""
    half = _f(0.5)
    # a membrane just above the threshold: what is beyond it would grow without bound
    peak = _f(31.0)
    for n in range(len(drive)):
        v = s.v[n]
        u = s.u[n]
        v = v + half * ((_f(0.04) * v + _f(5.0)) * v + _f(140.0) - u + drive[n])
        v = v if v < peak else peak
        v = v + half * ((_f(0.04) * v + _f(5.0)) * v + _f(140.0) - u + drive[n])
        v = v if v < peak else peak
        s.v[n] = v
        s.u[n] = u + a[n] * (_f(0.2) * v - u)
    count = 0
    for n in range(len(drive)):
        if s.v[n] >= _f(30.0):
            s.v[n] = _f(-65.0)
            s.u[n] += d[n]
            count += 1
            s.fired[count] = n
    s.fired[0] = count


@_jit
def _pair(s, n2, now, coincidence):
    """Add this tick's spikes to the traces; returns what n1 and n2 did, as in Trace.spikes."""
    one = False
    two = False
    for k in range(s.fired[0]):
        i = s.fired[k + 1]
        s.x[i] += _f(1.0)
        s.y[i] += _f(1.0)
        one = one or i == 0
        two = two or i == n2
    earns = two and not one and now - s.last[0] < coincidence
    if one:
        s.last[0] = now
    return N1 * one + N2 * two + EARNS * earns


@_jit
def _change(w, c, modulator, keep, w_max):
    """Change all excitatory synapses at the end of a period."""
    zero = _f(0.0)
    for e in range(len(w)):
        c[e] *= keep
        new = w[e] + modulator * c[e]
        new = new if new > zero else zero
        w[e] = new if new < w_max else w_max
