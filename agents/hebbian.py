"""Reward-modulated Hebbian learning: neurons try a little more or less than usual, and dopamine
keeps what paid.

    u_j = Σ_i w_ji x_i + σ ξ_j,  y_j = tanh u_j      every hidden neuron explores, ξ ~ N(0, 1)
        a ~ π(out)
    e   ← γλ e + s_j x_i
        eligibility (plasticity.three_factor, as kernels.plastic fuses it)
    s_j = ξ_j / σ
        `node`: node perturbation, the noise is known to the synapse (Fiete & Seung 2006)
    s_j = (y_j - ȳ_j) / σ²
        `hebb`: it is not, but what y_j has been of late is (plasticity.exploratory_hebb)
    s_k = ∂ log π(a) / ∂ out_k
        at the outputs, whose noise is the choice itself: 1[a=k] - π_k, or (a - μ) / σ²
    δ   = r + γ V(s') - V(s)    dopamine (modulators.dopamine);
        V = w_V y, of the activity without the noise
    W   ← W + η δ e             the mean over the environments, which share the weights

ξ/σ is ∂ log p(u) / ∂ u_j: every neuron is an actor, and hidden ones need no error fed back, for the
one δ tells all of them in which direction to go (Williams 1992). On average Δw follows the gradient
of what the network earns; its variance grows with the number of neurons. The critic must not see
the noise, or it would expect what exploration has yet to earn. Legenstein, Chase, Schwartz & Maass
2010; Hoerzer, Legenstein & Maass 2014. With γ = 0, δ = r - V(s): trials of one step.
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
from bio_rl.discovery import suggestion
from bio_rl.faults import DivergedError
from bio_rl.kernels.plastic import plastic_step
from bio_rl.modulators.dopamine import dopamine_rpe
from bio_rl.networks import Blueprint
from bio_rl.networks.mlp import ACTIVATIONS
from bio_rl.plasticity import Post, Pre
from bio_rl.plasticity.exploratory_hebb import ExploratoryHebb, ExploratoryHebbState
from bio_rl.rl import distributions
from bio_rl.rl.clock import Clock, Horizon
from bio_rl.rl.observations import Features
from bio_rl.rl.rebuild import recipe
from bio_rl.state import index

NETWORKS = ("mlp",)
"""What it can teach: layers of rate neurons."""
RULES = ("node", "hebb")
DOPAMINE = ("rpe", "shuffled", "none")
MOMENTS = 1024
"""Of the past, from which shuffled dopamine is drawn."""


@dataclass(frozen=True, kw_only=True)
class Config:
    gamma: float = 0.99
    """Discount per decision."""
    trace: float = 0.8
    """λ: eligibility fades by γλ per decision."""
    rule: str = "node"
    """How a hidden neuron's synapses know what it tried: node, the noise itself; or hebb, activity
    beyond its running mean.
    """
    noise: float = 0.3
    """σ, of the noise in the potential of hidden neurons."""
    tau_mean: float = 4.5
    """Decisions over which `hebb` takes the running mean ȳ. Legenstein 2010, ȳ ← 0.8 ȳ + 0.2 y."""
    hidden_lr: float = 0.001
    """Of the synapses onto hidden neurons, per unit of dopamine; 0 leaves them as they were drawn."""
    actor_lr: float = 0.01
    """Of the synapses onto the outputs, per unit of dopamine."""
    critic_lr: float = 0.1
    """Of the critic's: about the share of the error that one step corrects, as it is divided by the
    number of its synapses.
    """
    anneal: float = 0.1
    """All learning rates fall exponentially to this share of themselves over the run."""
    readout_gain: float = 0.0
    """Length of the output's weights at first: without any there is no preference."""
    dopamine: str = "rpe"
    """What gates plasticity: rpe; or as controls shuffled, a prediction error of some other moment,
    or none.
    """
    normalise_obs: bool = True
    """Running mean and deviation of Box observations."""
    log_std: float = -0.5
    """Log standard deviation of continuous actions, in half-ranges of the action bounds."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("noise", "tau_mean"),  # without noise nothing is tried
            non_negative=("hidden_lr", "actor_lr", "critic_lr", "readout_gain"),
            unit=("gamma", "trace", "anneal"),
        )
        for name, known in (("rule", RULES), ("dopamine", DOPAMINE)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"hebbian.{name} is {getattr(self, name)!r}; {suggestion(getattr(self, name), known)}"
                )


class HebbianState(NamedTuple):
    e: tuple[Tensor, ...]
    """[B, post, pre + 1] eligibility of the synapses of each layer, those of the bias last; the
    critic's at the end.
    """
    habits: tuple[ExploratoryHebbState, ...]
    """What each hidden layer does on average; empty for `node`."""


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
        with seeding.drawing_from(seed):
            self.features = Features(observation_space, config.normalise_obs, flatten=True)
            self.policy = distributions.for_space(action_space, config.log_std)
            if not isinstance(self.features.size, int):
                raise ValueError(
                    f"observation space {observation_space} cannot be served: hebbian looks at numbers and pictures"
                )
            layers = network.build(
                self.features.size, self.policy.n_out, config.readout_gain
            ).layers
        weights = [
            torch.cat((x.weight, x.bias.unsqueeze(-1)), -1)
            for x in layers
            if isinstance(x, nn.Linear)
        ]
        weights.append(torch.zeros(1, weights[-1].shape[1]))
        self.weights = nn.ParameterList(
            nn.Parameter(w.detach(), requires_grad=False) for w in weights
        )
        """[post, pre + 1] of each layer, the bias last; the critic's at the end."""
        self.activation = ACTIVATIONS[network.config.activation]()
        if config.dopamine == "shuffled":
            self.past = nn.Buffer(torch.zeros(MOMENTS))
        self.clock = Clock(horizon)
        self.requires_grad_(False)
        self.to(device)
        self.device = torch.device(device)
        self.habit = ExploratoryHebb(tau_mean=config.tau_mean)
        self.rollout = Steps(1)
        self.generator = seeding.generator(seed, self.device)

    def initial_state(self, batch: int) -> HebbianState:
        e = tuple(torch.zeros(batch, *w.shape, device=self.device) for w in self.weights)
        hidden = self.weights[:-2] if self.config.rule == "hebb" else ()
        return HebbianState(
            e, tuple(self.habit.init(batch, *w.shape, device=self.device) for w in hidden)
        )

    @torch.no_grad()
    def act(
        self,
        percept: Percept,
        state: HebbianState,
        explore: bool = True,
        probe: Probe | None = None,
    ) -> ActOut:
        obs = self.features(percept.obs)
        calm, out = self._run(obs, None, probe)
        if not explore:
            return ActOut(self.policy.mode(out), {}, state)
        noise = [self._normal(len(obs), len(w)) for w in self.weights[:-2]]
        inputs, out = self._run(obs, noise)
        action = self.policy.sample(out, self.policy.noise(out, self.generator))
        signals, habits = self._signals(inputs, noise, state.habits, percept.reset)
        signals += [self.policy.score(out, action), torch.ones_like(out[:, :1])]
        extras = {f"x{i}": x for i, x in enumerate([*inputs, calm[-1]])} | {
            f"signal{i}": s for i, s in enumerate(signals)
        }
        return ActOut(
            action, {**extras, "value": self._value(calm[-1])}, state._replace(habits=habits)
        )

    @torch.no_grad()
    def update(self, rollout: Rollout, state: HebbianState) -> tuple[HebbianState, Metrics]:
        c, steps = self.config, rollout.steps
        extras, valid, cut = (
            index(steps.extras, 0),
            steps.valid[0],
            steps.terminated[0] | steps.truncated[0],
        )
        beyond = self._value(self._run(self.features(index(steps.final_obs, 0)))[0][-1])
        rpe = (
            dopamine_rpe(steps.reward[0], extras["value"], beyond, steps.terminated[0], c.gamma)
            * valid
        )
        if not math.isfinite(float(rpe.sum())):
            raise DivergedError(
                "dopamine is NaN or infinite: the critic diverged; a lower hebbian.critic_lr or hebbian.hidden_lr helps"
            )
        gate, fade = self._dopamine(rpe), c.gamma * c.trace * ~steps.percept.reset[0]
        e = tuple(x.clone() for x in state.e)
        for i, (w, rate) in enumerate(zip(self.weights, self._rates(), strict=True)):
            x, signal = extras[f"x{i}"], extras[f"signal{i}"] * valid.unsqueeze(-1)
            plastic_step(w, e[i], x, signal, gate, x, lr=rate / len(valid), decay=fade)
        self.features.update(steps.percept.obs, steps.valid)
        self.clock.count(int(valid.sum()), int((cut & valid).sum()))
        metrics = {
            "dopamine/rpe": rpe.mean(),
            "dopamine/value": extras["value"].mean(),
            "dopamine/abs": rpe.abs().mean(),
        }
        return state._replace(e=e), metrics

    def __reduce__(self) -> Any:
        return recipe(
            self, self.made_from, horizon=self.clock.horizon, seed=self.seed, device=self.device
        )

    def trained_tensors(self) -> list[Tensor]:
        return list(self.weights)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {
            "modules": super().state_dict(*args, **kwargs),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any], *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        super().load_state_dict(copy.deepcopy(state["modules"]), *args, **kwargs)
        if (
            state["generator"].shape == self.generator.get_state().shape
        ):  # another device's cannot go on; evaluating needs none
            self.generator.set_state(state["generator"])

    def _run(
        self, x: Tensor, noise: list[Tensor] | None = None, probe: Probe | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """(Inputs [B, pre + 1] of each layer, out [B, outputs]) for features x [B, F], with ξ [B,
        N] of each hidden layer.
        """
        inputs, out = [], x
        for i, w in enumerate(self.weights[:-1]):
            if i:
                out = self.activation(
                    out if noise is None else out + self.config.noise * noise[i - 1]
                )
            if probe is not None:
                probe.synapses(f"layer {i + 1}", w[:, :-1], out)
            inputs.append(torch.cat((out, torch.ones_like(out[:, :1])), -1))
            out = inputs[-1] @ w.T
        return inputs, out

    def _value(self, x: Tensor) -> Tensor:
        """V [B] of the last hidden layer's activity and the bias, x [B, N + 1]."""
        return x @ self.weights[-1][0]

    def _normal(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.device).normal_(generator=self.generator)

    def _signals(
        self,
        inputs: list[Tensor],
        noise: list[Tensor],
        habits: tuple[ExploratoryHebbState, ...],
        reset: Tensor,
    ) -> tuple[list[Tensor], tuple[ExploratoryHebbState, ...]]:
        """(s [B, N] of each hidden layer, what they do on average). A habit begins with the
        episode.
        """
        sigma = self.config.noise
        if self.config.rule == "node":
            return [xi / sigma for xi in noise], habits
        signals, after = [], []
        for w, x, y, before in zip(self.weights, inputs, inputs[1:], habits, strict=False):
            y = y[:, :-1]
            before = before._replace(mean=torch.where(reset.unsqueeze(-1), y, before.mean))
            after.append(self.habit.trace(before, w, Pre(x), Post(y)))
            signals.append((y - after[-1].mean) / sigma**2)
        return signals, tuple(after)

    def _rates(self) -> list[float]:
        """η of each layer, the critic's at the end."""
        c, left = self.config, self.config.anneal**self.clock.lived
        hidden, synapses = len(self.weights) - 2, self.weights[-1].shape[1]
        return [left * c.hidden_lr] * hidden + [left * c.actor_lr, left * c.critic_lr / synapses]

    def _dopamine(self, rpe: Tensor) -> Tensor:
        """[B] what gates plasticity."""
        if self.config.dopamine == "rpe":
            return rpe
        if self.config.dopamine == "none":
            return torch.zeros_like(rpe)
        self.past = torch.cat((self.past, rpe))[-MOMENTS:]
        return self.past[
            torch.randint(MOMENTS, rpe.shape, generator=self.generator, device=self.device)
        ]
