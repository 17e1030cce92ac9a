"""DQN, SAC and TD3: seeds side by side, targets by hand, schedules, and the memory of critics."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from bio_rl import agents as every_agent
from bio_rl import discovery, groups, vector
from bio_rl.contracts import Percept
from bio_rl.networks import Blueprint, mlp
from bio_rl.rl.clock import Horizon
from bio_rl.rl.group_features import GroupFeatures
from bio_rl.rl.off_policy import OffPolicyState
from bio_rl.rl.replay import Sample
from bio_rl.rl.targets import n_step_target
from bio_rl.state import index, leaves, tree_map
from bio_rl.training.config import fill
from bio_rl.training.runner import Runner
from tests.rl.learners import ACTIONS, BOX, HIDDEN, N_IN, N, agent, batch, copy_weights


@pytest.mark.parametrize("name", list(ACTIONS))
def test_seeds_side_by_side_learn_what_each_learns_alone(name):
    """A hundred updates from the same data; another's data changes nothing."""
    settings = {"target_every": 20} if name == "dqn" else {}
    together, shuffled = (agent(name, seed=(3, 4), **settings) for _ in range(2))
    alone = [agent(name, seed=s, **settings) for s in (3, 4)]
    n = N
    for step in range(100):
        sample = batch(step, ACTIONS[name], groups=2)
        together.learner.learn(sample)
        for i, one in enumerate(alone):
            own = index(sample.steps._replace(extras={}), (slice(None), slice(i * n, i * n + n)))
            one.learner.learn(Sample(own, sample.states))
        other = batch(1000 + step, ACTIONS[name], groups=2)
        mixed = tree_map(lambda a, b: torch.cat((a[:, :n], b[:, n:]), 1), sample.steps, other.steps)
        shuffled.learner.learn(sample._replace(steps=mixed))
    for network in ("actor", "target"):
        twins = 2 if name != "dqn" and network == "target" else 1
        parts = groups.members(getattr(together, network), 2 * twins)
        for i, one in enumerate(alone):
            own = groups.members(getattr(one, network), twins)
            for k in range(twins):
                for a, b in zip(parts[i * twins + k], own[k], strict=True):
                    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
        first = groups.members(getattr(shuffled, network), 2 * twins)
        for a, b in zip(parts[0], first[0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        assert any((a - b).abs().max() > 1e-3 for a, b in zip(parts[-1], first[-1], strict=True))


def test_sac_of_choices_ends_at_the_softmax_of_values_over_temperature():
    """In a world of one step, where Q is the reward: Haarnoja et al. 2018, eq. 4."""
    learner = agent("sac of choices", lr=0.01, critic_lr=0.01, temperature=0.5)
    sample = batch(0, ACTIONS["dqn"])
    action = sample.steps.action
    ended = torch.ones_like(sample.steps.terminated)
    reward = torch.tensor([0.0, 0.5, 1.0])[action]
    seen = sample.steps.percept._replace(obs=torch.zeros_like(sample.steps.percept.obs))
    steps = sample.steps._replace(percept=seen, reward=reward, terminated=ended, truncated=~ended)
    for _ in range(400):
        said = learner.learner.learn(sample._replace(steps=steps))
    policy = learner.actor(index(seen, 0), ())[0].softmax(-1)[0]
    wanted = torch.tensor([0.0, 1.0, 2.0]).softmax(-1)
    torch.testing.assert_close(policy, wanted, atol=0.02, rtol=0.0)
    assert said["train/entropy"].item() == pytest.approx(
        -(wanted * wanted.log()).sum().item(), abs=0.02
    )


@pytest.mark.parametrize("name", list(ACTIONS))
def test_every_seed_has_a_whole_replay(name):
    rows = batch(0, ACTIONS[name], groups=2).steps
    one, two = agent(name), agent(name, seed=(0, 1))
    one.replay.add(index(rows._replace(extras={}), (slice(None), slice(0, 1))))
    two.replay.add(index(rows._replace(extras={}), (slice(None), slice(0, 2))))
    assert one.replay.room == two.replay.room == 1000
    assert (
        one.check_memory().startswith("replay of 1,000 steps: ")
        and "1,000 steps for each of 2 seeds: " in two.check_memory()
    )


def test_a_step_that_is_no_experience_does_not_count_in_the_loss_of_dqn():
    learner = agent("dqn")
    sample = batch(1, ACTIONS["dqn"])
    valid = sample.steps.valid.clone()
    valid[0, 3] = False
    reward = torch.where(valid, sample.steps.reward, 1000.0)
    steps = sample.steps._replace(valid=valid, reward=reward)
    weights = learner.learner.loss_weights(sample._replace(steps=steps))
    torch.testing.assert_close(weights[0], valid[0] / (N - 1))
    said = learner.learner.learn(sample._replace(steps=steps))
    assert said["train/loss"].item() < 10


def test_dqn_looks_beyond_the_step_that_its_sum_ends_with():
    """The loss of three-step returns with the values after every step worked out."""
    learner = agent("dqn", n_step=3)
    one, two, three = (batch(seed, ACTIONS["dqn"]).steps for seed in (1, 2, 3))
    steps = tree_map(lambda *x: torch.cat(x), *(s._replace(extras={}) for s in (one, two, three)))
    with torch.no_grad():
        for p in learner.target.parameters():
            p.mul_(-1.0)
        cut = steps.terminated | steps.truncated
        assert 0 < cut[:2].any(0).sum() < N
        y = n_step_target(
            steps.reward, learner._next_values(steps, ()), steps.terminated, cut, 0.99, 3
        )
        q = (
            learner.actor.unroll(index(steps.percept, slice(0, 1)), ())[0]
            .gather(-1, steps.action[:1].unsqueeze(-1))
            .squeeze(-1)
        )
    said = learner.learner.learn(batch(1, ACTIONS["dqn"])._replace(steps=steps))
    assert said["train/loss"].item() == pytest.approx(
        torch.nn.functional.smooth_l1_loss(q, y).item(), rel=1e-5
    )


def test_one_update_of_sac_of_choices_by_hand():
    learner = agent("sac of choices", lr=1e-3, critic_lr=1e-3, target_entropy_share=0.5)
    sample = batch(1, ACTIONS["dqn"])
    steps, alpha = sample.steps, 1.0
    with torch.no_grad():
        for p in learner.target.parameters():
            p.mul_(1.5)

        def q(critic, obs):
            return torch.stack([head(_rows(obs), ())[0] for head in heads_of(critic)])

        ahead = learner.actor(_rows(steps.final_obs[0]), ())[0].log_softmax(-1)
        worth = (ahead.exp() * (q(learner.target, steps.final_obs[0]).amin(0) - alpha * ahead)).sum(
            -1
        )
        y = steps.reward[0] + 0.99 * (~steps.terminated[0]) * worth
        values = q(learner.critic, steps.percept.obs[0])
        chosen = values.gather(-1, steps.action[0].expand(2, -1).unsqueeze(-1)).squeeze(-1)
        logp = learner.actor(_rows(steps.percept.obs[0]), ())[0].log_softmax(-1)
        entropy = -(logp.exp() * logp).sum(-1).mean()
    said = learner.learner.learn(sample)
    assert said["train/critic_loss"].item() == pytest.approx(
        0.5 * (chosen - y).square().mean(1).sum().item(), rel=1e-4
    )
    assert said["train/entropy"].item() == pytest.approx(entropy.item(), rel=1e-4)
    too_much = entropy - 0.5 * np.log(3)
    assert torch.sign(learner.log_alpha.value) == -torch.sign(
        too_much
    )  # less temperature where there is too much entropy


def _rows(obs: torch.Tensor) -> Percept:
    return Percept(obs, *torch.zeros(3, len(obs)), torch.zeros(len(obs), dtype=torch.bool))


def heads_of(critic: Any) -> list[Any]:
    """Its two heads, each as a network of its own."""
    heads = [mlp.Network(mlp.Config(hidden=HIDDEN, activation="relu"), N_IN, 3) for _ in range(2)]
    for head, weights in zip(heads, groups.members(critic.heads, 2), strict=True):
        copy_weights(list(head.parameters()), list(weights))
    return heads


@pytest.mark.parametrize("every", [4, 8])
def test_the_critics_memory_is_kept_at_every_start_of_a_sequence(every):
    module = discovery.load(every_agent, "sac")
    config = module.Config(
        batch=8, replay=200, critic_hidden=(8,), sequence=4, update_every=every, start=1000
    )
    make = Blueprint("lstm", fill(Blueprint.default("lstm").config, {"hidden": 4}, "lstm"))
    env = vector.make("Pendulum-v1", 2)
    learner = module.Agent(
        config, make, env.observation_space, env.action_space, horizon=Horizon(1000)
    )
    runner = Runner(learner, env)
    runner.start(0)
    for _ in range(16 // every):
        runner.step()
    kept, states = learner.replay.stored, OffPolicyState(*learner.replay.states)
    percept = Percept(
        kept.obs[:16],
        later(kept.action[:16]),
        later(kept.reward[:16]),
        *torch.zeros(2, 16, 2, dtype=torch.bool),
    )
    percept = percept._replace(reset=(kept.flags[:16] & 8).bool())
    state = learner.critic.initial_state(2)
    for chunk in range(4):
        for a, b in zip(leaves(state), leaves(index(states.critic, chunk)), strict=True):
            torch.testing.assert_close(a, b)
        state = learner.critic.advance(index(percept, slice(4 * chunk, 4 * chunk + 4)), state)


def later(x: torch.Tensor) -> torch.Tensor:
    return torch.cat((torch.zeros_like(x[:1]), x[:-1]))


def test_a_rate_that_would_not_be_regulated_is_refused():
    module = discovery.load(every_agent, "sac")
    make = Blueprint(
        "spiking", fill(Blueprint.default("spiking").config, {"target_rate": 0.1}, "spiking")
    )
    with pytest.raises(ValueError, match=r"spiking\.target-rate"):
        module.Agent(module.Config(), make, BOX, ACTIONS["sac"], horizon=Horizon(1000))


def test_spiking_critics_follow_the_slope_s_schedule():
    module = discovery.load(every_agent, "td3")
    settings = {"slope": (1.0, 5.0), "critic": "spiking", "hidden": (8,)}
    make = Blueprint("spiking", fill(Blueprint.default("spiking").config, settings, "spiking"))
    learner = module.Agent(
        module.Config(), make, BOX, ACTIONS["td3"], horizon=Horizon(1000), seed=(0, 1)
    )
    learner.clock.count(500, 0)
    learner.learner.anneal()
    actor, critic = (
        {m.p.slope for m in part.modules() if hasattr(m, "p")}
        for part in (learner.actor, learner.critic)
    )
    assert (
        actor == critic
        and len(actor) == 1
        and actor != {m.p.slope for m in learner.target.modules() if hasattr(m, "p")}
    )


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, (1.0, 1.0, 1.0)),
        ({"lr_final": 0.0}, (1.0, 0.5, 0.1)),
        ({"lr_final": 0.0, "lr_hold": 0.6}, (1.0, 1.0, 0.25)),
    ],
)
def test_learning_rates_follow_their_schedule(settings: dict, rates: tuple[float, ...]):
    module = discovery.load(every_agent, "td3")
    config = module.Config(lr=1.0, **settings)
    learner = module.Agent(
        config, Blueprint.default("mlp"), BOX, ACTIONS["td3"], horizon=Horizon(1000)
    )
    found = []
    for steps in (0, 500, 400):
        learner.clock.count(steps, 0)
        learner.learner.anneal()
        found.append(learner.optimisers["actor"].param_groups[0]["lr"])
    assert found == pytest.approx(rates)


def test_seeds_side_by_side_have_statistics_of_their_own():
    space = gym.spaces.Box(-9.0, 9.0, (3,))
    together, alone = (
        GroupFeatures(space, True, 2),
        [GroupFeatures(space, True, 1) for _ in range(2)],
    )
    obs, valid = (
        torch.randn(5, 4, 3) * torch.tensor([1.0, 1.0, 3.0, 3.0]).unsqueeze(-1),
        torch.rand(5, 4) < 0.8,
    )
    together.update(obs, valid)
    for one, rows in zip(alone, (slice(0, 2), slice(2, 4)), strict=True):
        one.update(obs[:, rows], valid[:, rows])
        torch.testing.assert_close(together(obs, 1)[:, rows], one(obs[:, rows], 1))
        torch.testing.assert_close(together(obs[0], 0)[rows], one(obs[0, rows], 0))


@pytest.mark.parametrize("name", list(ACTIONS))
def test_a_member_goes_on_as_it_would_have_in_the_group(name):
    together = agent(name, seed=(3, 4))
    for step in range(5):
        together.learner.learn(batch(step, ACTIONS[name], groups=2))
    one = together.member(1)
    for step in range(5, 10):
        sample = batch(step, ACTIONS[name], groups=2)
        own = index(sample.steps._replace(extras={}), (slice(None), slice(N, 2 * N)))
        together.learner.learn(sample)
        one.learner.learn(Sample(own, sample.states))
    after = together.member(1)
    for (key, a), (other, b) in zip(
        after.state_dict()["modules"].items(), one.state_dict()["modules"].items(), strict=True
    ):
        assert key == other
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for key, optimiser in after.optimisers.items():
        for a, b in zip(optimiser.state.values(), one.optimisers[key].state.values(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_a_copy_of_seeds_side_by_side_goes_on_as_they_do():
    together = agent("sac", seed=(3, 4))
    together.learner.learn(batch(0, ACTIONS["sac"], groups=2))
    other = copy.deepcopy(together)
    for step in range(1, 4):
        sample = batch(step, ACTIONS["sac"], groups=2)
        for learner in (together, other):
            learner.learner.learn(sample)
    for a, b in zip(together.trained_tensors(), other.trained_tensors(), strict=True):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr()
    for a, b in zip(together.generators, other.generators, strict=True):
        assert torch.equal(a.get_state(), b.get_state())


def test_seeds_side_by_side_see_through_encoders_of_their_own():
    module = discovery.load(every_agent, "sac")
    config = module.Config(batch=8, replay=200, critic_hidden=(8,), start=4)
    env = vector.make("tests.worlds:RiddleVector-v0", 2, sense="all")
    learner = module.Agent(
        config,
        Blueprint("mlp", mlp.Config(hidden=(8,))),
        env.observation_space,
        env.action_space,
        horizon=Horizon(100),
        seed=(0, 1),
    )
    runner = Runner(learner, env)
    runner.start(0)
    encoder = learner.member(0).critic.trunk.encoder
    first = [w.detach().clone() for w in encoder.parameters()]
    for _ in range(8):
        runner.step()
    one, two = (learner.member(i).critic.trunk.encoder for i in range(2))
    assert any(not torch.equal(a, b) for a, b in zip(first, one.parameters(), strict=True))
    assert any(
        not torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)
    )
