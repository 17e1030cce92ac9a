"""The cost of a trained agent's decisions, in closed loop: means over whole episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch

from bio_rl import energy
from bio_rl.contracts import Agent, Network, Percept, Probe
from bio_rl.energy import Counts, Meter
from bio_rl.networks import Blueprint
from bio_rl.state import stack, tree_map
from bio_rl.training import config
from bio_rl.training.build import (
    FINAL_SEED,
    Trained,
    make_agent,
    make_env,
    open_env,
    single_thread,
)
from bio_rl.training.evaluation import Evaluation, evaluate
from bio_rl.training.quantised import quantised
from bio_rl.training.runner import Life, begin, decide
from bio_rl.vector import Vector


class Metered(NamedTuple):
    """A policy, what it earns, and what it costs."""

    name: str
    score: Evaluation | None
    """None for one that is not trained."""
    counts: Counts
    bits: int = 32
    """Bits of its weights and activities."""


def metered(
    trained: Trained, episodes: int, seed: int = FINAL_SEED, learning: bool = False
) -> Metered:
    """A run's policy, whose cost is the mean over all decisions of these greedy episodes.

    learning: whether the synapses that learn by local rules do so: their traces, eligibility and
    changes are counted then. Raises ValueError for an agent or a network that does not describe
    itself.
    """
    network = trained.experiment.network
    agent = trained.agent
    # learning by gradients happens apart, so that no agent counts it
    learns = agent.plasticity() if learning else ()
    steady = energy.fixed(agent.decider, network.config.ticks, agent.features.scaled, learns)
    score, products = _played(trained, agent, episodes, seed)
    return Metered(network.name, score, energy.together(products, steady))


def rounded(trained: Trained, bits: int, whole: Metered, seed: int = FINAL_SEED) -> Metered:
    """The same for the MLP of a run with weights and activities of few bits. whole: the run's own
    figures, from as many episodes.

    Raises ValueError for another network.
    """
    assert whole.score is not None
    agent = quantised(trained, bits)
    score, products = _played(trained, agent, whole.score.episodes, seed)
    steady = energy.fixed(trained.agent.decider, 1, trained.agent.features.scaled)
    counts = energy.together(products, steady).in_bits(bits)
    return Metered(f"mlp, {bits} bits", score, counts, bits)


def _played(
    trained: Trained, player: Any, episodes: int, seed: int, asked: Any = None
) -> tuple[Evaluation, energy.Operations]:
    """(the score of `player` in the run's world, the mean products of a decision).

    asked: an agent whose decisions about the same percepts are counted in place of the player's,
    each from rest.
    """
    meter = Meter()

    def hear(life: Life, running: list[int]) -> None:
        """Decide once more for the lives whose first episode goes on, with a probe."""
        percept, state = tree_map(lambda x: x[running], (life.percept, life.state))
        probe = Probe()
        if asked is None:
            player.act(percept, state, explore=False, probe=probe)
        else:
            asked.act(percept, asked.initial_state(len(running)), explore=False, probe=probe)
        meter.add(probe, len(running))

    run = trained.experiment.run
    with open_env(make_env(run, episodes, player.device)) as env, single_thread():
        score = evaluate(player, env, seed, hear=hear)
    return score, meter.operations()


def untrained(trained: Trained, network: Blueprint, episodes: int, seed: int) -> Metered:
    """The cost of another network, as it is drawn, for what a run's policy meets: without a score,
    as nobody trained it.
    """
    # by the default agent: that of the run need not be able to teach it
    usual = config.experiment(trained.experiment.run.env, network=network.name)
    experiment = replace(usual, network=network)
    with open_env(make_env(trained.experiment.run, 1, trained.agent.device)) as env:
        agent = make_agent(experiment, env)
    # what it sees has to be scaled as the run's agent scales it
    agent.features = trained.agent.features
    _, products = _played(trained, trained.agent, episodes, seed, asked=agent)
    steady = energy.fixed(agent.decider, network.config.ticks, agent.features.scaled)
    return Metered(network.name, None, energy.together(products, steady))


def sizes(network: Network) -> list[int]:
    """Numbers that the first connection reads, then the units that each connection drives, of a
    network whose connections follow one another; nothing for another one.
    """
    parts = network.parts()
    place = {part.name: i for i, part in enumerate(parts)}
    connections = [part for part in parts if part.role == "connection"]
    # what drives itself reads a part that comes after its connection
    loops = [part for part in connections if place.get(part.sources[0], -1) > place[part.name]]
    if not connections or loops:
        return []
    first = connections[0]
    source = place.get(first.sources[0])
    if source is not None:
        n_in = parts[source].n
    else:
        # it reads the observation itself
        n_in = cast(Any, first.module).weight.shape[-1]
    return [n_in, *(part.n for part in connections)]


def decisions(trained: Trained, n: int) -> Callable[[], None]:
    """A function that lets a run's agent decide n times, one life at a time, about the start of an
    episode.
    """
    agent = trained.agent
    with open_env(make_env(trained.experiment.run, 1, agent.device)) as env:
        life = begin(agent, env, FINAL_SEED)

    def run() -> None:
        state = life.state
        for _ in range(n):
            state = agent.act(life.percept, state, explore=False).state

    return run


# The first decisions of an episode, for a figure beside every score


def operations_per_decision(trained: Trained, decisions: int = 100) -> dict[str, Counts]:
    """The cost of a decision of a run's network, and of an MLP of the default sizes for the same
    task, by network.

    Means over the first `decisions` greedy decisions of one episode of the run's agent: both are
    counted over what that agent met.
    """
    experiment = trained.experiment
    run = experiment.run
    counts: dict[str, Counts] = {}
    with open_env(make_env(run, 1, trained.agent.device)) as env:
        probe, percepts = _met(trained.agent, env, decisions)
        counts[run.network] = _cost(trained.agent, experiment.network, probe)
        if run.network != "mlp" and not experiment.network.image:
            usual = config.experiment(run.env, network="mlp")
            plain = replace(usual, network=Blueprint.default("mlp"))
            agent = make_agent(plain, env)
            counts["mlp"] = _cost(agent, plain.network, _answered(agent, percepts))
    return counts


def _met(agent: Agent, env: Vector, decisions: int) -> tuple[Probe, list[Percept]]:
    """The reports of the network in the first greedy decisions of an episode, and what it met."""
    probe = Probe()
    percepts = []
    life = begin(agent, env, FINAL_SEED)
    for _ in range(decisions):
        percepts.append(life.percept)
        step, life = decide(agent, env, life, explore=False, probe=probe)
        if bool(step.terminated[0] | step.truncated[0]):
            break
    return probe, percepts


def _answered(agent: Any, percepts: Sequence[Percept]) -> Probe:
    """The reports of an untrained network of `agent` that met these percepts."""
    met = stack(percepts)
    # A trained one would have a normaliser, and sees no plain zeros and ones.
    agent.features.update(met.obs, torch.ones_like(met.reset))
    probe = Probe()
    state = agent.initial_state(1)
    for percept in percepts:
        state = agent.act(percept, state, explore=False, probe=probe).state
    return probe


def _cost(agent: Any, network: Blueprint, probe: Probe) -> Counts:
    """The cost of the decisions of one life that a probe saw. Of a network that does not describe
    its parts, products alone are counted.
    """
    try:
        steady = energy.fixed(agent.decider, network.config.ticks, agent.features.scaled)
    except (AttributeError, ValueError):  # somebody's own agent need not say
        steady = energy.UNKNOWN
    return energy.together(energy.operations(probe, 1), steady)
