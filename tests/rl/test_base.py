"""The base of agents: what is saved goes on bit by bit, a member of several seeds is the seed."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from bio_rl import vector
from bio_rl.networks import Blueprint, cells, mlp
from bio_rl.rl.base import Agent, block
from bio_rl.rl.clock import Horizon
from bio_rl.state import leaves, tree_map
from bio_rl.training import config
from bio_rl.training.runner import Runner, collect
from bio_rl.vector import SideBySide

ENVS, SEEDS = 2, (3, 4, 5)
NETWORKS: dict[str, Any] = {
    "ppo": Blueprint("mlp", mlp.Config(hidden=(8,))),
    "hebbian": Blueprint("mlp", mlp.Config(hidden=(8,))),
    "three_factor": Blueprint("cells", cells.Config(cells=(30,))),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"update_every": 8, "minibatch": 8, "epochs": 2},
    "hebbian": {"dopamine": "shuffled"},
    "three_factor": {"dopamine": "shuffled", "exploration_time": 2.0},
}
GRID = Blueprint("cells", cells.Config(cells=(3, 3, 3, 3)))
"""Cells that are not drawn, so that all seeds look through the same."""


def make(
    name: str, seed: Any = 3, network: Blueprint | None = None, env: Any = None, **settings: Any
) -> Runner:
    """An agent in worlds of its own, before its first step."""
    module = config.agents_module(name)
    worlds = env or vector.make("CartPole-v1", ENVS)
    agent = module.Agent(
        module.Config(**{**SETTINGS[name], **settings}),
        network or NETWORKS[name],
        worlds.observation_space,
        worlds.action_space,
        horizon=Horizon(2000),
        seed=seed,
    )
    runner = Runner(agent, worlds)
    runner.start(agent.seeds[0])
    return runner


def side_by_side(network: Blueprint | None = None, **settings: Any) -> Runner:
    """Several seeds of three_factor as one program."""
    env = SideBySide([vector.make("CartPole-v1", ENVS) for _ in SEEDS])
    return make("three_factor", SEEDS, network, env, **settings)


def tensors(tree: Any) -> list[torch.Tensor]:
    return [x for x in leaves(tree) if isinstance(x, torch.Tensor)]


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


def frozen(tree: Any) -> Any:
    """A copy that later changes do not reach."""
    return tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else x, tree)


def learn(runner: Runner, updates: int = 12) -> Runner:
    for _ in range(updates):
        runner.step()
    return runner


# ---------------------------------- saving


@pytest.mark.parametrize("name", SETTINGS)
def test_a_saved_agent_goes_on_bit_by_bit_in_another(name):
    first, second = learn(make(name)), make(name, seed=9)
    assert not same(first.agent.state_dict(), second.agent.state_dict())
    second.agent.load_state_dict(first.agent.state_dict())
    assert same(first.agent.state_dict(), second.agent.state_dict())
    for _ in range(6):
        rollout, life = collect(first.agent, first.env, first.life)
        other, _ = collect_like(second.agent, rollout, first.life)
        assert same(other, rollout.steps.action)
        first_state, _ = first.agent.update(rollout, life.state)
        second_state, _ = second.agent.update(rollout, life.state)
        assert same(first_state, second_state)
        first.life = life._replace(state=first_state)
    assert same(first.agent.state_dict(), second.agent.state_dict())


def collect_like(agent: Agent, rollout: Any, life: Any) -> tuple[torch.Tensor, Any]:
    """The actions that an agent takes where another met these percepts."""
    state, actions = life.state, []
    for t in range(len(rollout.steps.reward)):
        percept = tree_map(lambda x, t=t: x[t], rollout.steps.percept)
        out = agent.act(percept, state)
        state = out.state
        actions.append(out.action)
    return torch.stack(actions), state


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_saved_stays_as_it_is_while_the_loader_learns(name):
    saved = frozen(learn(make(name)).agent.state_dict())
    kept = frozen(saved)
    second = make(name, seed=9)
    second.agent.load_state_dict(saved)
    learn(second, 3)
    assert same(saved, kept)
    assert not same(saved["modules"], second.agent.state_dict()["modules"])


@pytest.mark.parametrize("through", ["copy", "pickle"])
@pytest.mark.parametrize("name", [*SETTINGS, "three_factor of several seeds"])
def test_a_copy_is_in_the_same_state_shares_nothing_and_learns(name, through):
    several = name not in SETTINGS
    # shuffled dopamine is mostly zero at first
    told = {} if name == "ppo" else {"dopamine": "rpe"}
    runner = learn(side_by_side(**told) if several else make(name, **told))
    before = frozen(runner.agent.state_dict())
    if through == "copy":
        twin = copy.deepcopy(runner.agent)
    else:
        twin = pickle.loads(pickle.dumps(runner.agent))
    assert same(twin.state_dict(), before) and twin.seeds == runner.agent.seeds
    rollout, life = collect(runner.agent, runner.env, runner.life)
    drawn = frozen(runner.agent.state_dict()["generators"])
    twin.update(rollout, life.state)
    assert same(runner.agent.state_dict()["modules"], before["modules"])
    assert same(runner.agent.state_dict()["generators"], drawn)
    weights = zip(twin.trained_tensors(), runner.agent.trained_tensors(), strict=True)
    assert any(not torch.equal(a, b) for a, b in weights)


def test_generators_of_another_kind_of_device_are_left_as_they_are():
    runner, other = learn(make("hebbian")), make("hebbian", seed=9)
    state = frozen(runner.agent.state_dict())
    state["generators"] = torch.zeros(1, 16, dtype=torch.uint8)  # as a CUDA generator's
    before = other.agent.generator.get_state()
    other.agent.load_state_dict(state)
    assert torch.equal(other.agent.generator.get_state(), before)
    assert same(other.agent.state_dict()["modules"], state["modules"])


# ---------------------------------- several seeds


@pytest.mark.parametrize("dopamine", ["rpe", "shuffled"])
@pytest.mark.parametrize("cells_of", ["a grid", "each seed"])
def test_a_member_of_several_seeds_is_the_seed_alone(cells_of, dopamine):
    network = GRID if cells_of == "a grid" else None
    settings = {"dopamine": dopamine}
    together = side_by_side(network, **settings)
    singles = [make("three_factor", seed, network, **settings) for seed in SEEDS]
    for update in range(60):
        together.step()
        for i, single in enumerate(singles):
            single.step()
            chosen = together.life.percept.action.chunk(len(SEEDS))[i]
            assert torch.equal(chosen, single.life.percept.action), f"update {update}, seed {i}"
    for i, single in enumerate(singles):
        whole, one = together.agent.member(i).state_dict(), single.agent.state_dict()
        assert list(whole["modules"]) == list(one["modules"])
        for name, x in one["modules"].items():
            torch.testing.assert_close(whole["modules"][name], x, msg=f"{name} of seed {i}")
        assert torch.equal(whole["generators"], one["generators"])
        assert one["modules"]["readout.weight"].abs().max() > 0
    weights = together.agent.readout.weight
    assert not torch.allclose(weights[0], weights[1])


def test_a_member_has_cells_of_its_own_and_shares_nothing_with_the_group():
    together = learn(side_by_side())
    members = [together.agent.member(i) for i in range(len(SEEDS))]
    assert [m.seeds for m in members] == [(s,) for s in SEEDS]
    centres = [m.network.code.centres for m in members]
    assert not torch.equal(centres[0], centres[1])
    before = frozen(together.agent.state_dict())
    for x in members[0].state_dict()["modules"].values():
        x.zero_()
    assert same(before, together.agent.state_dict())


def test_a_member_goes_on_as_it_would_have_in_the_group():
    together = learn(side_by_side(GRID))
    member, single = together.agent.member(1), together.env.vectors[1]
    life = tree_map(lambda x: x.chunk(len(SEEDS))[1], together.life[:2])
    one = Runner(member, single)
    one.life = together.life._replace(percept=life[0], state=life[1])
    rollout, after = collect(together.agent, together.env, together.life)
    mine = tree_map(lambda x: x.chunk(len(SEEDS), 1)[1], (rollout.steps, rollout.states))
    following = tree_map(lambda x: x.chunk(len(SEEDS))[1], rollout.next)
    own, _ = collect_like(member, rollout._replace(steps=mine[0]), one.life)
    assert torch.equal(own, mine[0].action)
    state = tree_map(lambda x: x.chunk(len(SEEDS))[1], after.state)
    together.agent.update(rollout, after.state)
    member.update(rollout._replace(steps=mine[0], states=mine[1], next=following), state)
    torch.testing.assert_close(member.readout.weight[0], together.agent.readout.weight[1])


def test_every_seed_draws_from_its_own_generator_and_its_clock_counts_its_rows():
    together = side_by_side(GRID)
    agent = together.agent
    like = torch.zeros(len(SEEDS) * ENVS, 4)
    drawn = agent.draw(like, lambda x, g: torch.empty_like(x).normal_(generator=g))
    for i, seed in enumerate(SEEDS):
        own = make("three_factor", seed, GRID).agent
        expected = own.draw(like[:ENVS], lambda x, g: torch.empty_like(x).normal_(generator=g))
        assert torch.equal(drawn.chunk(len(SEEDS))[i], expected)
    assert torch.equal(
        agent.of_rows(torch.tensor([1.0, 2.0, 3.0]), 6), torch.tensor([1.0, 1, 2, 2, 3, 3])
    )
    rollout, _ = collect(agent, together.env, together.life)
    step = tree_map(lambda x: x[0], rollout.steps)
    valid = torch.tensor([True, True, True, False, False, False])
    ended = torch.tensor([True, False, True, True, True, False])
    step = step._replace(valid=valid, terminated=ended, truncated=torch.zeros(6, dtype=torch.bool))
    agent.count(step, 3, 2)
    assert agent.clock.steps.tolist() == [2, 1, 0]
    assert agent.clock.episodes.tolist() == [1, 1, 0]


@pytest.mark.parametrize("network", ["mlp", "spiking", "lsnn", "recurrent_spiking"])
def test_hidden_synapses_of_several_seeds_in_one_program_are_refused(network):
    with pytest.raises(ValueError, match=rf"three_factor .* seeds .* of {network} as one program"):
        side_by_side(Blueprint.default(network), rule="eprop")


def test_cells_that_move_are_refused_for_several_seeds_in_one_program():
    with pytest.raises(ValueError, match="seeds"):
        side_by_side(cells_lr=0.1)


@pytest.mark.parametrize("name", ["hebbian", "ppo"])
def test_an_agent_without_a_form_for_several_seeds_says_how_to_train_them(name):
    with pytest.raises(ValueError, match=f"{name} cannot train the seeds .*of_seeds"):
        make(name, SEEDS)


# ---------------------------------- the rest


def test_the_factor_of_learning_rates_follows_the_horizon():
    runner = make("three_factor", lr_final=0.5, lr_shape="exponential")
    assert runner.agent.lr_factor() == 1.0
    learn(runner, 10)  # 20 of 2000 steps
    assert runner.agent.lr_factor() == pytest.approx(0.5**0.01)
    together = side_by_side(lr_final=0.5, lr_shape="exponential")
    learn(together, 10)
    torch.testing.assert_close(together.agent.lr_factor(), torch.full((3,), 0.5**0.01))


def test_a_block_is_one_of_several_or_what_all_share():
    like, x = torch.zeros(2, 3), torch.arange(18.0)
    assert torch.equal(block(x.view(3, 2, 3), like, 1), x[6:12].view(2, 3))
    assert torch.equal(block(x[:6], like, 2), x[:6].view(2, 3))


def test_an_observation_that_is_no_vector_is_refused_with_the_agents_name():
    picture = gym.spaces.Box(0, 255, (12, 12, 1), np.uint8)
    module = config.agents_module("three_factor")
    with pytest.raises(ValueError, match=r"cannot be served: three_factor looks at numbers$"):
        module.Agent(module.Config(), GRID, picture, gym.spaces.Discrete(2), horizon=Horizon(10))


def test_the_seed_decides_what_is_drawn_and_nothing_else_does():
    torch.manual_seed(0)
    first = make("hebbian").agent.state_dict()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    second = make("hebbian").agent.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first, second)
    assert not same(first, make("hebbian", seed=4).agent.state_dict())
