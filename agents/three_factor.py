"""Dopamine-gated local learning: an actor-critic without backpropagation that learns at every step
of its life.

    out = W_π x,  V = W_V x       x: activity of the network's last hidden layer        a ~ π(out)
    e   ← γλ e + s_j x_i
        s_j = ∂ log π(a) / ∂ out_j for the actor, 1 for the critic (plasticity.three_factor)
    δ   = r + γ V(s') - V(s)      dopamine (modulators.dopamine)
    W   ← W + η δ e
    μ_k ← μ_k + η x_k (o - μ_k)
        the centres of cells that learn too (plasticity.instar)

Every synapse needs its own activity, its neuron's signal and the one δ of its brain. Barto, Sutton
& Anderson 1983; with spiking neurons Frémaux, Sprekeler & Gerstner 2013; Sutton & Barto 2018,
§13.5. Dopamine comes before the next decision; a time limit bootstraps from the final observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from bio_rl.checks import check_settings
from bio_rl.codes.conjunctive import Scattered
from bio_rl.connections.plastic import Plastic, PlasticState
from bio_rl.contracts import ActOut, Metrics, Percept, Probe, Rollout, State, Transition
from bio_rl.kernels.td import Judged, judge
from bio_rl.modulators.noradrenaline import Noradrenaline, NoradrenalineState
from bio_rl.networks import Blueprint
from bio_rl.plasticity import instar
from bio_rl.plasticity.three_factor import ThreeFactor
from bio_rl.rl import base, distributions
from bio_rl.rl.local import DopamineGate, check_finite
from bio_rl.state import index

NORADRENALINE = Noradrenaline(tau_fast=50.0, tau_slow=5000.0, threshold=0.7)
"""Errors of learning CartPole stay below 0.65 (8 lives, prediction errors recorded); those after an
inversion exceed 0.75.
"""


@dataclass(frozen=True, kw_only=True)
class Config:
    gamma: float = 0.99
    """Discount per decision."""
    trace: float = 0.8
    """λ: eligibility fades by γλ per decision."""
    actor_lr: float = 0.02
    """Of the actor's synapses, per unit of dopamine."""
    critic_lr: float = 0.05
    """Of the critic's: the share of the error that one step corrects."""
    anneal: float = 0.13
    """Both learning rates fall exponentially to this share of themselves over the run."""
    value: float = 0.0
    """V_0, expected of a state of which nothing is known; more than there is makes curious: what
    has been seen disappoints (Frémaux 2013, eq. 4; Sutton & Barto 2018, §2.6).
    """
    hebbian: bool = False
    """The winner's synapses grow with dopamine, and the others shrink, by as much at any
    confidence: s_j = 1[a = j] - 1/n in place of 1[a = j] - π_j. It relearns after a reversal as
    fast as it learned; it needs a bound.
    """
    bound: float = 0.0
    """Weights stay within ± this; 0 for no bound."""
    dopamine: str = "rpe"
    """What gates plasticity: rpe; or as controls shuffled, a prediction error of some other moment,
    or none.
    """
    cells_lr: float = 0.0
    """Of the centres of scattered cells, which the cells that answer move towards the input
    (plasticity.instar); it falls exponentially to a hundredth over the run. 0 leaves them where
    they are.
    """
    normalise_obs: bool = True
    """Running mean and deviation of Box observations."""
    reset_on_surprise: float = 0.0
    """Share of its weights that a brain gives up when noradrenaline says that the world has
    changed: when prediction errors have become three times what they were (Bouret & Sara 2005,
    network reset). 0 never does.
    """
    persist: float = 1.0
    """Decisions for which what exploration draws lasts, on average: from 1, anew each time, to long
    straight ways.
    """
    log_std: float = -0.5
    """Log standard deviation of continuous actions, in half-ranges of the action bounds."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            non_negative=("actor_lr", "critic_lr", "cells_lr", "bound"),
            unit=("gamma", "trace", "anneal", "reset_on_surprise"),
        )
        if self.persist < 1:
            raise ValueError(
                f"three_factor.persist is {self.persist}, expected 1 or more decisions"
            )


class ThreeFactorState(NamedTuple):
    network: State
    """The network's state, after the percept to come where `ready`."""
    readout: PlasticState
    """Eligibility of the readout's synapses, the critic's last."""
    x: Tensor
    """[B, N] activity for the percept to come, where `ready`: dopamine needed it, and so does the
    next decision.
    """
    y: Tensor
    """[B, outputs + 1] what the weights make of it."""
    ready: Tensor
    """[B] bool: `network`, `x` and `y` have seen the percept to come."""
    noise: Tensor
    """[B, outputs] what exploration drew last."""
    surprise: NoradrenalineState


class Readout(nn.Module):
    """The weights onto the outputs of each seed, the critic's last; zero at first."""

    def __init__(self, groups: int, n_out: int, n: int) -> None:
        super().__init__()
        self.weight = nn.Buffer(torch.zeros(groups, n_out, n))
        """[G, outputs + 1, N]."""


class Agent(base.Agent):
    """See `rl.base.Agent`. Seeds side by side look through the same cells where nothing was drawn
    for these.
    """

    teaches: ClassVar[tuple[str, ...]] = ("cells",)
    """Networks whose synapses it can teach."""

    def build(self, network: Blueprint) -> None:
        config = self.config
        self.policy = distributions.for_space(self.spec.action_space, config.log_std)
        n_out = self.policy.n_out + 1
        self.network = network.build(self.numbers(), n_out)
        if config.cells_lr and not isinstance(self.network.code, Scattered):
            raise ValueError(
                "three_factor.cells_lr moves scattered cells; cells.cells is a grid, which stays"
            )
        del self.network.readout  # the readout of every seed takes its place
        self.readout = Readout(self.groups, n_out, self.network.code.n)
        self.dopamine = DopamineGate(config.dopamine, self.groups)
        self.requires_grad_(False)

    def prepare(self) -> None:
        super().prepare()
        config = self.config
        self.plastic = Plastic(self.readout, ThreeFactor(), bound=config.bound)
        rates = torch.full((self.policy.n_out + 1,), config.actor_lr, device=self.device)
        rates[-1] = config.critic_lr
        self.rates = rates
        # A number takes twice as long to add as a tensor (measured).
        self.v_0 = torch.tensor(config.value, device=self.device)

    def initial_state(self, batch: int) -> ThreeFactorState:
        n_out, n = self.readout.weight.shape[1:]
        zeros = self.readout.weight.new_zeros
        return ThreeFactorState(
            network=self.network.initial_state(batch),
            readout=self.plastic.initial_state(batch),
            x=zeros(batch, n),
            y=zeros(batch, n_out),
            ready=torch.zeros(batch, dtype=torch.bool, device=self.device),
            noise=zeros(batch, n_out - 1),
            surprise=NORADRENALINE.init(batch, self.device),
        )

    def trained_tensors(self) -> list[Tensor]:
        return [self.readout.weight]

    # ---------------------------------- a decision

    @torch.no_grad()
    def act(
        self,
        percept: Percept,
        state: ThreeFactorState,
        explore: bool = True,
        probe: Probe | None = None,
    ) -> ActOut:
        x, y, network = self._activity(percept, state, probe)
        if probe is not None:
            probe.synapses("readout", self.readout.weight[0], x)
        state = state._replace(network=network, ready=torch.zeros_like(state.ready))
        out = y[:, :-1]
        value = y[:, -1] + self.v_0
        if not explore:
            return ActOut(self.policy.mode(out), {"value": value}, state)
        noise = self._noise(out, state.noise, percept.reset)
        action = self.policy.sample(out, noise)
        # Each output neuron tells its synapses its score, the critic's a one.
        signal = nn.functional.pad(self._score(out, action), (0, 1), value=1.0)
        extras = {"x": x, "signal": signal, "value": value}
        return ActOut(action, extras, state._replace(noise=noise))

    def _activity(
        self, percept: Percept, state: ThreeFactorState, probe: Probe | None
    ) -> tuple[Tensor, Tensor, State]:
        """(x [B, N], y [B, outputs + 1], the network's state) for a percept, worked out unless the
        last update did so.
        """
        if bool(state.ready.all()):
            if probe is not None:
                self.network.rates(self.features(percept.obs), probe)
            return state.x, state.y, state.network
        x, network = self.network.active(self.see(percept), state.network, probe)
        return x, self.plastic.forward(x, state.readout), network

    def _noise(self, out: Tensor, last: Tensor, reset: Tensor) -> Tensor:
        """[B, outputs] what exploration draws, anew at every decision or now and then."""
        fresh = self.draw(out, self.policy.noise)
        persist = self.config.persist
        if persist <= 1.0:
            return fresh
        uniform = self.draw(reset, lambda x, g: torch.rand(x.shape, generator=g, device=x.device))
        anew = reset | (uniform * persist < 1.0)
        return torch.where(anew.unsqueeze(-1), fresh, last)

    def _score(self, out: Tensor, action: Tensor) -> Tensor:
        """[B, outputs] ∂ log π(a) / ∂ out, at any confidence the same where `hebbian` is set."""
        if self.config.hebbian:
            return self.policy.score(torch.zeros_like(out), action)
        return self.policy.score(out, action)

    # ---------------------------------- what it was worth

    @torch.no_grad()
    def update(self, rollout: Rollout, state: ThreeFactorState) -> tuple[ThreeFactorState, Metrics]:
        step = index(rollout.steps, 0)
        x_next, network = self.network.active(self.see(rollout.next), state.network)
        error = self._error(step, self._next_value(step, x_next, state))
        gate = self.dopamine(error.rpe, self.generators)
        signal = step.extras["signal"]
        if error.valid < len(error.rpe):
            signal = signal * step.valid.unsqueeze(-1)
        x = step.extras["x"]
        rates, scaled = self._rates(gate)
        y, readout = self.plastic.step(state.readout, x, signal, scaled, x_next, rates, error.decay)
        if self.config.cells_lr:
            self._move_cells(x, step.percept.obs)
        self.features.update(rollout.steps.percept.obs, rollout.steps.valid)
        self.count(step, error.valid, error.ended)
        surprise = state.surprise
        if self.config.reset_on_surprise:
            surprise = self._let_go(error.rpe, surprise)
            y = self.plastic.forward(x_next, readout)
        state = state._replace(
            network=network,
            readout=readout,
            x=x_next,
            y=y,
            ready=torch.ones_like(state.ready),
            surprise=surprise,
        )
        return state, self._metrics(error, step.extras["value"], gate, readout.traces.e, rates)

    def _next_value(self, step: Transition, x_next: Tensor, state: ThreeFactorState) -> Tensor:
        """V [B] of what followed: of the true final observation where the episode ended."""
        value = self._value(x_next)
        cut = step.terminated | step.truncated
        if not bool(cut.any()):
            return value
        no = torch.zeros_like(cut)
        last = Percept(step.final_obs, step.action, step.reward, no, no)
        x_last, _ = self.network.active(self.see(last), state.network)
        return torch.where(cut, self._value(x_last), value)

    def _error(self, step: Transition, next_value: Tensor) -> Judged:
        """The prediction errors, and what is left of older eligibility. Raises DivergedError."""
        error = judge(
            step.reward,
            step.extras["value"],
            next_value,
            step.terminated,
            step.terminated | step.truncated,
            step.percept.reset,
            step.valid,
            gamma=self.config.gamma,
            lam=self.config.trace,
        )
        check_finite(error.mean, "three_factor", ("critic_lr",))
        return error

    def _rates(self, gate: Tensor) -> tuple[Tensor, Tensor]:
        """(η [outputs + 1], the gate [B]): seeds whose schedules differ have theirs in the gate."""
        left = self.annealed(self.config.anneal)
        if isinstance(left, float):
            return self.rates * left, gate
        return self.rates, gate * self.of_rows(left, len(gate))

    def _value(self, x: Tensor) -> Tensor:
        """V [B], what the critic's neuron makes of the activity [B, N]."""
        critic = self.readout.weight[:, -1]
        if self.groups == 1:
            return torch.mv(x, critic[0]) + self.v_0
        return (self.of_rows(critic, len(x)) * x).sum(-1) + self.v_0

    def _move_cells(self, x: Tensor, obs: Tensor) -> None:
        """Centres turn to what their cells answered for."""
        code = self.network.code
        rate = self.config.cells_lr * 0.01**self.clock.lived
        columns, cells, _ = code.centres.shape
        inputs = code.seen(self.features(obs)).squeeze(-2)
        local = instar.InstarState(inputs, x.view(-1, columns, cells))
        change = instar.RULE(rate).delta(local, code.centres, x.new_ones(len(x), 1))
        code.centres += change.sum(0)

    def _let_go(self, rpe: Tensor, before: NoradrenalineState) -> NoradrenalineState:
        """Noradrenaline goes on, and where it asks for a reset weights shrink, by the mean over a
        seed's environments.
        """
        _, reset, after = NORADRENALINE.step(before, rpe)
        if bool(reset.any()):
            part = reset.to(rpe.dtype).view(self.groups, -1).mean(1)
            self.readout.weight *= (1.0 - self.config.reset_on_surprise * part).view(-1, 1, 1)
        return after

    def _metrics(
        self, error: Judged, value: Tensor, gate: Tensor, e: Tensor, rates: Tensor
    ) -> Metrics:
        """What is reported, [G] each where seeds are trained side by side."""
        if self.groups > 1:
            each = {"rpe": error.rpe, "value": value, "abs": error.rpe.abs()}
            return {f"dopamine/{k}": x.view(self.groups, -1).mean(1) for k, x in each.items()}
        return {
            "dopamine/rpe": error.mean,
            "dopamine/value": error.value,
            "dopamine/abs": error.size,
            "plasticity/eligibility": lambda: e.abs().mean(),
            "plasticity/eligibility_actor": lambda: e[:, :-1].abs().mean(),
            "plasticity/eligibility_critic": lambda: e[:, -1].abs().mean(),
            "plasticity/change": lambda: (
                ((gate.view(-1, 1, 1) * e).sum(0) * rates.unsqueeze(-1)).abs().mean()
            ),
            "plasticity/weight": self.readout.weight.norm,
        }
