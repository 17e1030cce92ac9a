"""Dopamine-gated local learning: an actor-critic without backpropagation that learns at every step
of its life.

    out = W_π x,  V = W_V x       x: activity of the network's last hidden layer        a ~ π(out)
    e   ← γλ e + s_j x_i
        s_j = ∂ log π(a) / ∂ out_j for the actor, 1 for the critic (plasticity.three_factor)
    δ   = r + γ V(s') - V(s)      dopamine (modulators.dopamine)
    W   ← W + η δ e

Every synapse needs its own activity, its neuron's signal and the one δ of its brain. Barto, Sutton
& Anderson 1983; with spiking neurons Frémaux, Sprekeler & Gerstner 2013; Sutton & Barto 2018,
§13.5. Dopamine comes before the next decision; a time limit bootstraps from the final observation.

Hidden synapses, where the network has some, learn by `rule` (rl.hidden), gated by the same δ; the
centres of scattered cells may move towards their inputs (rl.moving_cells).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from bio_rl.checks import Between, check_settings, tunable
from bio_rl.connections._plastic import Plastic, PlasticState
from bio_rl.contracts import (
    ActOut,
    Lived,
    Metrics,
    Network,
    Percept,
    Probe,
    Rollout,
    State,
    Transition,
)
from bio_rl.groups import seeded, shared
from bio_rl.kernels.td import TDError, td_error
from bio_rl.modulators.noradrenaline import NoradrenalineState
from bio_rl.networks import Blueprint
from bio_rl.parts import Plasticity
from bio_rl.rl import base, distributions, ranges
from bio_rl.rl.hidden import HiddenState, HiddenSynapses, make_rule
from bio_rl.rl.local import BY_DECISION, DopamineGate, Readout, build_teachable, check_finite
from bio_rl.rl.moving_cells import MovingCells
from bio_rl.rl.network_reset import NORADRENALINE, reset_on_surprise
from bio_rl.rl.schedule import LearningRateSchedule
from bio_rl.state import clone, index


@dataclass(frozen=True, kw_only=True)
class Config(LearningRateSchedule):
    gamma: float = tunable(0.99, ranges.DISCOUNT)
    """Discount per decision."""
    trace: float = tunable(0.8, ranges.TRACE)
    """λ: eligibility fades by γλ per decision."""
    actor_lr: float = tunable(0.02, ranges.LOCAL)
    """Learning rate of the actor's synapses, per unit of dopamine."""
    critic_lr: float = tunable(0.05, ranges.LOCAL)
    """Learning rate of the critic's synapses: the share of the error that one step corrects."""
    lr_final: float = tunable(0.13, Between(0.03, 1.0, log=True))
    """Factor of the learning rates at the end of the run."""
    lr_shape: str = "exponential"
    """How the learning rates change: exponential, by the same factor in every step; or linear."""
    initial_value: float = 0.0
    """V_0, the value of every state at first. One above all returns makes the agent explore: every
    state that it has visited falls short of it (optimistic initial values: Sutton & Barto 2018,
    §2.6; Frémaux 2013, eq. 4).
    """
    hebbian: bool = False
    """The winner's synapses grow with dopamine, and the others shrink, by as much at any
    confidence: s_j = 1[a = j] - 1/n in place of 1[a = j] - π_j. It relearns after a reversal as
    fast as it learned; it needs a bound.
    """
    bound: float = 0.0
    """Weights stay within ± this; 0 for no bound."""
    dopamine: str = "rpe"
    """Signal that gates plasticity: rpe, the prediction error; or as controls shuffled, one of some
    other moment, or none.
    """
    rule: str = field(default="three_factor", metadata={"flag": "rule"})
    """Rule of the hidden synapses, where the network has some (train.py list rules); "+" chains
    rules, as in three_factor+scaling.
    """
    constants: tuple[str, ...] = ()
    """Constants of that rule, where its defaults do not fit: NAME=NUMBER, as in lr=0.01."""
    hidden_lr: float = tunable(1.0, Between(0.01, 3.0, log=True))
    """Factor of that rule's learning rate, which falls as the others do; 0 leaves the hidden
    synapses as they were drawn.
    """
    cells_lr: float = 0.0
    """Learning rate of the centres of scattered cells, which move towards the inputs that their
    cells answer to (plasticity.instar); it falls exponentially to a hundredth over the run. 0
    leaves them where they are.
    """
    normalise_obs: bool = True
    """Running mean and deviation of Box observations."""
    reset_on_surprise: float = 0.0
    """Share of its weights that a brain gives up when noradrenaline says that the world has
    changed: when prediction errors have become three times what they were (Bouret & Sara 2005,
    network reset). 0 never does.
    """
    exploration_time: float = 1.0
    """Decisions for which a draw of exploration is held, on average: 1 draws anew at each decision,
    more gives long straight ways.
    """
    log_std: float = tunable(-0.5, ranges.LOG_STD)
    """Log standard deviation of continuous actions, in half-ranges of the action bounds."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            non_negative=("actor_lr", "critic_lr", "hidden_lr", "cells_lr", "bound"),
            unit=("gamma", "trace", "reset_on_surprise"),
        )
        if self.exploration_time < 1:
            raise ValueError(
                f"three_factor.exploration_time is {self.exploration_time}, expected 1 or more "
                "decisions"
            )
        super().__post_init__()


class ThreeFactorState(NamedTuple):
    readout: PlasticState
    """Eligibility of the readout's synapses, the critic's last."""
    hidden: HiddenState
    """Traces of hidden synapses, and both sides of them at the last decision."""
    lived: Lived
    """The network's decision about the percept to come, where `ready`: dopamine needed it, and so
    does the next decision. Its state, else, is the one after the last decision.
    """
    y: Tensor
    """[B, outputs + 1] of the readout for the percept to come, where `ready`."""
    ready: Tensor
    """[B] bool: `lived` and `y` are of the percept to come."""
    noise: Tensor
    """[B, outputs] last draw of exploration."""
    surprise: NoradrenalineState


class Agent(base.Agent):
    """See `rl.base.Agent`. Seeds side by side share their cells where no cell is drawn."""

    teaches: ClassVar[tuple[str, ...]] = ("cells", "spiking", "mlp", "lsnn", "recurrent_spiking")
    """Networks whose synapses it can teach."""

    def build(self, network: Blueprint) -> None:
        config = self.config
        self.policy = distributions.for_space(self.spec.action_space, config.log_std)
        n_out = self.policy.n_out + 1
        self.network = self._network(network, n_out)
        self.readout = Readout(self.groups, n_out, self.network.width)
        self.dopamine = DopamineGate(config.dopamine, self.groups)
        fade = config.gamma * config.trace
        rule = make_rule(config.rule, config.constants, fade, network.config.ticks)
        self.hidden = HiddenSynapses(self.network, rule, n_out)
        self.moving: MovingCells | None = None
        if config.cells_lr:
            setting = "three_factor.cells_lr"
            self.moving = MovingCells(self.network, config.cells_lr, setting)
        self.requires_grad_(False)

    def _network(self, network: Blueprint, n_out: int) -> Network:
        """The network up to its last hidden layer. Raises ValueError for one that it
        cannot teach.
        """
        config = self.config

        def build() -> Network:
            return build_teachable(self, network, n_out, lambda made: made.teachable)

        each = [seeded(seed, build) for seed in self.seeds]
        if not each[0].plastic and config.rule != "three_factor":
            raise ValueError(
                f"three_factor.rule is {config.rule}, but {network.name} has no hidden synapses "
                "that learn by a rule; spiking, mlp and lsnn have"
            )
        for one in each:
            one.drop_readout()  # the agent's own takes its place
        return shared(each)

    @classmethod
    def batches(cls, spec: base.Spec) -> bool:
        """Seeds learn as one program where only readouts learn, each by weights of its own."""
        return spec.network.name == "cells" and not spec.config.cells_lr

    def prepare(self) -> None:
        super().prepare()
        config = self.config
        self.plastic = Plastic(self.readout, BY_DECISION, bound=config.bound)
        no = torch.zeros(1, dtype=torch.bool, device=self.device)
        obs = torch.zeros(1, self.numbers(), device=self.device)
        self.hidden.prepare(Percept(obs, no, no, no, ~no))
        self.hidden.check(config.rule, self.spec.network.name)
        rates = torch.full((self.policy.n_out + 1,), config.actor_lr, device=self.device)
        rates[-1] = config.critic_lr
        self.rates = rates
        # A number takes twice as long to add as a tensor (measured).
        self.v_0 = torch.tensor(config.initial_value, device=self.device)

    @property
    def decider(self) -> Network:
        return self.network

    def initial_state(self, batch: int) -> ThreeFactorState:
        n_out, n = self.readout.weight.shape[1:]
        zeros = self.readout.weight.new_zeros
        hidden = self.hidden.initial_state(batch)
        lived = Lived(zeros(batch, n), self.network.initial_state(batch), clone(hidden.trails))
        return ThreeFactorState(
            readout=self.plastic.initial_state(batch),
            hidden=hidden,
            lived=lived,
            y=zeros(batch, n_out),
            ready=torch.zeros(batch, dtype=torch.bool, device=self.device),
            noise=zeros(batch, n_out - 1),
            surprise=NORADRENALINE.init(batch, self.device),
        )

    def trained_tensors(self) -> list[Tensor]:
        centres = [] if self.moving is None else [self.moving.code.centres]
        return [self.readout.weight, *self.hidden.weights, *centres]

    def plasticity(self) -> tuple[Plasticity, ...]:
        hidden = self.hidden.plasticity() if self.config.hidden_lr else ()
        return (self.plastic.plasticity("readout"), *hidden)

    # ---------------------------------- a decision

    @torch.no_grad()
    def act(
        self,
        percept: Percept,
        state: ThreeFactorState,
        explore: bool = True,
        probe: Probe | None = None,
    ) -> ActOut:
        lived, y = self._decision(percept, state, probe)
        if probe is not None:
            probe.synapses("readout", self.readout.weight[0], lived.activity)
        ready = torch.zeros_like(state.ready)
        hidden = state.hidden._replace(trails=lived.trails)
        state = state._replace(lived=lived, hidden=hidden, ready=ready)
        out = y[:, :-1]
        value = y[:, -1] + self.v_0
        if not explore:
            return ActOut(self.policy.mode(out), {"value": value}, state)
        noise = self._noise(out, state.noise, percept.reset)
        action = self.policy.sample(out, noise)
        # The signal of each output neuron is its score, the critic's a one.
        signal = nn.functional.pad(self._score(out, action), (0, 1), value=1.0)
        extras = {"x": lived.activity, "signal": signal, "value": value}
        return ActOut(action, extras, state._replace(noise=noise))

    def _decision(
        self, percept: Percept, state: ThreeFactorState, probe: Probe | None
    ) -> tuple[Lived, Tensor]:
        """(the network's decision about a percept, the readout's outputs), those of the last update
        where it has computed them.
        """
        ready = bool(state.ready.all())
        if ready and probe is None:
            return state.lived, state.y
        lived = self._live(percept, state.lived.state, probe)
        if ready:  # computed again for the probe alone
            return state.lived, state.y
        return lived, self.plastic.forward(lived.activity, state.readout)

    def _live(self, percept: Percept, state: State, probe: Probe | None = None) -> Lived:
        """One decision of the network; its activity is divided by its length, so that a step of the
        readout changes outputs by as much wherever the input lies (Carandini & Heeger 2012).
        """
        lived = self.network.live(self.see(percept), state, probe=probe)
        if self.network.unit_activity:
            return lived
        length = torch.linalg.vector_norm(lived.activity, dim=-1, keepdim=True)
        return lived._replace(activity=lived.activity / (length + 1e-9))

    def _noise(self, out: Tensor, last: Tensor, reset: Tensor) -> Tensor:
        """[B, outputs] noise of exploration, drawn anew at every decision or now and then."""
        fresh = self.draw(out, self.policy.noise)
        lasts = self.config.exploration_time
        if lasts <= 1.0:
            return fresh
        uniform = self.draw(reset, lambda x, g: torch.rand(x.shape, generator=g, device=x.device))
        anew = reset | (uniform * lasts < 1.0)
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
        lived = self._live(rollout.next, state.lived.state)
        error = self._error(step, self._next_value(step, lived.activity, state))
        gate = self.dopamine(error.rpe, self.generators, step.valid)
        valid = step.valid if error.valid < len(error.rpe) else None
        signal = step.extras["signal"]
        if valid is not None:
            signal = signal * valid.unsqueeze(-1)
        x = step.extras["x"]
        rates, scaled = self._rates(gate)
        y, readout = self.plastic.step(
            state.readout, x, signal, scaled, lived.activity, rates, error.decay
        )
        hidden = state.hidden
        if self.config.hidden_lr:
            factor = self.config.hidden_lr * self.lr_factor()
            hidden = self.hidden.learn(hidden, signal, gate, step.percept.reset, factor, valid)
        if self.moving is not None:
            self.moving.learn(self.features(step.percept.obs), x, step.valid, self.clock.lived)
        self.features.update(rollout.steps.percept.obs, rollout.steps.valid)
        self.count(step, error.valid, error.ended)
        surprise = state.surprise
        if self.config.reset_on_surprise:
            share = self.config.reset_on_surprise
            surprise = reset_on_surprise(self.readout.weight, surprise, error.rpe, share)
            y = self.plastic.forward(lived.activity, readout)
        state = state._replace(
            readout=readout,
            hidden=hidden,
            lived=lived,
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
        x_last = self._live(last, state.lived.state).activity
        return torch.where(cut, self._value(x_last), value)

    def _error(self, step: Transition, next_value: Tensor) -> TDError:
        """The prediction errors, and what is left of older eligibility. Raises DivergedError."""
        error = td_error(
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
        left = self.lr_factor()
        if isinstance(left, float):
            return self.rates * left, gate
        return self.rates, gate * self.of_rows(left, len(gate))

    def _value(self, x: Tensor) -> Tensor:
        """V [B], the output of the critic's neuron for the activity [B, N]."""
        critic = self.readout.weight[:, -1]
        if self.groups == 1:
            return torch.mv(x, critic[0]) + self.v_0
        return (self.of_rows(critic, len(x)) * x).sum(-1) + self.v_0

    def _metrics(
        self, error: TDError, value: Tensor, gate: Tensor, e: Tensor, rates: Tensor
    ) -> Metrics:
        """The metrics of an update, [G] each where seeds are trained side by side."""
        if self.groups > 1:
            each = {"rpe": error.rpe, "value": value, "abs": error.rpe.abs()}
            return {f"dopamine/{k}": x.view(self.groups, -1).mean(1) for k, x in each.items()}
        return {
            "dopamine/rpe": error.mean,
            "dopamine/value": error.mean_value,
            "dopamine/abs": error.mean_abs,
            "plasticity/eligibility": lambda: e.abs().mean(),
            "plasticity/eligibility_actor": lambda: e[:, :-1].abs().mean(),
            "plasticity/eligibility_critic": lambda: e[:, -1].abs().mean(),
            "plasticity/change": lambda: (
                ((gate.view(-1, 1, 1) * e).sum(0) * rates.unsqueeze(-1)).abs().mean()
            ),
            "plasticity/weight": self.readout.weight.norm,
        }
