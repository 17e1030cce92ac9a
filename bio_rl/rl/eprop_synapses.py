"""The synapses onto a recurrent layer of spiking neurons that learn by e-prop, and the mean rate of
these neurons, which is drawn to a target.

Every connection onto the layer, from the input or within it, has traces of its own; the neurons'
pseudo-derivatives and their learning signal are the same for all (plasticity.eprop).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bio_rl.connections._plastic import Trail
from bio_rl.contracts import Network, Synapses
from bio_rl.kernels.eprop import eprop_decision
from bio_rl.neurons import some
from bio_rl.parts import Plasticity
from bio_rl.plasticity.eprop import EProp, EPropState
from bio_rl.state import leaves

RATE_TAU = 2000.0
"""ms over which a neuron's mean rate is measured: about a trial."""


class Dopamine(NamedTuple):
    """Dopamine that a decision brings, [B] each, divided by the number of lives."""

    before: Tensor
    """For the decision before: it gates the traces as they were after that one."""
    after: Tensor
    """For this decision, where it ended its episode."""


def has_spiking_memory(network: Network) -> bool:
    """Whether its hidden neurons leak, spike, and remember from one decision to the next, as the
    traces of e-prop do.
    """
    if not network.teachable or not network.plastic:
        return False
    neurons = [synapses.neuron for synapses in network.plastic]
    leak = all(p is not None and "tau_mem" in p._asdict() for p in neurons)
    # A key of noise [B] is a state too, and no memory of the neurons.
    state = leaves(network.initial_state(1))
    return leak and any(x.dim() > 1 and x.shape[-1] == network.width for x in state)


class EPropSynapses(nn.Module):
    """The plastic connections of a network with a single hidden layer."""

    def __init__(self, network: Network, fade: float, tau_out: float, ticks: int, rate: float):
        """fade: what is left of eligibility after a decision of `ticks` ticks. tau_out: ms, of the
        readout. rate: Hz, where the neurons' mean rates start.

        Raises ValueError where the connections are not onto one layer.
        """
        super().__init__()
        self.synapses = network.plastic
        sizes = {len(one.connection.get_parameter("weight")) for one in self.synapses}
        if len(sizes) != 1:
            raise ValueError(
                f"e-prop teaches one hidden layer, and this network has layers of {sorted(sizes)} "
                "neurons; give --recurrent-spiking.hidden a single number"
            )
        self.dt = self.synapses[0].dt
        self.decision = ticks * self.dt
        self.tau_out = tau_out
        self.rules = tuple(self._rule(one, fade) for one in self.synapses)
        self.rate = nn.Buffer(torch.full((sizes.pop(),), rate))
        """[N] mean rate of each neuron, Hz."""
        self.spare: list[tuple[EPropState | None, EPropState | None]]
        self.spare = [(None, None)] * len(self.rules)
        """The traces of two updates ago, whose memory is used again, and the last ones."""

    def _rule(self, synapses: Synapses, fade: float) -> EProp:
        """The rule for the neurons of one connection; f fades to `fade` in a decision."""
        if fade in (0.0, 1.0):
            tau_gamma = math.inf if fade else 0.0
        else:
            tau_gamma = -self.decision / math.log(fade)
        constants = synapses.neuron._asdict()
        beta = constants.get("beta", 0.0)
        tau_adapt = constants.get("tau_adapt", 1.0)
        adaptation = beta if some(beta) else 0.0
        return EProp(constants["tau_mem"], self.tau_out, adaptation, tau_adapt, tau_gamma)

    @property
    def weights(self) -> list[nn.Parameter]:
        """The weights of each connection."""
        return [one.connection.get_parameter("weight") for one in self.synapses]

    def initial_state(self, batch: int) -> tuple[EPropState, ...]:
        """The traces of `batch` fresh lives, for each connection."""
        pairs = zip(self.rules, self.weights, strict=True)
        return tuple(rule.init(batch, *w.shape, device=w.device) for rule, w in pairs)

    def plasticity(self, ticks: int, writes: float) -> list[Plasticity]:
        """The cost of the learning of each connection, whose traces are looked at every tick and
        whose weights change so many times in a decision.
        """
        found = []
        states = self.initial_state(1)
        for i, (weight, state) in enumerate(zip(self.weights, states, strict=True), 1):
            traces = sum(trace.numel() for trace in leaves(state))
            found.append(Plasticity(f"hidden {i}", weight.numel(), traces, ticks, writes))
        return found

    def count(self, spikes: Tensor, valid: Tensor) -> Tensor:
        """The weight of each row [B] in a mean over those that are valid, after the running mean
        rates have been updated by a decision's spikes [B, K, N].
        """
        weight = valid / valid.sum().clamp(min=1)
        rate = 1000.0 / self.dt * (weight @ spikes.transpose(0, 1).mean(0))
        self.rate.lerp_(rate, 1.0 - math.exp(-self.decision / RATE_TAU))
        return weight

    def learn(
        self,
        states: Sequence[EPropState],
        trails: Sequence[Trail],
        signal: Tensor,
        pull: Tensor,
        goes_on: Tensor,
        dopamine: Dopamine,
    ) -> tuple[EPropState, ...]:
        """The traces after a decision, whose gradient is added to that of the weights.

        signal, pull: [B, N] the learning signal, and that which dopamine does not gate. goes_on:
        [B] bool, False in rows whose episode began with the decision.
        """
        after = []
        for i, (state, trail) in enumerate(zip(states, trails, strict=True)):
            last_but_one, last = self.spare[i]
            # fresh memory costs more than the arithmetic
            memory = last_but_one if last is state else None
            new = eprop_decision(
                self.rules[i],
                state,
                trail.pre.transpose(0, 1),
                _tensor(trail.post.psi).transpose(0, 1),
                signal,
                goes_on.to(signal.dtype),
                dopamine.before,
                dopamine.after,
                pull,
                _tensor(self.weights[i].grad),
                self.dt,
                out=memory,
            )
            self.spare[i] = (state if last is state else None, new)
            after.append(new)
        return tuple(after)

    def mask(self) -> None:
        """Set the gradient to zero where there is no synapse."""
        for synapses, weight in zip(self.synapses, self.weights, strict=True):
            if synapses.mask is not None:
                _tensor(weight.grad).mul_(synapses.mask)


def _tensor(x: Tensor | tuple[()] | None) -> Tensor:
    """x, which is there."""
    if not isinstance(x, Tensor):
        raise TypeError(
            "e-prop needs the pseudo-derivative of every spike, and weights with a gradient"
        )
    return x
