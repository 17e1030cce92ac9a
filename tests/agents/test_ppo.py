"""What PPO makes of a rollout: time limits, states, sequences, options."""

from __future__ import annotations

import pytest
import torch

from bio_rl.state import index, leaves, tree_map
from bio_rl.training.runner import collect
from tests.contracts.test_agents import make


def rollout_of(runner):
    rollout, life = collect(runner.agent, runner.env, runner.life)
    return rollout, life


def values_of(agent, rollout):
    steps = rollout.steps
    args = (agent.see(steps.percept), agent.features(steps.final_obs), agent.see(rollout.next))
    return agent._values(steps, *args, index(rollout.states.critic, 0))


@pytest.mark.parametrize("network", ["mlp", "lstm", "spiking"])
def test_truncated_episode_still_bootstraps_from_its_true_final_observation(network):
    runner = make("ppo", network)
    for _ in range(3):  # Identity is truncated at its step 20: the third rollout of 8 holds the cut
        rollout, runner.life = rollout_of(runner)
        critic_state = index(rollout.states.critic, 0)
        (v, v_next), _, state = values_of(runner.agent, rollout)
        runner.life = runner.life._replace(state=runner.life.state._replace(critic=state))
    cut = rollout.steps.truncated.any(1).nonzero().item()
    assert cut == 3
    # by hand: single critic steps to the cut, then a look at the final observation with the state
    # of that moment
    seen, agent = runner.agent.see(rollout.steps.percept), runner.agent
    for t in range(cut + 1):
        _, critic_state = agent.critic(index(seen, t), critic_state)
    no = torch.zeros(3, dtype=torch.bool)
    final = agent.features(rollout.steps.final_obs[cut])
    look = type(seen)(final, rollout.steps.action[cut], rollout.steps.reward[cut], no, no)
    expected = agent.critic(look, critic_state)[0].squeeze(-1)
    torch.testing.assert_close(v_next[cut], expected)
    torch.testing.assert_close(v_next[:cut], v[1 : cut + 1])
    assert not torch.allclose(v_next[cut], v[cut + 1])  # which is V of the next episode's start


def test_the_value_of_a_final_observation_leaves_the_state_untouched():
    runner = make("ppo", "lstm")
    agent = runner.agent
    for _ in range(3):
        rollout, runner.life = rollout_of(runner)
    state = index(rollout.states.critic, 0)
    _, _, with_looks = values_of(agent, rollout)
    _, plain = agent.critic.unroll(agent.see(rollout.steps.percept), state)
    for a, b in zip(leaves(with_looks), leaves(plain), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("network", "settings"),
    [("lstm", {}), ("spiking", {"memory": True}), ("spiking", {"code": "poisson"})],
)
def test_unrolled_sequences_reproduce_the_acting_policy(network, settings):
    # with the weights that acted, log probabilities of training sequences are those recorded: ratio
    # one, draws included
    runner = make("ppo", network, network_settings=settings)
    agent = runner.agent
    for _ in range(3):
        rollout, runner.life = rollout_of(runner)
    steps = rollout.steps
    (v, v_next), _, _ = values_of(agent, rollout)
    batch = agent._batch(steps, agent.see(steps.percept), steps.reward, v, v_next)
    assert batch.weight.shape == (4, 6)  # 8 steps x 3 environments as 6 sequences of 4
    starts = tree_map(lambda x: x.flatten(0, 1), rollout.states.actor)
    out, _ = agent.actor.unroll(batch.percept, starts)
    torch.testing.assert_close(
        agent.policy.log_prob(out, batch.action), batch.logp, rtol=1e-4, atol=1e-5
    )


def test_junk_rows_do_not_count():
    runner = make("ppo", "mlp")
    rollout, life = rollout_of(runner)
    valid = rollout.steps.valid.clone()
    valid[5, 1] = False
    spoiled = rollout.steps._replace(valid=valid, action=rollout.steps.action.clone())
    spoiled.action[5, 1] = 1 - spoiled.action[5, 1]  # whatever a junk row decided
    results = []
    for steps in (rollout.steps._replace(valid=valid), spoiled):
        twin = make("ppo", "mlp")
        twin.agent.update(rollout._replace(steps=steps), life.state)
        results.append([p.clone() for p in twin.agent.actor.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    "settings",
    [
        {"recompute_advantage": True},
        {"clip_value": 1e-4},
        {"target_kl": 1e-9},
        {"normalise_advantage": False},
        {"lr_final": 1.0},
    ],
)
def test_options_change_the_update(settings):
    plain, other = make("ppo", "mlp"), make("ppo", "mlp", **settings)
    for runner in (plain, other):
        for _ in range(3):
            runner.step()
    pairs = zip(plain.agent.parameters(), other.agent.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_learning_rate_falls_linearly_to_zero_at_the_horizon():
    runner = make("ppo", "mlp")  # horizon 1000, 24 steps a rollout
    runner.step()
    assert runner.agent.optimisers["adam"].param_groups[0]["lr"] == pytest.approx(
        8e-4 * (1 - 24 / 1000)
    )
    while runner.seen < 1000:
        runner.step()
    assert runner.agent.optimisers["adam"].param_groups[0]["lr"] == 0.0
