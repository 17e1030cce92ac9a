"""The agent hebbian: one step by hand, its mean change against the gradient, and that dopamine is
what teaches it.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from bio_rl import vector
from bio_rl.agents import hebbian
from bio_rl.contracts import Percept, Rollout, Transition
from bio_rl.networks import Blueprint, mlp
from bio_rl.rl.clock import Horizon
from bio_rl.state import stack
from bio_rl.training.evaluation import evaluate
from bio_rl.training.runner import Runner

N_IN, ACTIONS = 2, 2


def make(
    hidden=(3,), inputs: int = N_IN, action: gym.Space | None = None, **settings
) -> hebbian.Agent:
    config = hebbian.Config(
        **{"normalise_obs": False, "lr_final": 1.0, "readout_gain": 1.0, **settings}
    )
    spaces = (
        gym.spaces.Box(-1.0, 1.0, (inputs,), np.float32),
        action or gym.spaces.Discrete(ACTIONS),
    )
    return hebbian.Agent(
        config,
        Blueprint("mlp", mlp.Config(hidden=hidden)),
        *spaces,
        horizon=Horizon(10_000),
        seed=1,
    )


def weights(agent: hebbian.Agent) -> list[torch.Tensor]:
    """What it learns: the weights onto each hidden layer, the outputs and the critic, the biases
    last; they may be written.
    """
    return [plastic.weights for plastic in agent.plastic]


def see(obs: torch.Tensor, reset: bool = True) -> Percept:
    b = len(obs)
    never = torch.zeros(b, dtype=torch.bool)
    return Percept(
        obs, torch.zeros(b, dtype=torch.int64), torch.zeros(b), never, torch.full((b,), reset)
    )


def learn(agent, percept, out, reward, final, terminated=False, truncated=False, valid=True):
    """The state after one update for one decision."""
    b = len(percept.obs)
    flags = (torch.full((b,), flag) for flag in (terminated, truncated))
    step = Transition(
        percept, out.action, reward, *flags, final, torch.full((b,), valid), out.extras
    )
    return agent.update(Rollout(stack([step]), stack([out.state]), percept), out.state)


def test_one_step_by_hand():
    agent = make(
        (1,), 1, hidden_lr=0.1, actor_lr=0.2, critic_lr=0.6, noise=0.5, gamma=0.9, trace=0.5
    )
    w, out, critic = weights(agent)
    w[:], out[:], critic[:] = (
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[1.0, 0.0], [-1.0, 0.0]]),
        torch.tensor([[2.0, 1.0]]),
    )
    percept, state = see(torch.tensor([[0.5]])), agent.initial_state(1)
    decided = agent.act(percept, state)
    # the potential 0.5, and 0.5 ξ of noise; y = tanh(0.5 + 0.5 ξ); the outputs are y and -y, so π_0
    # = σ(2y)
    xi = decided.extras["signal0"].item() * 0.5
    y = np.tanh(0.5 + 0.5 * xi)
    pi = 1 / (1 + np.exp(-2 * y))
    score = (1 - pi) if decided.action.item() == 0 else -pi
    # the critic sees no noise: V(s) = 2 tanh(0.5) + 1, V(s') = 2 tanh(-0.2) + 1; δ = 3 + 0.9 V(s')
    # - V(s)
    rpe = 3 + 0.9 * (2 * np.tanh(-0.2) + 1) - (2 * np.tanh(0.5) + 1)
    state, metrics = learn(agent, percept, decided, torch.tensor([3.0]), torch.tensor([[-0.2]]))
    assert metrics["dopamine/rpe"].item() == pytest.approx(rpe, rel=1e-5)
    # e = s x with x = (0.5, 1) for the hidden neuron, s = ξ / 0.5; (y, 1) for the outputs; (tanh
    # 0.5, 1) for the critic
    e0, e1, e2 = (
        np.array([0.5, 1]) * xi / 0.5,
        score * np.array([y, 1]),
        np.array([np.tanh(0.5), 1]),
    )
    np.testing.assert_allclose(w[0], np.array([1, 0]) + 0.1 * rpe * e0, rtol=1e-5)
    np.testing.assert_allclose(out[0], np.array([1, 0]) + 0.2 * rpe * e1, rtol=1e-5)
    np.testing.assert_allclose(out[1], np.array([-1, 0]) - 0.2 * rpe * e1, rtol=1e-5)
    np.testing.assert_allclose(
        critic[0], np.array([2, 1]) + 0.6 / 2 * rpe * e2, rtol=1e-5
    )  # its two synapses share 0.6
    # at the next decision of the episode e has faded by γλ = 0.45; at the first of another nothing
    # is left
    for reset, left in [(False, 0.45), (True, 0.0)]:
        again = agent.act(see(torch.tensor([[0.0]]), reset), state)
        after, _ = learn(
            agent,
            see(torch.tensor([[0.0]]), reset),
            again,
            torch.tensor([0.0]),
            torch.tensor([[0.0]]),
        )
        new = again.extras["signal0"].item() * np.array([0.0, 1.0])
        np.testing.assert_allclose(after.synapses[0].traces.e[0, 0], left * e0 + new, rtol=1e-5)


def test_hebb_takes_the_running_mean_of_the_activity_for_what_is_usual():
    agent = make((1,), 1, rule="exploratory_hebb", noise=0.5)
    state, ys, mean = agent.initial_state(1), [], 0.0
    for t in range(3):
        decided = agent.act(see(torch.tensor([[0.5]]), reset=t == 0), state)
        state = decided.state
        ys.append(decided.extras["x1"][0, 0].item())
        # ȳ starts with the first activity of the episode, then ȳ ← 0.8 ȳ + 0.2 y (e^(-1/4.5) =
        # 0.8007)
        keep = np.exp(-1 / 4.5)
        mean = ys[0] if t == 0 else keep * mean + (1 - keep) * ys[-1]
        assert decided.extras["signal0"].item() == pytest.approx((ys[-1] - mean) / 0.25, abs=1e-5)


@pytest.mark.parametrize("rule", ["three_factor", "exploratory_hebb"])
def test_the_mean_change_of_every_layer_follows_the_gradient(rule):
    """A static task: the reward -|a - a*|² of a continuous action, one step from one observation;
    the gradient by autograd.
    """
    n, target = 40_000, torch.tensor([0.8, -0.4])
    box = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    agent = make(
        (4, 3),
        3,
        box,
        rule=rule,
        noise=0.1,
        hidden_lr=1.0,
        actor_lr=1.0,
        gamma=0.0,
        log_std=-2.0,
        tau_mean=50.0,
    )
    before = [w.clone() for w in weights(agent)]
    obs = torch.tensor([0.3, -0.7, 0.5]).expand(n, 3)
    state = agent.initial_state(n)
    if rule == "exploratory_hebb":  # what this input usually makes the neurons do is known
        calm = agent.network.live(see(obs, reset=False), state.network)
        means = zip(state.means, calm.trails, strict=True)
        usual = (mean._replace(mean=trail.post.spike[:, 0]) for mean, trail in means)
        state = state._replace(means=tuple(usual))
    decided = agent.act(see(obs, reset=False), state)
    reward = -(decided.action - target).square().sum(-1)
    decided = decided._replace(
        extras={**decided.extras, "value": reward.mean().expand(n)}
    )  # δ = r - r̄
    learn(agent, see(obs), decided, reward, obs, terminated=True)

    parameters = [w.clone().requires_grad_() for w in before[:-1]]
    y = obs[0]
    for i, w in enumerate(parameters):
        y = (torch.tanh(y) if i else y) @ w[:, :-1].T + w[:, -1]
    (-(y - target).square().sum()).backward()
    for w, old, parameter in zip(weights(agent), before, parameters, strict=False):
        change = (w - old).flatten()
        assert torch.cosine_similarity(change, parameter.grad.flatten(), 0) > 0.9
        if rule == "three_factor":
            assert (change.norm() / parameter.grad.norm()).item() == pytest.approx(1.0, abs=0.15)


def test_the_critic_does_not_see_the_noise():
    agent = make(noise=3.0)
    weights(agent)[-1][:] = 1.0
    percept = see(torch.tensor([[0.3, 0.1]]).expand(64, 2))
    value = agent.act(percept, agent.initial_state(64)).extras["value"]
    assert torch.equal(value, value[:1].expand(64))


def test_a_time_limit_bootstraps_from_the_final_observation_and_termination_does_not():
    rpe = {}
    for terminated in (True, False):
        agent = make(gamma=0.5)
        weights(agent)[-1][0, -1] = 4.0  # V = 4 everywhere
        percept = see(torch.zeros(2, N_IN))
        decided = agent.act(percept, agent.initial_state(2))
        ends = {"terminated": terminated, "truncated": not terminated}
        _, metrics = learn(agent, percept, decided, torch.ones(2), torch.zeros(2, N_IN), **ends)
        rpe[terminated] = metrics["dopamine/rpe"].item()
    assert rpe == {True: 1.0 - 4.0, False: 1.0 + 0.5 * 4.0 - 4.0}


@pytest.mark.parametrize("how", [{"dopamine": "none"}, {"valid": False}])
def test_without_dopamine_or_on_junk_rows_nothing_changes(how):
    agent = make(dopamine=how.get("dopamine", "rpe"))
    before = [w.clone() for w in weights(agent)]
    percept = see(torch.ones(2, N_IN))
    decided = agent.act(percept, agent.initial_state(2))
    learn(
        agent, percept, decided, torch.ones(2), torch.zeros(2, N_IN), valid=how.get("valid", True)
    )
    assert all(torch.equal(a, b) for a, b in zip(before, weights(agent), strict=True))


@pytest.mark.parametrize("valid", [True, False])
def test_shuffled_dopamine_does_not_reach_what_is_eligible_on_junk_rows(valid):
    agent = make(dopamine="shuffled")
    percept = see(torch.ones(2, N_IN))
    decided = agent.act(percept, agent.initial_state(2))
    state, _ = learn(agent, percept, decided, torch.ones(2), torch.zeros(2, N_IN))
    agent.dopamine.past.fill_(3.0)
    before = [w.clone() for w in weights(agent)]
    percept = see(torch.ones(2, N_IN), reset=False)
    decided = agent.act(percept, state)
    learn(agent, percept, decided, torch.ones(2), torch.zeros(2, N_IN), valid=valid)
    changed = [not torch.equal(a, b) for a, b in zip(before, weights(agent), strict=True)]
    assert all(changed) if valid else not any(changed)


def test_the_hidden_layer_stays_as_it_was_drawn_at_a_rate_of_zero():
    agent = make(hidden_lr=0.0)
    before = [w.clone() for w in weights(agent)]
    percept = see(torch.ones(2, N_IN))
    learn(
        agent,
        percept,
        agent.act(percept, agent.initial_state(2)),
        torch.ones(2),
        torch.zeros(2, N_IN),
    )
    assert [torch.equal(a, b) for a, b in zip(before, weights(agent), strict=True)] == [
        True,
        False,
        False,
    ]


def test_environments_share_the_weights_which_change_by_the_mean_over_them():
    single, many = make(), make()
    percept = see(torch.ones(1, N_IN))
    decided = single.act(percept, single.initial_state(1))
    learn(single, percept, decided, torch.ones(1), torch.zeros(1, N_IN))
    four = see(torch.ones(4, N_IN))
    same = decided._replace(
        action=decided.action.repeat(4),
        extras={k: v.repeat(4, *[1] * (v.dim() - 1)) for k, v in decided.extras.items()},
        state=many.initial_state(4),
    )
    learn(many, four, same, torch.ones(4), torch.zeros(4, N_IN))
    for a, b in zip(weights(single), weights(many), strict=True):
        torch.testing.assert_close(a, b)


def identity(space: str, **settings) -> float:
    """Mean greedy reward per step after learning the Identity world, the median of five seeds."""
    return float(np.median([identity_of_seed(seed, space, **settings) for seed in range(5)]))


def identity_of_seed(seed: int, space: str, steps: int = 2000, **settings) -> float:
    """Mean greedy reward per step after learning the Identity world."""
    env = vector.make("tests.worlds:Identity-v0", 4, space=space)
    config = hebbian.Config(
        **{"gamma": 0.0, "actor_lr": 0.3, "hidden_lr": 0.01, "log_std": -1.0, **settings}
    )
    network = Blueprint("mlp", mlp.Config(hidden=(16,)))
    agent = hebbian.Agent(
        config, network, env.observation_space, env.action_space, horizon=Horizon(steps), seed=seed
    )
    runner = Runner(agent, env)
    runner.start(seed)
    while runner.seen < steps:
        runner.step()
    return evaluate(agent, vector.make("tests.worlds:Identity-v0", 10, space=space), 100).mean / 20


@pytest.mark.parametrize(
    ("space", "rule"),
    [("discrete", "three_factor"), ("discrete", "exploratory_hebb"), ("box", "three_factor")],
)
def test_it_learns_identity(space, rule):
    assert identity(space, rule=rule) > 0.85


def test_it_does_not_learn_identity_with_shuffled_dopamine():
    assert identity("discrete", dopamine="shuffled") < 0.8


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="dopamine is 'serotonin'; known: none, rpe, shuffled"):
        make(dopamine="serotonin")
    for name, value in [
        ("rule", "three_factors"),
        ("noise", 0.0),
        ("gamma", 1.5),
        ("hidden_lr", -1.0),
    ]:
        with pytest.raises(ValueError, match=f"hebbian.{name}"):
            hebbian.Config(**{name: value})
