"""Reward-modulated Hebbian learning: neurons try a little more or less than usual, and dopamine
keeps what paid.

    u_j = Σ_i w_ji x_i + σ ξ_j,  y_j = tanh u_j      every hidden neuron explores, ξ ~ N(0, 1)
        a ~ π(out)
    e   ← γλ e + s_j x_i
        eligibility (plasticity.three_factor, as kernels.plastic fuses it)
    s_j = ξ_j / σ
        rule three_factor: node perturbation, the synapse knows the noise (Fiete & Seung 2006)
    s_j = (y_j - ȳ_j) / σ²
        rule exploratory_hebb: it knows what y_j has been of late
    s_k = ∂ log π(a) / ∂ out_k
        at the outputs, whose noise is the choice itself: 1[a=k] - π_k, or (a - μ) / σ²
    δ   = r + γ V(s') - V(s)    dopamine (modulators.dopamine);
        V = w_V y, of the activity without the noise
    W   ← W + η δ e             the mean over the environments, which share the weights

ξ/σ is ∂ log p(u) / ∂ u_j: every neuron is an actor, and hidden ones need no error fed back, for the
one δ gives all of them the direction (Williams 1992). On average Δw follows the gradient
of what the network earns; its variance grows with the number of neurons. The critic must not see
the noise, or it would expect what exploration has yet to earn. Legenstein, Chase, Schwartz & Maass
2010; Hoerzer, Legenstein & Maass 2014. With γ = 0, δ = r - V(s): trials of one step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import torch
from torch import Tensor, nn

from bio_rl import modulators
from bio_rl.checks import Between, check_settings, tunable
from bio_rl.connections import BaseConnection
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
    Synapses,
    Transition,
)
from bio_rl.discovery import suggestion
from bio_rl.modulators import Effects, no_effects
from bio_rl.modulators.dopamine import dopamine_rpe
from bio_rl.networks import Blueprint
from bio_rl.parts import Plasticity
from bio_rl.plasticity import Pre
from bio_rl.plasticity.exploratory_hebb import ExploratoryHebb, ExploratoryHebbState
from bio_rl.rl import base, distributions, ranges
from bio_rl.rl.local import BY_DECISION, DopamineGate, build_teachable, check_finite
from bio_rl.rl.schedule import LearningRateSchedule
from bio_rl.state import index

RULES = ("three_factor", "exploratory_hebb")
"""Rules by which hidden synapses may know what their neuron tried."""


@dataclass(frozen=True, kw_only=True)
class Config(LearningRateSchedule):
    gamma: float = tunable(0.99, ranges.DISCOUNT)
    """Discount per decision."""
    trace: float = tunable(0.8, ranges.TRACE)
    """λ: eligibility fades by γλ per decision."""
    rule: str = field(default="three_factor", metadata={"flag": "rule"})
    """Rule of the synapses onto hidden neurons, which says how they know what their neuron tried:
    three_factor reads the noise itself; exploratory_hebb the activity minus its running mean.
    """
    noise: float = tunable(0.3, Between(0.05, 1.0, log=True))
    """σ, standard deviation of the noise in the potential of hidden neurons."""
    tau_mean: float = 4.5
    """Decisions over which exploratory_hebb takes the running mean ȳ. Legenstein 2010, ȳ ← 0.8 ȳ +
    0.2 y.
    """
    hidden_lr: float = tunable(0.001, Between(1e-5, 0.1, log=True))
    """Learning rate of the synapses onto hidden neurons, per unit of dopamine; 0 leaves them as
    they were drawn.
    """
    actor_lr: float = tunable(0.01, ranges.LOCAL)
    """Learning rate of the synapses onto the outputs, per unit of dopamine."""
    critic_lr: float = tunable(0.1, ranges.LOCAL)
    """Learning rate of the critic's synapses: about the share of the error that one step corrects,
    as it is divided by the number of its synapses.
    """
    lr_final: float = tunable(0.1, Between(0.03, 1.0, log=True))
    """Factor of the learning rates at the end of the run."""
    lr_shape: str = "exponential"
    """How the learning rates change: exponential, by the same factor in every step; or linear."""
    readout_gain: float = 0.0
    """Length of the output's weights at first: without any there is no preference."""
    dopamine: str = "rpe"
    """Signal that gates plasticity: rpe, the prediction error; or as controls shuffled, one of some
    other moment, or none.
    """
    modulators: tuple[str, ...] = ()
    """Neuromodulators beside dopamine, each of which sets a meta-parameter of learning (Doya 2002):
    acetylcholine the learning rates, serotonin the discount, noradrenaline the inverse temperature
    of choices.
    """
    normalise_obs: bool = True
    """Running mean and deviation of Box observations."""
    log_std: float = tunable(-0.5, ranges.LOG_STD)
    """Log standard deviation of continuous actions, in half-ranges of the action bounds."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("noise", "tau_mean"),  # without noise nothing is tried
            non_negative=("hidden_lr", "actor_lr", "critic_lr", "readout_gain"),
            unit=("gamma", "trace"),
        )
        if self.rule not in RULES:
            raise ValueError(f"hebbian.rule is {self.rule!r}; {suggestion(self.rule, RULES)}")
        super().__post_init__()


class HebbianState(NamedTuple):
    network: State
    """The network's state."""
    synapses: tuple[PlasticState, ...]
    """Traces of the synapses onto each hidden layer, onto the outputs, onto the critic."""
    means: tuple[ExploratoryHebbState, ...]
    """Running mean of each hidden layer's activity, for exploratory_hebb."""
    modulators: tuple[Any, ...]
    """The states of the modulators beside dopamine."""
    effects: Effects
    """The meta-parameters that these set for the next decision."""


def has_plain_layers(network: Network) -> bool:
    """Whether every hidden layer has one connection alone, from the layer before, so that the noise
    of its neurons is the noise of that connection.
    """
    between = all(_is_between_layers(synapses) for synapses in network.plastic)
    return network.teachable and bool(network.plastic) and between


def _is_between_layers(synapses: Synapses) -> bool:
    # Connections within a layer have a mask: no neuron drives itself. Sparse ones have another.
    connection = synapses.connection
    is_sparse = isinstance(connection, BaseConnection) and connection.between_layers
    return synapses.mask is None or is_sparse


class Agent(base.Agent):
    """See `rl.base.Agent`."""

    flatten = True
    teaches: ClassVar[tuple[str, ...]] = ("mlp", "spiking")
    """Networks whose synapses it can teach."""

    def build(self, network: Blueprint) -> None:
        self.policy = distributions.for_space(self.spec.action_space, self.config.log_std)
        n_out = self.policy.n_out
        gain = self.config.readout_gain
        self.network = build_teachable(self, network, n_out, has_plain_layers, gain)
        self.critic = nn.Linear(self.network.width, 1)
        nn.init.zeros_(self.critic.weight)
        nn.init.zeros_(self.critic.bias)
        self.dopamine = DopamineGate(self.config.dopamine)
        self.modulators = modulators.make(self.config.modulators)
        chooses = isinstance(self.spec.action_space, gym.spaces.Discrete)
        if "noradrenaline" in self.config.modulators and not chooses:
            raise ValueError(
                "noradrenaline sets the inverse temperature of choices, and the action space "
                f"{self.spec.action_space} has none; leave it out of hebbian.modulators"
            )
        self.requires_grad_(False)

    def prepare(self) -> None:
        super().prepare()
        hidden = [Plastic(x.connection, BY_DECISION, mask=x.mask) for x in self.network.plastic]
        outputs = [Plastic(x, BY_DECISION) for x in (self.network.readout, self.critic)]
        self.plastic = (*hidden, *outputs)
        self.running_mean = ExploratoryHebb(tau_mean=self.config.tau_mean)

    @property
    def hidden(self) -> tuple[Plastic, ...]:
        """The connections onto hidden neurons."""
        return self.plastic[:-2]

    def plasticity(self) -> tuple[Plasticity, ...]:
        names = [*(f"hidden {i}" for i in range(1, len(self.hidden) + 1)), "readout", "critic"]
        return tuple(one.plasticity(name) for one, name in zip(self.plastic, names, strict=True))

    @property
    def decider(self) -> Network:
        return self.network

    def initial_state(self, batch: int) -> HebbianState:
        means = []
        if self.config.rule == "exploratory_hebb":
            for plastic in self.hidden:
                shape = plastic.weights.shape
                means.append(self.running_mean.init(batch, *shape, device=self.device))
        like = torch.zeros(batch, device=self.device)
        return HebbianState(
            network=self.network.initial_state(batch),
            synapses=tuple(plastic.initial_state(batch) for plastic in self.plastic),
            means=tuple(means),
            modulators=self.modulators.init(batch, self.device),
            effects=no_effects(like, self.config.gamma),
        )

    def trained_tensors(self) -> list[Tensor]:
        return [plastic.weights for plastic in self.plastic]

    # ---------------------------------- a decision

    @torch.no_grad()
    def act(
        self,
        percept: Percept,
        state: HebbianState,
        explore: bool = True,
        probe: Probe | None = None,
    ) -> ActOut:
        percept = self.see(percept)
        calm = self.network.live(percept, state.network, probe=probe)
        if probe is not None:
            probe.synapses("readout", self.network.readout.weight, calm.activity)
        if not explore:
            out = self.network.readout(calm.activity)
            return ActOut(self.policy.mode(out), {}, state._replace(network=calm.state))
        noise = [self._normal(len(calm.activity), len(x.weights)) for x in self.hidden]
        drive = [self.config.noise * xi for xi in noise]
        noisy = self.network.live(percept, state.network, drive)
        out = self.network.readout(noisy.activity)
        if self.config.modulators:
            out = out * state.effects.inverse_temperature.unsqueeze(-1)
        action = self.policy.sample(out, self.policy.noise(out, self.generator))
        signals, means = self._signals(noisy, noise, state.means, percept.reset)
        signals += [self.policy.score(out, action), torch.ones_like(out[:, :1])]
        # The critic must not see the noise, or it would expect what exploration has yet to earn.
        inputs = [trail.mean()[0].spike for trail in noisy.trails]
        inputs += [noisy.activity, calm.activity]
        extras = {f"x{i}": x for i, x in enumerate(inputs)}
        extras |= {f"signal{i}": signal for i, signal in enumerate(signals)}
        extras["value"] = self._value(calm)
        return ActOut(action, extras, state._replace(network=noisy.state, means=means))

    def _value(self, lived: Lived) -> Tensor:
        """V [B] of the activity of the last hidden layer."""
        return self.critic(lived.activity).squeeze(-1)

    def _normal(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.device).normal_(generator=self.generator)

    def _signals(
        self,
        lived: Lived,
        noise: list[Tensor],
        means: tuple[ExploratoryHebbState, ...],
        reset: Tensor,
    ) -> tuple[list[Tensor], tuple[ExploratoryHebbState, ...]]:
        """(s [B, N] of each hidden layer, their running means). A mean begins with the episode."""
        sigma = self.config.noise
        if self.config.rule == "three_factor":
            return [xi / sigma for xi in noise], means
        signals, after = [], []
        for plastic, trail, before in zip(self.hidden, lived.trails, means, strict=True):
            pre, post = trail.mean()
            start = torch.where(reset.unsqueeze(-1), post.spike, before.mean)
            pre = Pre(plastic.with_bias(pre.spike))
            before = before._replace(mean=start)
            after.append(self.running_mean.trace(before, plastic.weights, pre, post))
            signals.append((post.spike - after[-1].mean) / sigma**2)
        return signals, tuple(after)

    # ---------------------------------- what it was worth

    @torch.no_grad()
    def update(self, rollout: Rollout, state: HebbianState) -> tuple[HebbianState, Metrics]:
        step = index(rollout.steps, 0)
        value = step.extras["value"]
        rpe = self._error(step, state)
        check_finite(float(rpe.sum()), "hebbian", ("critic_lr", "hidden_lr"))
        gate = self.dopamine(rpe, self.generators, step.valid)
        state = self._modulated(state, rpe, step.reward)
        if self.config.modulators:
            gate = gate * state.effects.learning_rate
        fade = self.config.gamma * self.config.trace * ~step.percept.reset
        synapses = []
        for i, (plastic, rate) in enumerate(zip(self.plastic, self._rates(), strict=True)):
            x = step.extras[f"x{i}"]
            signal = step.extras[f"signal{i}"] * step.valid.unsqueeze(-1)
            _, after = plastic.step(
                state.synapses[i], x, signal, gate, x, lr=rate / len(rpe), decay=fade
            )
            synapses.append(after)
        self.features.update(rollout.steps.percept.obs, rollout.steps.valid)
        ended = (step.terminated | step.truncated) & step.valid
        self.count(step, int(step.valid.sum()), int(ended.sum()))
        metrics: Metrics = {
            "dopamine/rpe": rpe.mean(),
            "dopamine/value": value.mean(),
            "dopamine/abs": rpe.abs().mean(),
        }
        return state._replace(synapses=tuple(synapses)), metrics

    def _modulated(self, state: HebbianState, rpe: Tensor, reward: Tensor) -> HebbianState:
        """The state with the effects of all modulators on the next decision."""
        if not self.config.modulators:
            return state
        effects, after = self.modulators.step(
            state.modulators, rpe, reward, self.config.gamma, self.generator
        )
        return state._replace(modulators=after, effects=effects)

    def _error(self, step: Transition, state: HebbianState) -> Tensor:
        """δ [B], zero in rows that are not valid, from the true final observation."""
        no = torch.zeros_like(step.terminated)
        last = Percept(step.final_obs, step.action, step.reward, no, no)
        next_value = self._value(self.network.live(self.see(last), state.network))
        gamma = state.effects.discount if self.config.modulators else self.config.gamma
        rpe = dopamine_rpe(step.reward, step.extras["value"], next_value, step.terminated, gamma)
        return rpe * step.valid

    def _rates(self) -> list[float]:
        """η of each connection, in the order of `HebbianState.synapses`."""
        c = self.config
        left = c.lr_factor(self.clock.lived)
        critic = c.critic_lr / (self.network.width + 1)
        return [left * c.hidden_lr] * len(self.hidden) + [left * c.actor_lr, left * critic]
