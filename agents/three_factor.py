"""Dopamine-gated local learning: a spiking actor-critic without backpropagation, learning at every
step of its life.

    out = W_π x,  V = W_V x       x: spiking cells (networks.cells) over o         a ~ π(out)
    e   ← γλ e + s_j x_i
        s_j = ∂ log π(a) / ∂ out_j for the actor, 1 for the critic (plasticity.three_factor)
    δ   = r + γ V(s') - V(s)      dopamine (modulators.dopamine)
    W   ← W + η δ e
    μ_k ← μ_k + η x_k (o - μ_k)       the centres of cells that learn too (plasticity.instar)

Every synapse needs its own activity, its neuron's signal and the one δ of its brain. Barto, Sutton
& Anderson 1983; with spiking neurons Frémaux, Sprekeler & Gerstner 2013; Sutton & Barto 2018,
§13.5. Dopamine comes before the next decision; a time limit bootstraps from the final observation.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from torch import Tensor, nn

from bio_rl import seeding
from bio_rl.checks import check_settings
from bio_rl.codes.conjunctive import Scattered
from bio_rl.contracts import ActOut, Metrics, Percept, Probe, Rollout, State, Steps, Transition
from bio_rl.discovery import suggestion
from bio_rl.faults import DivergedError
from bio_rl.kernels.plastic import plastic_step
from bio_rl.kernels.td import td_error
from bio_rl.modulators.noradrenaline import Noradrenaline, NoradrenalineState
from bio_rl.networks import Blueprint
from bio_rl.plasticity import instar
from bio_rl.rl import distributions
from bio_rl.rl.clock import Clock, Horizon
from bio_rl.rl.observations import Features
from bio_rl.rl.rebuild import recipe
from bio_rl.state import index

NETWORKS = ("cells",)
"""What it can teach: networks whose readout is all that learns."""
DOPAMINE = ("rpe", "shuffled", "none")
NORADRENALINE = Noradrenaline(tau_fast=50.0, tau_slow=5000.0, threshold=0.7)
"""Errors of learning CartPole stay below 0.65 (8 lives, prediction errors recorded); those after an
inversion exceed 0.75.
"""
MOMENTS = 1024
"""Of the past, from which shuffled dopamine is drawn."""


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
    brains: int = 1
    """Individuals side by side, each with weights of its own; environments are dealt out among
    them in blocks. Those of one brain share its weights, which change by the sum of what each asks for.
    """
    cells_lr: float = 0.0
    """Of the centres of scattered cells, which the cells that answer move towards the input
    (plasticity.instar); it falls exponentially to a hundredth over the run. 0 leaves them where
    they are.
    """
    normalise_obs: bool = True
    """Running mean and deviation of Box observations."""
    let_go: float = 0.0
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
            unit=("gamma", "trace", "anneal", "let_go"),
        )
        if self.dopamine not in DOPAMINE:
            raise ValueError(
                f"three_factor.dopamine is {self.dopamine!r}; {suggestion(self.dopamine, DOPAMINE)}"
            )
        if self.persist < 1:
            raise ValueError(
                f"three_factor.persist is {self.persist}, expected 1 or more decisions"
            )
        if self.brains < 1:
            raise ValueError(f"three_factor.brains is {self.brains}, expected at least 1")


class ThreeFactorState(NamedTuple):
    cells: State
    """The network's."""
    e: Tensor
    """[B, outputs + 1, N] eligibility, the critic's last."""
    x: Tensor
    """[B, N] activity for the percept to come, where `ahead`: dopamine needed it, and so does the
    next decision.
    """
    y: Tensor
    """[B, outputs + 1] and what the weights make of it."""
    ahead: Tensor
    """[B] bool: `cells`, `x` and `y` have seen the percept to come."""
    noise: Tensor
    """[B, outputs] what exploration drew last."""
    surprise: NoradrenalineState


class Agent(nn.Module):
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
        """horizon: when the learning rates have fallen. Raises ValueError for an unserved space or
        network.
        """
        super().__init__()
        self.config, self.seed = config, seed
        self.made_from = config, network, observation_space, action_space
        with seeding.drawing_from(seed):
            self.features = Features(observation_space, config.normalise_obs)
            self.policy = distributions.for_space(action_space, config.log_std)
            if not isinstance(self.features.size, int):
                raise ValueError(
                    f"observation space {observation_space} cannot be served: cells look at numbers"
                )
            self.cells = network.build(self.features.size, self.policy.n_out + 1)
        if config.cells_lr and not isinstance(self.cells.code, Scattered):
            raise ValueError(
                "three_factor.cells_lr moves scattered cells; cells.cells is a grid, which stays"
            )
        del self.cells.readout  # the weights of every brain take its place
        self.weight = nn.Buffer(
            torch.zeros(config.brains, self.policy.n_out + 1, self.cells.code.n)
        )
        if config.dopamine == "shuffled":
            self.past = nn.Buffer(torch.zeros(MOMENTS))
        self.clock = Clock(horizon)
        self.requires_grad_(False)
        self.to(device)
        self.device = torch.device(device)
        rates = torch.full((self.policy.n_out + 1,), config.actor_lr, device=self.device)
        rates[-1] = config.critic_lr
        self.rates = rates
        self.v_0 = torch.tensor(
            config.value, device=self.device
        )  # a number takes twice as long to add (measured)
        self.rollout = Steps(1)
        self.generator = seeding.generator(seed, self.device)

    def initial_state(self, batch: int) -> ThreeFactorState:
        e = torch.zeros(batch, *self.weight.shape[1:], device=self.device)
        x, ahead = (
            torch.zeros_like(e[:, 0]),
            torch.zeros(batch, dtype=torch.bool, device=self.device),
        )
        noise, surprise = (
            e.new_zeros(batch, self.policy.n_out),
            NORADRENALINE.init(batch, self.device),
        )
        return ThreeFactorState(
            self.cells.initial_state(batch),
            e,
            x,
            torch.zeros_like(e[:, :, 0]),
            ahead,
            noise,
            surprise,
        )

    @torch.no_grad()
    def act(
        self,
        percept: Percept,
        state: ThreeFactorState,
        explore: bool = True,
        probe: Probe | None = None,
    ) -> ActOut:
        x, y, cells = state.x, state.y, state.cells
        if not bool(state.ahead.all()):
            x, cells = self.cells.active(self._see(percept), cells, probe)
            y = self._read(x)
        elif probe is not None:
            self.cells.rates(self.features(percept.obs), probe)
        if probe is not None:
            probe.synapses("readout", self.weight[0], x)
        state = state._replace(cells=cells, ahead=torch.zeros_like(state.ahead))
        out, value = y[:, :-1], y[:, -1] + self.v_0
        if not explore:
            return ActOut(self.policy.mode(out), {"value": value}, state)
        noise = self._noise(out, state.noise, percept.reset)
        state, action = state._replace(noise=noise), self.policy.sample(out, noise)
        signal = nn.functional.pad(self._signal(out, action), (0, 1), value=1.0)
        return ActOut(action, {"x": x, "signal": signal, "value": value}, state)

    @torch.no_grad()
    def update(self, rollout: Rollout, state: ThreeFactorState) -> tuple[ThreeFactorState, Metrics]:
        c, steps = self.config, rollout.steps
        x, signal, value = (steps.extras[name][0] for name in ("x", "signal", "value"))
        terminated, valid = steps.terminated[0], steps.valid[0]
        cut = terminated | steps.truncated[0]
        ahead, cells = self.cells.active(self._see(rollout.next), state.cells)
        next_value = self._value(ahead)
        if bool(cut.any()):
            next_value = torch.where(cut, self._final(index(steps, 0), state), next_value)
        reward, reset = steps.reward[0], steps.percept.reset[0]
        error = td_error(
            reward, value, next_value, terminated, cut, reset, valid, gamma=c.gamma, lam=c.trace
        )
        if not math.isfinite(error.mean):
            raise DivergedError(
                "dopamine is NaN or infinite: the critic diverged; a lower three_factor.critic_lr or fewer environments help"
            )
        e, rates, bound = state.e.clone(), self.rates * c.anneal**self.clock.lived, c.bound or None
        gate, seen = (
            self._dopamine(error.rpe),
            signal if error.valid == len(valid) else signal * valid.unsqueeze(-1),
        )
        y = plastic_step(
            self.weight,
            e,
            x,
            seen,
            gate,
            ahead,
            lr=rates,
            decay=error.decay,
            w_min=-bound if bound else None,
            w_max=bound,
        )
        if c.cells_lr:
            self._move(x, index(steps.percept.obs, 0))
        self.features.update(steps.percept.obs, steps.valid)
        self.clock.count(error.valid, error.ended)
        surprise = state.surprise
        if c.let_go:
            surprise = self._surprised(error.rpe, surprise)
            y = self._read(ahead)
        metrics: Metrics = {
            "dopamine/rpe": error.mean,
            "dopamine/value": error.mean_value,
            "dopamine/abs": error.mean_abs,
        }
        metrics |= {
            "plasticity/eligibility": lambda: e.abs().mean(),
            "plasticity/eligibility_actor": lambda: e[:, :-1].abs().mean(),
            "plasticity/eligibility_critic": lambda: e[:, -1].abs().mean(),
            "plasticity/change": lambda: self._asked(gate, e, rates).abs().mean(),
            "plasticity/weight": self.weight.norm,
        }
        return ThreeFactorState(
            cells, e, ahead, y, torch.ones_like(state.ahead), state.noise, surprise
        ), metrics

    def __reduce__(self) -> Any:
        return recipe(
            self, self.made_from, horizon=self.clock.horizon, seed=self.seed, device=self.device
        )

    def trained_tensors(self) -> list[Tensor]:
        return [self.weight]

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

    def _see(self, percept: Percept) -> Percept:
        return percept._replace(obs=self.features(percept.obs))

    def _final(self, step: Transition, state: ThreeFactorState) -> Tensor:
        """V [B] of the final observations, which leaves the state as it is."""
        never = torch.zeros_like(step.terminated)
        last = Percept(step.final_obs, step.action, step.reward, never, never)
        return self._value(self.cells.active(self._see(last), state.cells)[0])

    def _asked(self, gate: Tensor, e: Tensor, rates: Tensor) -> Tensor:
        """[G, outputs + 1, N] the change η δ e of an update, before bounds."""
        blocks = (gate.view(-1, 1, 1) * e).unflatten(0, (len(self.weight), -1))
        return blocks.sum(1) * rates.unsqueeze(-1)

    def _move(self, x: Tensor, obs: Any) -> None:
        """Centres turn to what their cells answered for; brains share them, so theirs is the mean
        over brains.
        """
        code, rate = self.cells.code, self.config.cells_lr * 0.01**self.clock.lived
        columns, cells, _ = code.centres.shape
        local = instar.InstarState(
            code.seen(self.features(obs)).squeeze(-2), x.view(-1, columns, cells)
        )
        change = instar.RULE(rate).delta(local, code.centres, x.new_ones(len(x), 1))
        code.centres += change.sum(0) / len(self.weight)

    def _read(self, x: Tensor) -> Tensor:
        """[B, outputs + 1] of the activity [B, N]: rows are a block for each brain."""
        if len(self.weight) == 1:
            return x @ self.weight[0].T
        return torch.bmm(self._of_rows(self.weight, len(x)), x.unsqueeze(-1)).squeeze(-1)

    def _value(self, x: Tensor) -> Tensor:
        """V [B], what the critic's neuron makes of the activity [B, N]."""
        weight = self.weight
        if len(weight) == 1:
            return torch.mv(x, weight[0, -1]) + self.v_0
        return (self._of_rows(weight[:, -1], len(x)) * x).sum(-1) + self.v_0

    def _of_rows(self, each: Tensor, batch: int) -> Tensor:
        """[B, ...] of what each brain has [G, ...]."""
        return each if batch == len(each) else each.repeat_interleave(batch // len(each), 0)

    def _noise(self, out: Tensor, last: Tensor, reset: Tensor) -> Tensor:
        """[B, outputs]: drawn anew at every decision, or now and then."""
        fresh = self.policy.noise(out, self.generator)
        if self.config.persist <= 1.0:
            return fresh
        draw = (
            torch.rand(reset.shape, generator=self.generator, device=self.device)
            * self.config.persist
            < 1.0
        )
        return torch.where((reset | draw).unsqueeze(-1), fresh, last)

    def _signal(self, out: Tensor, action: Tensor) -> Tensor:
        """[B, outputs]: what each output neuron tells its synapses about the decision."""
        if self.config.hebbian:
            return self.policy.score(torch.zeros_like(out), action)
        return self.policy.score(out, action)

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

    def _surprised(self, rpe: Tensor, before: NoradrenalineState) -> NoradrenalineState:
        """Noradrenaline goes on, and where it asks for a reset weights shrink, by the mean over a
        brain's environments.
        """
        _, reset, after = NORADRENALINE.step(before, rpe)
        if bool(reset.any()):
            share = reset.to(rpe.dtype).unflatten(0, (len(self.weight), -1)).mean(1)
            self.weight *= (1.0 - self.config.let_go * share).view(-1, 1, 1)
        return after
