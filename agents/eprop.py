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
mistake hardly tries what would correct it. With `dopamine` outcome it comes once, at an episode's
end, and compares the sum of its rewards with what the last decision had expected (the trial-wise
error of Rescorla & Wagner 1972): for trials whose last decision alone counts.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from torch import Tensor, nn

from bio_rl import contracts, seeding
from bio_rl.checks import check_settings
from bio_rl.contracts import ActOut, Metrics, Percept, Probe, Rollout, Steps
from bio_rl.kernels.eprop import eprop_decision
from bio_rl.modulators.dopamine import dopamine_rpe
from bio_rl.modulators.feedback import KINDS, Feedback, FeedbackState
from bio_rl.networks import Blueprint
from bio_rl.networks.lsnn import LSNNState, Trail
from bio_rl.plasticity.eprop import EProp, EPropState
from bio_rl.rl import distributions
from bio_rl.rl.clock import Clock, Horizon
from bio_rl.rl.observations import Features
from bio_rl.rl.rebuild import recipe
from bio_rl.state import index

NETWORKS = ("lsnn",)
"""What it can teach: the rule's traces are those of these neurons."""
RATE_TAU = 2000.0
"""ms over which a neuron's own rate is measured: about a trial."""
LEARNS = ("policy", "values")
DOPAMINE = ("td", "outcome")
MOMENTS = 1024
"""Of the past, from which shuffled dopamine is drawn."""
OPTIMISERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


@dataclass(frozen=True, kw_only=True)
class Config:
    learns: str = "policy"
    """What the outputs are: a policy, with a critic beside it; or the values of a Discrete space's
    actions.
    """
    temperature: float = 1.0
    """T, of the softmax over values that explores, in units of return."""
    dopamine: str = "td"
    """td: at every decision; outcome: at the end of an episode, for all that it earned."""
    shuffled: bool = False
    """As a control, dopamine is that of some other moment."""
    gamma: float = 0.99
    """Discount per decision."""
    trace: float = 0.9
    """λ: what a decision is credited with fades by γλ per decision; 1 as published."""
    lr: float = 0.005
    """Of the synapses from the input and between neurons; 0 leaves them as they were drawn."""
    readout_lr: float = 0.005
    """Of the synapses onto the outputs."""
    readout_gain: float = 0.0
    """Length of the readout's weights at first: without any, there is no noise in values and no
    preference.
    """
    optimiser: str = "adam"
    """adam, whose mean and variance each synapse keeps of its own changes, as published; or sgd."""
    interval: int = 1
    """Decisions between two changes of the weights, which are the sum of what all of them ask for."""
    anneal: float = 1.0
    """Both learning rates fall exponentially to this share of themselves over the run."""
    critic_weight: float = 0.5
    """c_V, of the critic's part."""
    entropy: float = 0.0
    """c_H, of a bonus for the policy's entropy."""
    feedback: str = "random"
    """How neurons hear of the outputs' errors: random, symmetric or adaptive weights."""
    feedback_decay: float = 0.0
    """Adaptive: the part of the feedback's and the readout's weights that is lost at each change."""
    rate: float = 10.0
    """f*, Hz."""
    rate_weight: float = 0.1
    """c_r, of the pull towards f*."""
    normalise_obs: bool = False
    """Running mean and deviation of Box observations. Spike counts and pictures are better left as
    they are.
    """
    log_std: float = -0.5
    """Log standard deviation of continuous actions, in half-ranges of the action bounds."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("interval", "rate", "temperature"),
            non_negative=(
                "lr",
                "readout_lr",
                "readout_gain",
                "critic_weight",
                "entropy",
                "rate_weight",
            ),
            unit=("gamma", "trace", "anneal", "feedback_decay"),
        )
        for name, known in (
            ("optimiser", OPTIMISERS),
            ("feedback", KINDS),
            ("learns", LEARNS),
            ("dopamine", DOPAMINE),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"eprop.{name} is {getattr(self, name)!r}; known: {', '.join(known)}"
                )


class EPropAgentState(NamedTuple):
    network: LSNNState
    hidden: EPropState
    """Traces of the synapses onto neurons."""
    readout: Tensor
    """[B, outputs + 1, N + 1] eligibility of those onto the outputs, the critic's and the bias
    last.
    """
    owed: Tensor
    """[B] r - V of the last decision, whose dopamine comes with the value of what followed; or what
    the episode has earned.
    """
    open: Tensor
    """[B] bool: the episode goes on, so that dopamine is still to come."""


class Agent(nn.Module, contracts.Agent):
    """See `types.Agent`."""

    def __init__(
        self,
        config: Config,
        network: Blueprint,
        observation_space: gym.Space,
        action_space: gym.Space,
        *,
        horizon: Horizon,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """horizon: when the learning rates have fallen. Raises ValueError for an unserved space."""
        super().__init__()
        self.config, self.seed = config, seed
        self.made_from = config, network, observation_space, action_space
        self.generator = seeding.generator(seed, device)
        with seeding.drawing_from(seed):
            self.features = Features(observation_space, config.normalise_obs, flatten=True)
            self.policy = distributions.for_space(action_space, config.log_std)
            if not isinstance(self.features.size, int):
                raise ValueError(
                    f"observation space {observation_space} cannot be served: eprop looks at numbers and pictures"
                )
            if config.learns == "values" and not isinstance(action_space, gym.spaces.Discrete):
                raise ValueError(
                    f"action space {action_space} has no list of values; --eprop.learns policy serves it"
                )
            self.network = network.build(
                self.features.size, self.policy.n_out + 1, config.readout_gain
            )
            self.feedback = Feedback(config.feedback, config.feedback_decay)
            b = self.feedback.init(self.network.readout.weight.detach()).b
        self.b = nn.Buffer(torch.empty(0) if isinstance(b, tuple) else b)
        """[N, outputs + 1] feedback weights; empty where they are the readout's."""
        self.rate = nn.Buffer(torch.full((self.network.n,), config.rate))
        """[N] mean rate of each neuron, Hz."""
        self.since = nn.Buffer(torch.zeros((), dtype=torch.int64))
        """Decisions since the weights last changed."""
        if config.shuffled:
            self.past = nn.Buffer(torch.zeros(MOMENTS))
        self.clock = Clock(horizon)
        self.requires_grad_(False)
        self.to(device)
        self.device = torch.device(device)
        self.weights = [self.network.weight, self.network.readout.weight, self.network.readout.bias]
        self.asked = nn.Buffer(
            torch.zeros(sum(w.numel() for w in self.weights), device=self.device)
        )
        """Minus the changes that the weights have been asked for since."""
        parts = self.asked.split([w.numel() for w in self.weights])
        for w, part in zip(self.weights, parts, strict=True):
            w.grad = part.view_as(w)
        groups = [
            {"params": self.weights[:1], "lr": config.lr},
            {"params": self.weights[1:], "lr": config.readout_lr},
        ]
        self.optimiser = OPTIMISERS[config.optimiser](groups)
        self.rule = self._rule()
        self.spare: tuple[EPropState | None, EPropState | None] = (None, None)
        """The traces of two updates ago, whose memory is used again, and the last ones."""
        self.rollout = Steps(1)

    def initial_state(self, batch: int) -> EPropAgentState:
        inside = self.network.initial_state(batch)
        hidden = self.rule.init(batch, *self.network.weight.shape, device=self.device)
        readout = torch.zeros(batch, self.policy.n_out + 1, self.network.n + 1, device=self.device)
        never = torch.zeros(batch, dtype=torch.bool, device=self.device)
        return EPropAgentState(inside, hidden, readout, readout.new_zeros(batch), never)

    @torch.no_grad()
    def act(
        self,
        percept: Percept,
        state: EPropAgentState,
        explore: bool = True,
        probe: Probe | None = None,
    ) -> ActOut:
        inside, trail = self.network.run(
            self.features(percept.obs), percept.reset, state.network, probe
        )
        state = state._replace(network=inside)
        if probe is not None:
            probe.synapses("readout", self.network.readout.weight, inside.x)
        y = self.network.readout(inside.x)
        out = y[:, :-1]
        if not explore:
            return ActOut(self.policy.mode(out), {}, state)
        noise = self.policy.noise(out, self.generator)
        none = torch.zeros_like(y[:, -1:])
        if self.config.learns == "values":
            action = self.policy.sample(out / self.config.temperature, noise)
            chosen = nn.functional.one_hot(action, self.policy.n_out).to(out.dtype)
            score, drift, value = (
                torch.cat((chosen, none), -1),
                torch.zeros_like(y),
                (chosen * out).sum(-1),
            )
        else:
            action = self.policy.sample(out, noise)
            score = torch.cat(
                (self.policy.score(out, action), none + self.config.critic_weight), -1
            )
            drift, value = (
                torch.cat((self.config.entropy * self.policy.entropy_score(out), none), -1),
                y[:, -1],
            )
        trail = {name: x.transpose(0, 1) for name, x in trail._asdict().items()}
        return ActOut(
            action, {"x": inside.x, "score": score, "drift": drift, "value": value, **trail}, state
        )

    @torch.no_grad()
    def update(self, rollout: Rollout, state: EPropAgentState) -> tuple[EPropAgentState, Metrics]:
        c, steps = self.config, rollout.steps
        reward, valid, reset = steps.reward[0], steps.valid[0], steps.percept.reset[0]
        terminated, truncated = steps.terminated[0], steps.truncated[0]
        extras = index(steps.extras, 0)
        value, score, drift = (
            extras["value"],
            *(extras[name] * valid.unsqueeze(-1) for name in ("score", "drift")),
        )
        trail = Trail(*(extras[name].transpose(0, 1) for name in Trail._fields))

        rpe, last = (
            torch.zeros_like(value),
            torch.zeros_like(value),
        )  # for the decision before, and for this one
        cut = valid & (terminated | truncated)
        if c.dopamine == "outcome":
            owed = torch.where(state.open, state.owed, 0.0) + reward * valid
            last = torch.where(cut, owed - value, 0.0)
        else:
            owed = reward - value
            rpe = torch.where(state.open, state.owed + c.gamma * value, 0.0)
            if bool(cut.any()):
                beyond = self._value_beyond(
                    index(steps.final_obs, 0), state.network, bool((cut & ~terminated).any())
                )
                last = torch.where(
                    cut, dopamine_rpe(reward, value, beyond, terminated, c.gamma), 0.0
                )
        gate, gate_last = rpe, last
        if c.shuffled:
            gate, gate_last = (
                self._of_other_moments(rpe, state.open),
                self._of_other_moments(last, cut),
            )
        hidden = self._hidden(state.hidden, trail, score, drift, ~reset, gate, gate_last, valid)
        readout = self._readout(state.readout, extras["x"], score, drift, ~reset, gate, gate_last)
        self.features.update(steps.percept.obs, steps.valid)
        self.clock.count(int(valid.sum()), int(cut.sum()))
        self.since += 1
        if int(self.since) >= c.interval:
            self._change()
        metrics = {
            "dopamine/rpe": (rpe + last).mean(),
            "dopamine/value": value.mean(),
            "dopamine/abs": (rpe + last).abs().mean(),
            "spikes/rate_hz": self.rate.mean(),
        }
        return EPropAgentState(state.network, hidden, readout, owed, valid & ~cut), metrics

    def __reduce__(self) -> Any:
        return recipe(
            self, self.made_from, horizon=self.clock.horizon, seed=self.seed, device=self.device
        )

    def trained_tensors(self) -> list[Tensor]:
        return [*self.weights, self.asked]

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {
            "modules": super().state_dict(*args, **kwargs),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any], *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        super().load_state_dict(copy.deepcopy(state["modules"]), *args, **kwargs)
        self.optimiser.load_state_dict(
            copy.deepcopy(state["optimiser"])
        )  # it would keep the very tensors
        if (
            state["generator"].shape == self.generator.get_state().shape
        ):  # another device's cannot go on; evaluating needs none
            self.generator.set_state(state["generator"])

    def _rule(self) -> EProp:
        """The rule for the neurons of the network; f fades by γλ in a decision."""
        n, fade = self.network.config, self.config.gamma * self.config.trace
        tau_gamma = (
            0.0 if fade == 0 else math.inf if fade == 1 else -n.ticks * n.dt / math.log(fade)
        )
        beta = self.network.beta if n.alif and n.beta else 0.0
        return EProp(n.tau_mem, n.tau_out, beta, n.tau_adapt, tau_gamma)

    def _hidden(
        self, s: EPropState, trail: Trail, score: Tensor, drift: Tensor, goes_on: Tensor,
        before: Tensor, after: Tensor, valid: Tensor,
    ) -> EPropState:  # fmt: skip
        """The traces after the decision for which the outputs have this score [B, outputs + 1]; ΔW
        = -δ f is asked for.

        Dopamine `before` [B] is for the decision before, and meets the traces as that one left
        them; `after` is for this one.
        """
        c, n = self.config, self.network.config
        share = valid / valid.sum().clamp(min=1)
        self.rate.lerp_(
            1000.0 / n.dt * (share @ trail.spikes.mean(0)),
            1.0 - math.exp(-n.ticks * n.dt / RATE_TAU),
        )
        pull = c.rate_weight * (self.rate / c.rate - 1.0) * share.unsqueeze(-1)
        signal = self.feedback.signal(self._feedback_state(), self.network.readout.weight, -score)
        if c.entropy:
            pull = pull + self.feedback.signal(
                self._feedback_state(), self.network.readout.weight, -drift
            ) / len(valid)
        unit = (
            1.0 / (1.0 - math.exp(-n.dt / n.tau_out)) if n.tau_out else 1.0
        )  # x counts spikes, the rule averages them
        lives = len(valid)
        memory = (
            self.spare[0] if self.spare[1] is s else None
        )  # fresh memory costs more than the arithmetic
        new = eprop_decision(
            self.rule, s, trail.pre, trail.psi, unit * signal, goes_on.to(score.dtype), before / lives, after / lives,
            unit * pull, self.weights[0].grad, n.dt, out=memory,
        )  # fmt: skip
        self.spare = (s if self.spare[1] is s else None, new)
        return new

    def _readout(
        self,
        e: Tensor,
        x: Tensor,
        score: Tensor,
        drift: Tensor,
        goes_on: Tensor,
        before: Tensor,
        after: Tensor,
    ) -> Tensor:
        """As `_hidden`, of the synapses onto the outputs: ΔW_out = δ e."""
        fade = self.config.gamma * self.config.trace * goes_on
        with_bias = torch.cat((x, torch.ones_like(x[:, :1])), -1)
        new = torch.baddbmm(fade.view(-1, 1, 1) * e, score.unsqueeze(2), with_bias.unsqueeze(1))
        change = (before @ e.flatten(1) + after @ new.flatten(1)).view(e.shape[1:])
        change = (change + drift.T @ with_bias) / len(x)
        _, weight, bias = (w.grad for w in self.weights)
        weight -= change[:, :-1]
        bias -= change[:, -1]
        return new

    def _of_other_moments(self, rpe: Tensor, here: Tensor) -> Tensor:
        """[B] dopamine drawn from the last MOMENTS times that it came, where it comes now; here:
        [B] bool.
        """
        self.past = torch.cat((self.past, rpe[here]))[-MOMENTS:]
        drawn = self.past[
            torch.randint(MOMENTS, rpe.shape, generator=self.generator, device=self.device)
        ]
        return torch.where(here, drawn, 0.0)

    def _change(self) -> None:
        """The weights change by what they were asked for."""
        for group, lr in zip(
            self.optimiser.param_groups, (self.config.lr, self.config.readout_lr), strict=True
        ):
            group["lr"] = lr * self.config.anneal**self.clock.lived
        self.weights[0].grad *= self.network.mask
        readout = self.network.readout.weight
        before = readout.clone()
        self.optimiser.step()
        after, state = self.feedback.step(self._feedback_state(), before, readout - before)
        readout.copy_(after)
        if not isinstance(state.b, tuple):
            self.b.copy_(state.b)
        self.asked.zero_()
        self.since.zero_()

    def _feedback_state(self) -> FeedbackState:
        return FeedbackState(self.b if self.b.numel() else ())

    def _value_beyond(self, obs: Any, state: LSNNState, needed: bool) -> Tensor:
        """V [B] of the final observation, from a state that goes no further; zero where every end
        was a termination.
        """
        batch = len(state.x)
        never = torch.zeros(batch, dtype=torch.bool, device=self.device)
        if not needed:
            return state.x.new_zeros(batch)
        beyond, _ = self.network.run(self.features(obs), never, state)
        y = self.network.readout(beyond.x)
        if self.config.learns == "values":
            return (y[:, :-1] * (y[:, :-1] / self.config.temperature).softmax(-1)).sum(-1)
        return y[:, -1]
