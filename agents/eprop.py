"""Reward-based e-prop: a recurrent spiking network that learns from dopamine, forwards in time,
synapse by synapse.

    out = W_π x,  V = W_V x       x: low-passed spikes of LIF and ALIF neurons (networks.lsnn)
        a ~ π(out)
    L_j = -c_V B^V_j - Σ_k B^π_jk ∂ log π(a) / ∂ out_k
        learning signal, through feedback weights (modulators.feedback)
    f   ← γλ f + L_j ē_ji
        ē: eligibility of the synapses, from the input and between neurons (plasticity.eprop)
    e   ← γλ e + s_k x_j
        of the readout's: s = ∂ log π(a) / ∂ out_k for the actor, c_V for the critic
    δ   = r + γ V(s') - V(s)      dopamine (modulators.dopamine)
    ΔW  ∝ -δ f - c_r (f_j - f*)/f* ē      ΔW_out ∝ δ e

With symmetric feedback and λ = 1 it is the gradient of the actor-critic's loss, without what flows
back through other neurons. f_j, the neuron's own mean rate, is drawn to f* so that it neither falls
silent nor fires always. Bellec et al. 2020, Nature Communications 11, methods, "reward-based
e-prop". The lives of a batch share the weights, which change by the mean over them. Dopamine for a
decision comes with the value of what followed, at the next decision, and at once where an episode
ends; a time limit bootstraps from the final observation.

With `learns` values the outputs are the actions' values instead, s_k = 1[k = a], V = Q_a, and a ~
softmax(Q / T): Sarsa. A confident mistake then teaches most, while a policy that is sure of a
mistake hardly tries what would correct it. With `error` outcome dopamine comes once, at an
episode's end, and compares the sum of its rewards with what the last decision had expected (the
trial-wise error of Rescorla & Wagner 1972): for trials whose last decision alone counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import gymnasium as gym
import torch
from torch import Tensor, nn

from bio_rl.checks import Among, Between, check_settings, tunable
from bio_rl.connections._plastic import Trail
from bio_rl.contracts import ActOut, Metrics, Network, Percept, Probe, Rollout, State, Transition
from bio_rl.discovery import suggestion
from bio_rl.modulators.dopamine import dopamine_rpe
from bio_rl.modulators.feedback import KINDS, Feedback, FeedbackState
from bio_rl.networks import Blueprint
from bio_rl.parts import Plasticity
from bio_rl.plasticity import Post
from bio_rl.plasticity.eprop import EPropState
from bio_rl.rl import base, distributions, ranges
from bio_rl.rl.eprop_synapses import Dopamine, EPropSynapses, has_spiking_memory
from bio_rl.rl.local import DopamineGate, build_teachable, check_finite
from bio_rl.rl.schedule import LearningRateSchedule
from bio_rl.state import index

LEARNS = ("policy", "values")
ERRORS = ("td", "outcome")
OPTIMISERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
CHOICES = {"optimiser": OPTIMISERS, "feedback": KINDS, "learns": LEARNS, "error": ERRORS}


@dataclass(frozen=True, kw_only=True)
class Config(LearningRateSchedule):
    learns: str = "policy"
    """Meaning of the outputs: policy, with a critic beside it; or values, those of a Discrete
    space's actions.
    """
    temperature: float = 1.0
    """T, temperature of the softmax over values that explores, in units of return."""
    error: str = "td"
    """Prediction error that dopamine carries: td, each decision's; outcome, an episode's at its
    end, of the sum of its rewards.
    """
    dopamine: str = "rpe"
    """Signal that gates plasticity: rpe, the prediction error; or as controls shuffled, one of some
    other moment, or none.
    """
    gamma: float = tunable(0.99, ranges.DISCOUNT)
    """Discount per decision."""
    trace: float = tunable(0.9, ranges.TRACE)
    """λ: eligibility fades by γλ per decision; 1 as published."""
    lr: float = tunable(0.005, ranges.ADAM)
    """Learning rate of the synapses from the input and between neurons; 0 leaves them as they were
    drawn.
    """
    readout_lr: float = tunable(0.005, ranges.ADAM)
    """Learning rate of the synapses onto the outputs."""
    readout_gain: float = 0.0
    """Length of the readout's weights at first: without any, there is no noise in values and no
    preference.
    """
    optimiser: str = "adam"
    """adam, whose mean and variance each synapse keeps of its own changes, as published; or sgd."""
    update_every: int = 1
    """Decisions between two changes of the weights, by the sum of their gradients."""
    lr_shape: str = "exponential"
    """How the learning rates change: exponential, by the same factor in every step; or linear."""
    critic_weight: float = 0.5
    """c_V, weight of the critic's part of the loss."""
    entropy: float = tunable(0.0, Among((0.0, 0.001, 0.003, 0.01, 0.03)))
    """c_H, weight of a bonus for the policy's entropy."""
    feedback: str = "random"
    """Weights that feed the outputs' errors back to neurons: random, symmetric or adaptive."""
    feedback_decay: float = 0.0
    """Adaptive: the part of the feedback's and the readout's weights that is lost at each
    change.
    """
    rate: float = 10.0
    """f*, target of the mean rate, Hz."""
    rate_weight: float = tunable(0.1, Between(0.003, 1.0, log=True))
    """c_r, weight of the pull towards f*."""
    normalise_obs: bool = False
    """Running mean and deviation of Box observations. Spike counts and pictures are better left as
    they are.
    """
    log_std: float = tunable(-0.5, ranges.LOG_STD)
    """Log standard deviation of continuous actions, in half-ranges of the action bounds."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("update_every", "rate", "temperature"),
            non_negative=(
                "lr",
                "readout_lr",
                "readout_gain",
                "critic_weight",
                "entropy",
                "rate_weight",
            ),
            unit=("gamma", "trace", "feedback_decay"),
        )
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"eprop.{name} is {value!r}; {suggestion(value, known)}")
        super().__post_init__()


class EPropAgentState(NamedTuple):
    network: State
    """The network's state."""
    hidden: tuple[EPropState, ...]
    """Traces of the synapses onto neurons, for each connection."""
    readout: Tensor
    """[B, outputs + 1, N + 1] eligibility of those onto the outputs, the critic's and the bias
    last.
    """
    pending: Tensor
    """[B] r - V of the last decision, to which dopamine adds γ V of the next state; or, with error
    outcome, the return of the episode so far.
    """
    open: Tensor
    """[B] bool: the episode goes on, so that dopamine is still to come."""


class Errors(NamedTuple):
    """Prediction errors that a decision brings, [B] each."""

    before: Tensor
    """Those of the decision before, now that the value of the next state is known."""
    last: Tensor
    """Those of this decision where it ended its episode."""
    pending: Tensor
    """`EPropAgentState.pending` from now on."""


class Agent(base.Agent):
    """See `rl.base.Agent`."""

    flatten = True
    teaches: ClassVar[tuple[str, ...]] = ("lsnn", "recurrent_spiking")
    """Networks whose synapses it can teach."""

    def build(self, network: Blueprint) -> None:
        c, action_space = self.config, self.spec.action_space
        self.policy = distributions.for_space(action_space, c.log_std)
        if c.learns == "values" and not isinstance(action_space, gym.spaces.Discrete):
            raise ValueError(
                f"action space {action_space} has no list of values; "
                "--eprop.learns policy serves it"
            )
        n_out = self.policy.n_out + 1
        self.network = build_teachable(self, network, n_out, has_spiking_memory, c.readout_gain)
        self.feedback = Feedback(c.feedback, c.feedback_decay)
        b = self.feedback.init(self.network.readout.weight.detach()).b
        self.b = nn.Buffer(torch.empty(0) if isinstance(b, tuple) else b)
        """[N, outputs + 1] feedback weights; empty where they are the readout's."""
        settings = network.config
        fade = c.gamma * c.trace
        self.hidden = EPropSynapses(self.network, fade, settings.tau_out, settings.ticks, c.rate)
        self.since = nn.Buffer(torch.zeros((), dtype=torch.int64))
        """Decisions since the weights last changed."""
        self.dopamine = DopamineGate(c.dopamine)
        self.requires_grad_(False)

    def prepare(self) -> None:
        super().prepare()
        c, readout = self.config, self.network.readout
        hidden_weights = self.hidden.weights
        self.weights = [*hidden_weights, readout.weight, readout.bias]
        numel = sum(w.numel() for w in self.weights)
        self.gradient = nn.Buffer(torch.zeros(numel, device=self.device))
        """Sum of the gradients of all weights since their last change, in one flat tensor."""
        # The optimiser's gradients are views of it.
        parts = self.gradient.split([w.numel() for w in self.weights])
        for w, part in zip(self.weights, parts, strict=True):
            w.grad = part.view_as(w)
        hidden = {"params": hidden_weights, "lr": c.lr}
        outputs = {"params": self.weights[-2:], "lr": c.readout_lr}
        self.optimisers["synapses"] = OPTIMISERS[c.optimiser]([hidden, outputs])

    @property
    def decider(self) -> Network:
        return self.network

    def initial_state(self, batch: int) -> EPropAgentState:
        shape = batch, self.policy.n_out + 1, self.network.width + 1
        readout = torch.zeros(shape, device=self.device)
        return EPropAgentState(
            network=self.network.initial_state(batch),
            hidden=self.hidden.initial_state(batch),
            readout=readout,
            pending=readout.new_zeros(batch),
            open=torch.zeros(batch, dtype=torch.bool, device=self.device),
        )

    def trained_tensors(self) -> list[Tensor]:
        return [*self.weights, self.gradient]

    def plasticity(self) -> tuple[Plasticity, ...]:
        writes = 1.0 / self.config.update_every
        hidden = self.hidden.plasticity(self.spec.network.config.ticks, writes)
        readout = sum(w.numel() for w in self.weights[-2:])
        # adam keeps the mean and the variance of every weight's changes
        kept = 2 * self.gradient.numel() if self.config.optimiser == "adam" else 0
        own = Plasticity("readout", readout, readout + kept, 1, writes)
        return (*hidden, own)

    # ---------------------------------- a decision

    @torch.no_grad()
    def act(
        self,
        percept: Percept,
        state: EPropAgentState,
        explore: bool = True,
        probe: Probe | None = None,
    ) -> ActOut:
        lived = self.network.live(self.see(percept), state.network, probe=probe)
        state = state._replace(network=lived.state)
        if probe is not None:
            probe.synapses("readout", self.network.readout.weight, lived.activity)
        y = self.network.readout(lived.activity)
        out = y[:, :-1]
        if not explore:
            return ActOut(self.policy.mode(out), {}, state)
        noise = self.policy.noise(out, self.generator)
        decide = self._by_values if self.config.learns == "values" else self._by_policy
        action, signals = decide(y, noise)
        post = lived.trails[0].post
        sides = {f"pre{i}": trail.pre for i, trail in enumerate(lived.trails)}
        sides |= {"psi": post.psi, "spikes": post.spike}
        return ActOut(action, {"x": lived.activity, **signals, **sides}, state)

    def _by_values(self, y: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(an action by the softmax of its value, the signals of the outputs)."""
        values = y[:, :-1]
        action = self.policy.sample(values / self.config.temperature, noise)
        chosen = nn.functional.one_hot(action, self.policy.n_out).to(values.dtype)
        score = torch.cat((chosen, torch.zeros_like(y[:, -1:])), -1)
        value = (chosen * values).sum(-1)
        return action, {"score": score, "drift": torch.zeros_like(y), "value": value}

    def _by_policy(self, y: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(an action of the policy, the signals of the outputs and the critic)."""
        out, none = y[:, :-1], torch.zeros_like(y[:, -1:])
        action = self.policy.sample(out, noise)
        score = torch.cat((self.policy.score(out, action), none + self.config.critic_weight), -1)
        drift = torch.cat((self.config.entropy * self.policy.entropy_score(out), none), -1)
        return action, {"score": score, "drift": drift, "value": y[:, -1]}

    # ---------------------------------- what it was worth

    @torch.no_grad()
    def update(self, rollout: Rollout, state: EPropAgentState) -> tuple[EPropAgentState, Metrics]:
        step = index(rollout.steps, 0)
        valid, extras = step.valid, step.extras
        score = extras["score"] * valid.unsqueeze(-1)
        drift = extras["drift"] * valid.unsqueeze(-1)
        cut = valid & (step.terminated | step.truncated)
        errors = self._errors(step, cut, state)
        error = errors.before + errors.last
        check_finite(float(error.sum()), "eprop", ("readout_lr", "lr"))
        dopamine = Dopamine(
            self.dopamine(errors.before, self.generators, state.open),
            self.dopamine(errors.last, self.generators, cut),
        )
        hidden = self._hidden(state.hidden, step, score, drift, dopamine)
        readout = self._readout(state.readout, step, score, drift, dopamine)
        self.features.update(rollout.steps.percept.obs, rollout.steps.valid)
        self.count(step, int(valid.sum()), int(cut.sum()))
        self.since += 1
        if int(self.since) >= self.config.update_every:
            self._change()
        metrics: Metrics = {
            "dopamine/rpe": error.mean(),
            "dopamine/value": extras["value"].mean(),
            "dopamine/abs": error.abs().mean(),
            "spikes/rate_hz": self.hidden.rate.mean(),
        }
        state = EPropAgentState(state.network, hidden, readout, errors.pending, valid & ~cut)
        return state, metrics

    def _errors(self, step: Transition, cut: Tensor, state: EPropAgentState) -> Errors:
        """The prediction errors that are known by now; cut [B] bool, where an episode ended."""
        c, value, reward = self.config, step.extras["value"], step.reward
        none = torch.zeros_like(value)
        if c.error == "outcome":
            pending = torch.where(state.open, state.pending, 0.0) + reward * step.valid
            return Errors(none, torch.where(cut, pending - value, 0.0), pending)
        before = torch.where(state.open, state.pending + c.gamma * value, 0.0)
        last = none
        if bool(cut.any()):
            next_value = none
            if bool((cut & ~step.terminated).any()):
                next_value = self._final_value(step, state.network)
            rpe = dopamine_rpe(reward, value, next_value, step.terminated, c.gamma)
            last = torch.where(cut, rpe, 0.0)
        return Errors(before, last, reward - value)

    def _hidden(
        self,
        states: tuple[EPropState, ...],
        step: Transition,
        score: Tensor,
        drift: Tensor,
        dopamine: Dopamine,
    ) -> tuple[EPropState, ...]:
        """The traces after the decision for which the outputs have this score [B, outputs + 1]; the
        gradient grows by δ f.
        """
        c, extras, lives = self.config, step.extras, len(step.valid)
        weight = self.hidden.count(extras["spikes"], step.valid)
        pull = c.rate_weight * (self.hidden.rate / c.rate - 1.0) * weight.unsqueeze(-1)
        signal = self._feed_back(-score)
        if c.entropy:
            pull = pull + self._feed_back(-drift) / lives
        post = Post(extras["spikes"], psi=extras["psi"])
        trails = [Trail(extras[f"pre{i}"], post) for i in range(len(states))]
        unit = self.network.activity_unit
        means = Dopamine(dopamine.before / lives, dopamine.after / lives)
        return self.hidden.learn(
            states, trails, unit * signal, unit * pull, ~step.percept.reset, means
        )

    def _feed_back(self, error: Tensor) -> Tensor:
        """[B, N] learning signal of the neurons by an error [B, outputs + 1]."""
        return self.feedback.signal(self._feedback_state(), self.network.readout.weight, error)

    def _readout(
        self, e: Tensor, step: Transition, score: Tensor, drift: Tensor, dopamine: Dopamine
    ) -> Tensor:
        """As `_hidden`, of the synapses onto the outputs: ΔW_out = δ e."""
        fade = self.config.gamma * self.config.trace * ~step.percept.reset
        x = step.extras["x"]
        with_bias = torch.cat((x, torch.ones_like(x[:, :1])), -1)
        new = torch.baddbmm(fade.view(-1, 1, 1) * e, score.unsqueeze(2), with_bias.unsqueeze(1))
        change = dopamine.before @ e.flatten(1) + dopamine.after @ new.flatten(1)
        change = (change.view(e.shape[1:]) + drift.T @ with_bias) / len(x)
        weight, bias = (w.grad for w in self.weights[-2:])
        weight -= change[:, :-1]
        bias -= change[:, -1]
        return new

    def _change(self) -> None:
        """The weights change along the gradient, which starts again from zero."""
        optimiser, left = self.optimisers["synapses"], self.lr_factor()
        rates = (self.config.lr, self.config.readout_lr)
        for group, lr in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = lr * left
        self.hidden.mask()
        readout = self.network.readout.weight
        before = readout.clone()
        optimiser.step()
        after, state = self.feedback.step(self._feedback_state(), before, readout - before)
        readout.copy_(after)
        if not isinstance(state.b, tuple):
            self.b.copy_(state.b)
        self.gradient.zero_()
        self.since.zero_()

    def _feedback_state(self) -> FeedbackState:
        return FeedbackState(self.b if self.b.numel() else ())

    def _final_value(self, step: Transition, state: State) -> Tensor:
        """V [B] of the final observation, from a state that goes no further."""
        no = torch.zeros_like(step.terminated)
        last = Percept(step.final_obs, step.action, step.reward, no, no)
        y = self.network.readout(self.network.live(self.see(last), state).activity)
        if self.config.learns == "values":
            return (y[:, :-1] * (y[:, :-1] / self.config.temperature).softmax(-1)).sum(-1)
        return y[:, -1]
