"""What the off-policy learners share: experience that is kept and drawn again, and the loop over
gradient steps.

Several seeds may learn side by side: their environments are blocks of rows, their networks members
of a group, and nothing of one enters another's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import torch
from torch import Tensor, nn

from bio_rl import seeding
from bio_rl.checks import check_settings, owner
from bio_rl.codes.homeostat import activity
from bio_rl.contracts import ActOut, Metrics, Network, Percept, Probe, Rollout, State, Steps
from bio_rl.energy import operations
from bio_rl.groups import blocks, members, seeded, side_by_side
from bio_rl.networks import Blueprint
from bio_rl.rl import encoders, replay
from bio_rl.rl.clock import Clock, Horizon
from bio_rl.rl.critics import TwinCritic
from bio_rl.rl.observations import Features
from bio_rl.rl.optim import clip_, flatten
from bio_rl.rl.rebuild import recipe
from bio_rl.rl.replay import Drawn, Replay
from bio_rl.state import index, leaves, tree_map


@dataclass(frozen=True, kw_only=True)
class OffPolicy:
    """Settings of every off-policy learner."""

    replay: int = 1_000_000
    """Steps that are kept, all environments together; at most as many as the run has."""
    start: int = 1000
    """Steps of random actions before anything is learned."""
    batch: int = 256
    """Steps per gradient step."""
    ratio: float = 1.0
    """Gradient steps per environment step."""
    every: int = 1
    """Steps of each environment between updates, which then make up for all of them."""
    sequence: int = 16
    """Steps per training sequence of a network with memory, which starts from the state kept at
    that step.
    """
    burn_in: int = 0
    """Steps before a sequence that only bring the state up to date (Kapturowski et al. 2019); a
    multiple of `sequence`.
    """
    gamma: float = 0.99
    """Discount per step."""
    anneal: float = 0.0
    """Share of the run, its end, in which the learning rates fall linearly to zero."""
    normalise_obs: bool = False
    """Running mean and deviation of Box observations."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            positive=("replay", "batch", "ratio", "every", "sequence"),
            non_negative=("start",),
            unit=("gamma", "anneal"),
        )
        self._refuse(
            self.burn_in < 0 or self.burn_in % self.sequence > 0,
            "burn_in",
            f"a multiple of {self.sequence}",
        )

    def _refuse(self, wrong: bool, name: str, expected: str) -> None:
        if wrong:
            raise ValueError(f"{owner(self)}.{name} is {getattr(self, name)}, expected {expected}")


class OffPolicyState(NamedTuple):
    actor: State
    """[B, ...] of the network that decides."""
    critic: State
    """[B, ...] of the critics' memory, which advances in `update`."""


class Learner(nn.Module):
    """An off-policy agent (`types.Agent`); one of this kind builds its networks, decides and learns
    from what is drawn.

    It overrides `build`, `explore`, `greedy` and `learn`. Rows [G·B, ...] are the environments of G
    seeds.
    """

    teaches: ClassVar[tuple[str, ...]] = ()
    """It learns by gradients, which every network serves."""

    def __init__(
        self, config: Any, network: Blueprint, observation_space: gym.Space, action_space: gym.Space, *, horizon: Horizon,
        seed: int | Sequence[int] = 0, device: torch.device | str = "cpu", n_step: int = 1, alpha: float = 0.0,
    ) -> None:  # fmt: skip
        """horizon: of schedules. seed: several for seeds side by side. n_step, alpha: of the
        replay's sequences and draws.

        Raises ValueError for a space or a network that it cannot serve.
        """
        super().__init__()
        self.config, self.device = config, torch.device(device)
        self.made_for = network, observation_space, action_space
        self.seeds = (seed,) if isinstance(seed, int) else tuple(seed)
        self.groups = len(self.seeds)
        if network.config.target_rate > 0:
            raise ValueError(
                f"--{network.name}.target-rate: a rate is regulated over whole rollouts, as ppo collects them"
            )
        self.features = Views(observation_space, config.normalise_obs, self.groups)
        self.build(network, action_space)
        self.clock = Clock(horizon)
        self.owed = nn.Buffer(torch.zeros((), dtype=torch.float64), persistent=True)
        """Gradient steps that are due: a fraction of one, between updates."""
        self.ended = nn.Buffer(torch.zeros(self.groups, dtype=torch.int64))
        """[G] episodes of each seed; the clock counts the most of any, and the steps of one."""
        self.to(self.device)
        learn = {name: flatten(network.parameters()) for name, network in self.optimised.items()}
        behind = {
            name: getattr(self, name)
            for name in self.targets
            if getattr(self, name) not in self.optimised.values()
        }
        self.flat = learn | {
            name: flatten(network.parameters()) for name, network in behind.items()
        }
        """All weights of each network as one vector."""
        self.optimisers = {
            name: torch.optim.Adam([learn[name]], rate, fused=True)
            for name, rate in self.rates.items()
        }
        self.weights = {name: _with_gradients(network) for name, network in self.optimised.items()}
        self.generators = [seeding.generator(s, self.device) for s in self.seeds]
        self.stateful = bool(list(leaves(tuple(self.initial_state(self.groups)))))
        stride = config.sequence if self.stateful else 1
        self.burn_in = config.burn_in if self.stateful else 0
        self.learned = stride
        """Steps of a sequence, after the burn-in, that are learned from; n_step - 1 more follow."""
        length = self.burn_in + self.learned + n_step - 1
        capacity = min(config.replay, horizon.steps) * self.groups
        self.replay = Replay(
            capacity, self.device, length=length, stride=stride, groups=self.groups, alpha=alpha
        )
        every = -(-config.every // stride) * stride
        self.rollout = Steps(every, stride)
        self.spoken: tuple[str, ...] = ()
        """Names of what a look at the network's activity reports."""

    # ---------------------------------- what a learner of this kind is

    actor: Network
    """Decides."""
    optimised: dict[str, nn.Module]
    """What each optimiser moves, a vector of all weights (`optim.flatten`)."""
    rates: dict[str, float]
    """Learning rates of these."""
    targets: ClassVar[Mapping[str, str]] = {"target": "critic"}
    """Names of the networks that follow others, and of those, as in `optimised`, that they follow."""

    def build(self, network: Blueprint, action_space: gym.Space) -> None:
        """Make the networks, a TwinCritic `critic` among them where there is one, and say which
        learn, and how fast.
        """
        raise NotImplementedError

    def greedy(self, out: Tensor) -> Tensor:
        """The best actions for the actor's outputs."""
        raise NotImplementedError

    def explore(self, out: Tensor) -> Tensor:
        """Actions to learn from, for the actor's outputs."""
        raise NotImplementedError

    def random(self, out: Tensor) -> Tensor:
        """Actions that know nothing, of as many rows as the actor's outputs."""
        raise NotImplementedError

    def learn(self, drawn: Drawn) -> Metrics:
        """One gradient step; what it reports is [G]."""
        raise NotImplementedError

    # ---------------------------------- the agent

    def claim(self) -> str:
        """What the replay will take, in words. Raises ValueError, with the flag to change, where
        memory has no room for it.
        """
        return replay.describe(
            self.replay.capacity // self.groups,
            self.step_bytes(),
            self.flag,
            self.device,
            self.groups,
        )

    def step_bytes(self) -> int:
        """Bytes that a step takes in the replay, in memory and on disk."""
        _, observation_space, action_space = self.made_for
        states = sum(x.numel() * x.element_size() for x in leaves(tuple(self.initial_state(1))))
        return replay.step_bytes(observation_space, action_space) + states // self.replay.stride

    @property
    def flag(self) -> str:
        """The flag that says how many steps are kept."""
        return f"--{type(self.config).__module__.rpartition('.')[2]}.replay"

    def initial_state(self, batch: int) -> OffPolicyState:
        critic = self.critic.initial_state(batch) if hasattr(self, "critic") else ()
        return OffPolicyState(self.actor.initial_state(batch), critic)

    @torch.no_grad()
    def act(
        self,
        percept: Percept,
        state: OffPolicyState,
        explore: bool = True,
        probe: Probe | None = None,
    ) -> ActOut:
        out, actor = self.actor(
            percept._replace(obs=self.features(percept.obs, 0)), state.actor, probe
        )
        state = state._replace(actor=actor)
        if not explore:
            return ActOut(self.greedy(out), {}, state)
        begun = int(self.clock.steps) >= self.config.start
        return ActOut(self.explore(out) if begun else self.random(out), {}, state)

    def update(self, rollout: Rollout, state: OffPolicyState) -> tuple[OffPolicyState, Metrics]:
        steps, states = rollout.steps, rollout.states
        count = int(steps.valid.sum()) // self.groups
        self.ended += self.by_seed((steps.terminated | steps.truncated) & steps.valid)
        self.clock.count(count, int(self.ended.max()) - int(self.clock.episodes))
        self.features.update(steps.percept.obs, steps.valid)
        if self.stateful and hasattr(self, "critic"):
            critics, last = self._advance(steps.percept, state.critic)
            states, state = states._replace(critic=critics), state._replace(critic=last)
        percept = steps.percept._replace(obs=self.narrowed(steps.percept.obs))
        kept = steps._replace(percept=percept, final_obs=self.narrowed(steps.final_obs))
        self.replay.add(kept, states if self.stateful else ())
        metrics: Metrics = {}
        if int(self.clock.steps) > self.config.start and self.replay.starts:
            self.owed += self.config.ratio * count
            self._anneal()
            for _ in range(int(self.owed)):
                metrics = self.learn(self.draw())
            self.owed -= int(self.owed)
        if self.groups > 1:
            return state, metrics
        look = Look(self, rollout.next, state.actor)
        self.spoken = self.spoken or tuple(look())
        return state, {name: x.squeeze() for name, x in metrics.items()} | {
            n: partial(look, n) for n in self.spoken
        }

    def narrowed(self, obs: Any) -> Any:
        """Observations as the replay keeps them."""
        return self.features.each[0].narrowed(obs)

    @torch.no_grad()
    def _advance(self, seen: Percept, state: State) -> tuple[State, State]:
        """The states of the critics' memory at every stride-th of the percepts [T, B, ...], and
        after the last.
        """
        seen, stride, starts = seen._replace(obs=self.features(seen.obs, 1)), self.replay.stride, []
        for first in range(0, len(seen.reset), stride):
            starts.append(state)
            state = self.critic.advance(index(seen, slice(first, first + stride)), state)
        return tree_map(lambda *x: torch.stack(x), *starts), state

    def __reduce__(self) -> Any:
        seed = self.seeds[0] if self.groups == 1 else self.seeds
        made_from = (self.config, *self.made_for)
        return recipe(self, made_from, horizon=self.clock.horizon, seed=seed, device=self.device)

    def trained_tensors(self) -> list[Tensor]:
        return list(self.flat.values())

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**self.learned_state(*args, **kwargs), "replay": self.replay.state_dict()}

    def learned_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """All of `state_dict` but the replay, which is saved apart (`replay_files`)."""
        return {
            "modules": super().state_dict(*args, **kwargs),
            "optimisers": {name: x.state_dict() for name, x in self.optimisers.items()},
            "generator": torch.stack([g.get_state() for g in self.generators]),
        }

    def load_state_dict(self, state: dict[str, Any], *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Go on from `state_dict` or `learned_state`; without a replay in it the experience stays
        as it is here.
        """
        super().load_state_dict(state["modules"], *args, **kwargs)
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(
                copy.deepcopy(state["optimisers"][name])
            )  # it would keep the very tensors
        for generator, saved in zip(self.generators, state["generator"], strict=True):
            if (
                saved.shape == generator.get_state().shape
            ):  # another device's cannot go on; evaluating needs none
                generator.set_state(saved)
        if "replay" in state:
            self._load_replay(dict(state["replay"]))

    def _load_replay(self, kept: dict[str, Any]) -> None:
        if kept["states"]:
            kept["states"] = tree_map(
                lambda _, x: x, self.initial_state(self.groups), OffPolicyState(*kept["states"])
            )
        self.replay.load_state_dict(kept)

    @torch.no_grad()
    def member(self, i: int) -> Learner:
        """The i-th seed's learner alone, as it is now."""
        network, *spaces = self.made_for
        horizon, seed = self.clock.horizon, self.seeds[i]
        one = type(self)(
            self.config, network, *spaces, horizon=horizon, seed=seed, device=self.device
        )
        for name in self.targets:
            for to, of in zip(
                getattr(one, name).parameters(),
                member_of(getattr(self, name), self.groups, i),
                strict=True,
            ):
                to.copy_(of.view_as(to))
        for name, network in self.optimised.items():
            flat, own = self.flat[name], one.flat[name]
            numbers = torch.arange(len(flat), device=self.device).split(
                [w.numel() for w in network.parameters()]
            )
            numbers = [x.view_as(w) for x, w in zip(numbers, network.parameters(), strict=True)]
            at = torch.cat([x.flatten() for x in member_of(network, self.groups, i, numbers)])
            own.copy_(flat[at])
            for key, x in (
                self.optimisers[name].state[flat].items()
            ):  # step, a scalar, and moments like the weights
                one.optimisers[name].state[own][key] = x[at] if x.shape == flat.shape else x.clone()
        one.features.each[0].load_state_dict(self.features.each[i].state_dict())
        one.clock.count(int(self.clock.steps), int(self.ended[i]))
        one.ended.copy_(self.ended[i])
        one.owed.copy_(self.owed)
        if hasattr(self, "steps"):
            one.steps.copy_(self.steps)
        one.generators[0].set_state(self.generators[i].get_state())
        one.replay.load_state_dict(self.replay.member(i))
        return one

    # ---------------------------------- for learners

    def draws(self, each: Callable[[torch.Generator], Tensor]) -> Tensor:
        """What every seed's generator draws, [..., G·B, A] where one draws [..., B, A] (the rows
        are at -2).
        """
        drawn = [each(generator) for generator in self.generators]
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn, -2)

    def per_row(self, x: Tensor, like: Tensor) -> Tensor:
        """x [G] for each of the rows of `like` [..., G·B]."""
        return x if self.groups == 1 else x.repeat_interleave(like.shape[-1] // self.groups)

    def share(self, drawn: Drawn) -> Tensor:
        """What each of the steps [L, G·N] that are learned from counts in its seed's mean: its
        weight over their number.
        """
        valid = drawn.steps.valid[: self.learned].to(drawn.weight.dtype)
        count = valid.view(len(valid), self.groups, -1).sum((0, 2)).clamp(min=1.0)
        return valid * drawn.weight / self.per_row(count, valid)

    def by_seed(self, x: Tensor) -> Tensor:
        """Σ over the steps [L, G·N] of each seed, [G]."""
        return x.reshape(len(x), self.groups, -1).sum((0, 2))

    def minimise(self, name: str, loss: Tensor, max_norm: float = 0.0) -> None:
        """One step of the optimiser `name` down the gradient of `loss` by the weights alone that it
        moves.

        max_norm: each seed's gradient is scaled down to it; 0 for as it is.
        """
        weights, gradients = self.weights[name]
        torch._foreach_copy_(gradients, torch.autograd.grad(loss, weights))
        if max_norm and self.groups == 1:
            clip_(self.flat[name].grad, max_norm)
        elif max_norm:
            for own in members(self.optimised[name], self.groups, gradients):
                norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(own)))
                torch._foreach_mul_(own, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        self.optimisers[name].step()

    @torch.no_grad()
    def follow(self, target: str, tau: float) -> None:
        """θ' ← (1 - τ) θ' + τ θ of a target and the network that it follows."""
        self.flat[target].lerp_(self.flat[self.targets[target]], tau)

    @contextmanager
    def fixed(self, name: str) -> Iterator[None]:
        """Within, what the network `name` says has no gradient by its own weights."""
        for w in self.weights[name][0]:
            w.requires_grad_(False)
        try:
            yield
        finally:
            for w in self.weights[name][0]:
                w.requires_grad_(True)

    def _anneal(self) -> None:
        """What follows a schedule: learning rates, and the slope of spikes."""
        falls = self.config.anneal
        left = min(1.0, (1.0 - self.clock.lived) / falls) if falls else 1.0
        for name, optimiser in self.optimisers.items():
            optimiser.param_groups[0]["lr"] = self.rates[name] * left
        for network in (self.actor, getattr(self, "critic", None)):
            if network is not None:
                network.anneal(self.clock.lived)

    def draw(self) -> Drawn:
        """Sequences with features in place of observations, and their states brought up to the
        window.
        """
        drawn = self.replay.draw(
            max(1, self.config.batch // self.learned), self.generators, **self.draw_settings()
        )
        steps = drawn.steps
        percept = steps.percept._replace(obs=self.features(steps.percept.obs, 1))
        steps = steps._replace(percept=percept, final_obs=self.features(steps.final_obs, 1))
        states = drawn.states
        if self.burn_in:
            with torch.no_grad():
                before = index(percept, slice(0, self.burn_in))
                _, actor = self.actor.unroll(before, states.actor)
                critic = (
                    self.critic.advance(before, states.critic) if hasattr(self, "critic") else ()
                )
                states = OffPolicyState(actor, critic)
            steps = index(steps, slice(self.burn_in, None))
        return drawn._replace(steps=steps, states=states or OffPolicyState((), ()))

    def draw_settings(self) -> dict[str, Any]:
        """Of `Replay.draw`."""
        return {}


def _with_gradients(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    return list(network.parameters()), [w.grad for w in network.parameters()]


class Views(nn.Module):
    """Observations as features (`observations.Features`) for each of G seeds, with running
    statistics of its own.
    """

    def __init__(self, space: gym.Space, normalise: bool, groups: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(Features(space, normalise) for _ in range(groups))
        self.normalise, self.size = normalise, self.each[0].size

    def forward(self, obs: Any, axis: int) -> Any:
        """Of obs whose rows, G blocks, are at `axis`."""
        if not self.normalise:
            return self.each[0](obs)
        parts = [
            view(part)
            for view, part in zip(self.each, blocks(obs, len(self.each), axis), strict=True)
        ]
        return parts[0] if len(parts) == 1 else tree_map(lambda *x: torch.cat(x, axis), *parts)

    def update(self, obs: Any, valid: Tensor) -> None:
        """Take obs [T, G·B, *obs] of the rows where valid [T, G·B] into the running statistics."""
        g = len(self.each)
        for view, *part in zip(self.each, blocks(obs, g, 1), blocks(valid, g, 1), strict=True):
            view.update(*part)


class Look:
    """What the actor's neurons and synapses do for a percept, worked out when it is first asked
    for.
    """

    def __init__(self, learner: Learner, percept: Percept, state: State) -> None:
        self.asked = learner, percept, state
        self.found: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, name: str | None = None) -> Any:
        """The quantity of that name, or all of them by name."""
        if not self.found:
            learner, percept, state = self.asked
            probe = Probe()
            learner.actor(percept._replace(obs=learner.features(percept.obs, 0)), state, probe)
            for layer, records in probe.records.items():
                if layer.startswith("spikes/"):
                    self.found |= {
                        f"{layer}_{figure}": x
                        for figure, x in activity(records[-1])._asdict().items()
                    }
            counts = operations(probe, len(percept.reset))
            self.found |= {f"energy/{figure}": x for figure, x in counts._asdict().items()}
        return self.found if name is None else self.found[name]


def member_of(
    network: nn.Module, groups: int, i: int, tensors: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """The i-th seed's part of `tensors`, which are like the network's parameters, or of these
    themselves.
    """
    if not isinstance(network, TwinCritic):
        return members(network, groups, tensors)[i]
    tensors = list(network.parameters()) if tensors is None else list(tensors)
    seen = len(list(network.look.parameters())) if network.look is not None else 0
    look = members(network.look, groups, tensors[:seen])[i] if seen else []
    return look + members(network.heads, groups, tensors[seen:], each=2)[i]


class Scalars(nn.Module):
    """A learned number for each of G seeds."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(groups))
        """[G]."""


def actors(
    network: Blueprint, size: Any, n_out: int, seeds: Sequence[int], out_gain: float = 1.0
) -> Network:
    """A network from features of `size` to [B, n_out] for each seed, side by side."""
    return side_by_side(
        [seeded(s, lambda: encoders.build(network, size, n_out, out_gain)) for s in seeds]
    )


def copied(network: nn.Module) -> nn.Module:
    """A target network: the same weights, without gradients."""
    return copy.deepcopy(network).requires_grad_(False)
