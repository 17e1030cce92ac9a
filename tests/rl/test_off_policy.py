"""DQN, SAC and TD3 against Stable-Baselines3: one update from the same weights, batch and noise."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from bio_rl import agents as every_agent
from bio_rl import discovery, groups, vector
from bio_rl.contracts import Percept, Transition
from bio_rl.networks import Blueprint, mlp
from bio_rl.rl import off_policy
from bio_rl.rl.clock import Horizon
from bio_rl.rl.off_policy import OffPolicyState
from bio_rl.rl.replay import Drawn
from bio_rl.rl.targets import n_step_target
from bio_rl.state import index, leaves, tree_map
from bio_rl.training.config import fill
from bio_rl.training.runner import Runner

sb3 = pytest.importorskip("stable_baselines3")

N_IN, N, HIDDEN = 3, 32, (16, 16)
BOX = gym.spaces.Box(-1.0, 1.0, (N_IN,), np.float32)
ACTIONS = {name: gym.spaces.Box(-1.0, 1.0, (2,), np.float32) for name in ("sac", "td3")}
ACTIONS |= {name: gym.spaces.Discrete(3) for name in ("dqn", "sac of choices")}


class World(gym.Env):
    """Spaces without a world."""

    def __init__(self, action_space: gym.Space) -> None:
        self.observation_space, self.action_space = BOX, action_space

    def reset(self, **_: Any) -> Any:
        return np.zeros(N_IN, np.float32), {}


def agent(name: str, seed: Any = 0, device: str = "cpu", **settings: Any) -> Any:
    module = discovery.load(every_agent, name.split()[0])
    critic = {} if name == "dqn" else {"critic_hidden": HIDDEN}
    config = module.Config(**{"batch": N, "replay": 1000, **critic, **settings})
    blueprint = Blueprint("mlp", mlp.Config(hidden=HIDDEN, activation="relu"))
    return module.Agent(
        config, blueprint, BOX, ACTIONS[name], horizon=Horizon(1000), seed=seed, device=device
    )


def batch(seed: int, action_space: gym.Space, groups: int = 1) -> Drawn:
    """Steps of which some end an episode, for `groups` seeds."""
    g = torch.Generator().manual_seed(seed)
    n = groups * N
    obs, final = (torch.randn(1, n, N_IN, generator=g) for _ in range(2))
    action = torch.rand(1, n, 2, generator=g) * 2 - 1
    if isinstance(action_space, gym.spaces.Discrete):
        action = torch.randint(action_space.n, (1, n), generator=g)
    reward, ends = torch.randn(1, n, generator=g), torch.rand(2, 1, n, generator=g) < 0.2
    terminated, truncated = ends[0], ends[1] & ~ends[0]
    no = torch.zeros_like(terminated)
    percept = Percept(obs, torch.zeros_like(action), torch.zeros_like(reward), no, no)
    steps = Transition(percept, action, reward, terminated, truncated, final, ~no, {})
    return Drawn(steps, OffPolicyState((), ()), torch.ones(n), torch.arange(n))


def their_batch(drawn: Drawn) -> Any:
    from stable_baselines3.common.type_aliases import ReplayBufferSamples

    s = drawn.steps
    done = s.terminated.float()[0].unsqueeze(1)
    action = s.action[0] if s.action.dim() == 3 else s.action[0].unsqueeze(1)
    return ReplayBufferSamples(
        s.percept.obs[0], action, s.final_obs[0], done, s.reward[0].unsqueeze(1), None
    )


def copy_weights(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        b.data.copy_(a.detach())


def of_actor(a: Any) -> list[torch.Tensor]:
    """Our actor's weights in their order: the mean's and the deviation's layers are one layer of
    ours.
    """
    *hidden, weight, bias = a.actor.parameters()
    half = len(bias) // 2
    return [*hidden, weight[:half], bias[:half], weight[half:], bias[half:]]


def of_critic(critic: Any) -> list[torch.Tensor]:
    return [p[k] for k in range(2) for p in critic.parameters()]


def compare(
    ours: list[torch.Tensor], theirs: list[torch.Tensor], before: list[torch.Tensor]
) -> None:
    """The weights agree, and so do their changes, which are small beside them."""
    for a, b, start in zip(ours, theirs, before, strict=True):
        assert not torch.equal(b, start)
        torch.testing.assert_close(a.detach(), b.detach(), rtol=1e-5, atol=1e-7)


def clones(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    return [t.detach().clone() for t in tensors]


def test_one_update_of_sac_equals_stable_baselines(monkeypatch):
    ours, drawn = (
        agent("sac", learning_rate=1e-3, critic_learning_rate=1e-3),
        batch(1, ACTIONS["sac"]),
    )
    policy = {"net_arch": list(HIDDEN)}
    theirs = sb3.SAC(
        "MlpPolicy",
        World(ACTIONS["sac"]),
        learning_rate=1e-3,
        policy_kwargs=policy,
        device="cpu",
        batch_size=N,
    )
    theirs.set_logger(sb3.common.logger.configure(None, []))
    copy_weights(of_actor(ours), list(theirs.actor.parameters()))
    copy_weights(of_critic(ours.critic), list(theirs.critic.parameters()))
    copy_weights(of_critic(ours.target), list(theirs.critic_target.parameters()))
    start = clones(list(theirs.actor.parameters())), clones(list(theirs.critic.parameters()))
    noises: list[torch.Tensor] = []
    drawing = ours._noise
    monkeypatch.setattr(ours, "_noise", lambda out: noises.append(drawing(out)) or noises[-1])
    reported = ours.learn(drawn)
    kept = noises[::-1]  # it draws for what was seen first
    monkeypatch.setattr(
        torch.distributions.Normal,
        "rsample",
        lambda self, shape=(): self.loc + self.scale * kept.pop(0)[0],
    )
    monkeypatch.setattr(theirs.replay_buffer, "sample", lambda *_, **__: their_batch(drawn))
    theirs.train(1, N)
    said = theirs.logger.name_to_value
    for name in ("critic_loss", "actor_loss", "ent_coef"):
        assert reported[f"train/{name}"].item() == pytest.approx(said[f"train/{name}"], rel=1e-5), (
            name
        )
    compare(of_actor(ours), list(theirs.actor.parameters()), start[0])
    compare(of_critic(ours.critic), list(theirs.critic.parameters()), start[1])
    compare(of_critic(ours.target), list(theirs.critic_target.parameters()), start[1])
    assert ours.log_alpha.value.item() == pytest.approx(theirs.log_ent_coef.item(), rel=1e-5)


def test_updates_of_td3_equal_stable_baselines(monkeypatch):
    """Two: the second moves the actor and the targets."""
    ours = agent("td3", learning_rate=1e-3, critic_learning_rate=1e-3)
    policy = {"net_arch": list(HIDDEN)}
    theirs = sb3.TD3(
        "MlpPolicy",
        World(ACTIONS["td3"]),
        learning_rate=1e-3,
        policy_kwargs=policy,
        device="cpu",
        batch_size=N,
    )
    theirs.set_logger(sb3.common.logger.configure(None, []))
    pairs = [
        (list(ours.actor.parameters()), list(theirs.actor.parameters())),
        (list(ours.target_actor.parameters()), list(theirs.actor_target.parameters())),
        (of_critic(ours.critic), list(theirs.critic.parameters())),
        (of_critic(ours.target), list(theirs.critic_target.parameters())),
    ]
    for mine, their in pairs:
        copy_weights(mine, their)
    start = [clones(their) for _, their in pairs]
    noise = torch.randn(1, N, 2)
    monkeypatch.setattr(ours, "_noise", lambda out: noise)
    for seed in (1, 2):
        drawn = batch(seed, ACTIONS["td3"])
        reported = ours.learn(drawn)
        with monkeypatch.context() as patch:
            patch.setattr(
                torch.Tensor, "normal_", lambda self, mean, std: self.copy_(mean + std * noise[0])
            )
            patch.setattr(
                theirs.replay_buffer, "sample", lambda *_, drawn=drawn, **__: their_batch(drawn)
            )
            theirs.train(1, N)
    said = theirs.logger.name_to_value
    for name in ("critic_loss", "actor_loss"):
        assert reported[f"train/{name}"].item() == pytest.approx(said[f"train/{name}"], rel=1e-5), (
            name
        )
    now = [
        list(ours.actor.parameters()),
        list(ours.target_actor.parameters()),
        of_critic(ours.critic),
        of_critic(ours.target),
    ]
    for mine, (_, their), before in zip(now, pairs, start, strict=True):
        compare(mine, their, before)


@pytest.mark.parametrize("double", [False, True])
def test_one_update_of_dqn_equals_stable_baselines(monkeypatch, double):
    ours, drawn = (
        agent("dqn", learning_rate=1e-3, double=double, max_grad_norm=0.1),
        batch(1, ACTIONS["dqn"]),
    )
    policy = {"net_arch": list(HIDDEN)}
    theirs = sb3.DQN(
        "MlpPolicy",
        World(ACTIONS["dqn"]),
        learning_rate=1e-3,
        policy_kwargs=policy,
        device="cpu",
        max_grad_norm=0.1,
    )
    theirs.set_logger(sb3.common.logger.configure(None, []))
    copy_weights(list(ours.actor.parameters()), list(theirs.q_net.parameters()))
    with torch.no_grad():
        for p in ours.target.parameters():
            p.mul_(-1.0)  # so that it would choose otherwise
    copy_weights(list(ours.target.parameters()), list(theirs.q_net_target.parameters()))
    start = clones(list(theirs.q_net.parameters()))
    # which SB3 has not: its target network is asked for the maximum, so give it the choice of the
    # other
    if double:
        obs = drawn.steps.final_obs[0]
        choice = theirs.q_net(obs).argmax(1, keepdim=True)
        chosen = theirs.q_net_target(obs).gather(1, choice).detach()
        monkeypatch.setattr(theirs.q_net_target, "forward", lambda _: chosen.expand(-1, 3))
    reported = ours.learn(drawn)
    monkeypatch.setattr(theirs.replay_buffer, "sample", lambda *_, **__: their_batch(drawn))
    theirs.train(1, N)
    assert reported["train/loss"].item() == pytest.approx(
        theirs.logger.name_to_value["train/loss"], rel=1e-5
    )
    compare(list(ours.actor.parameters()), list(theirs.q_net.parameters()), start)


@pytest.mark.parametrize("name", list(ACTIONS))
def test_seeds_side_by_side_learn_what_each_learns_alone(name):
    """A hundred updates from the same data; another's data changes nothing."""
    settings = {"target_every": 20} if name == "dqn" else {}
    together, shuffled = (agent(name, seed=(3, 4), **settings) for _ in range(2))
    alone = [agent(name, seed=s, **settings) for s in (3, 4)]
    n = N
    for step in range(100):
        drawn = batch(step, ACTIONS[name], groups=2)
        together.learn(drawn)
        for i, one in enumerate(alone):
            own = index(drawn.steps._replace(extras={}), (slice(None), slice(i * n, i * n + n)))
            one.learn(Drawn(own, drawn.states, drawn.weight[:n], drawn.places[:n]))
        other = batch(1000 + step, ACTIONS[name], groups=2)
        mixed = tree_map(lambda a, b: torch.cat((a[:, :n], b[:, n:]), 1), drawn.steps, other.steps)
        shuffled.learn(drawn._replace(steps=mixed))
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
    learner = agent(
        "sac of choices", learning_rate=0.01, critic_learning_rate=0.01, temperature=0.5
    )
    drawn = batch(0, ACTIONS["dqn"])
    action = drawn.steps.action
    ended = torch.ones_like(drawn.steps.terminated)
    reward = torch.tensor([0.0, 0.5, 1.0])[action]
    seen = drawn.steps.percept._replace(obs=torch.zeros_like(drawn.steps.percept.obs))
    steps = drawn.steps._replace(percept=seen, reward=reward, terminated=ended, truncated=~ended)
    for _ in range(400):
        said = learner.learn(drawn._replace(steps=steps))
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


def test_a_step_that_is_no_experience_has_no_priority_in_dqn():
    learner = agent("dqn", priority=0.6)
    drawn = batch(1, ACTIONS["dqn"])
    valid = drawn.steps.valid.clone()
    valid[0, 3] = False
    learner.replay.add(
        index(drawn.steps._replace(valid=valid, extras={}), (slice(None), slice(0, 1)))
    )
    reward = torch.where(valid, drawn.steps.reward, 1000.0)
    told = {}
    learner.replay.prioritise = lambda places, priority: told.update(
        zip(places.tolist(), priority.tolist(), strict=True)
    )
    weight = torch.linspace(0.1, 1.0, N)
    said = learner.learn(
        drawn._replace(steps=drawn.steps._replace(valid=valid, reward=reward), weight=weight)
    )
    assert told[3] == 0 and max(told.values()) < 100
    assert said["train/loss"].item() < 10
    share = learner.share(drawn._replace(steps=drawn.steps._replace(valid=valid), weight=weight))
    torch.testing.assert_close(
        share[0], weight * valid[0] / (N - 1)
    )  # Schaul et al. 2016: a mean of weighted errors


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
    said = learner.learn(batch(1, ACTIONS["dqn"])._replace(steps=steps))
    assert said["train/loss"].item() == pytest.approx(
        torch.nn.functional.smooth_l1_loss(q, y).item(), rel=1e-5
    )


def test_one_update_of_sac_of_choices_by_hand():
    learner = agent(
        "sac of choices", learning_rate=1e-3, critic_learning_rate=1e-3, target_entropy_share=0.5
    )
    drawn = batch(1, ACTIONS["dqn"])
    steps, alpha = drawn.steps, 1.0
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
    said = learner.learn(drawn)
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
        batch=8, replay=200, critic_hidden=(8,), sequence=4, every=every, start=1000
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
    kept, states = learner.replay.kept, OffPolicyState(*learner.replay.states)
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
    learner._anneal()
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
    ("share", "rates"), [(0.0, (1.0, 1.0, 1.0)), (1.0, (1.0, 0.5, 0.1)), (0.4, (1.0, 1.0, 0.25))]
)
def test_rates_fall_over_the_share_of_the_run_that_is_asked(share: float, rates: tuple[float, ...]):
    module = discovery.load(every_agent, "td3")
    config = module.Config(learning_rate=1.0, anneal=share)
    learner = module.Agent(
        config, Blueprint.default("mlp"), BOX, ACTIONS["td3"], horizon=Horizon(1000)
    )
    found = []
    for steps in (0, 500, 400):
        learner.clock.count(steps, 0)
        learner._anneal()
        found.append(learner.optimisers["actor"].param_groups[0]["lr"])
    assert found == pytest.approx(rates)


def test_seeds_side_by_side_have_statistics_of_their_own():
    space = gym.spaces.Box(-9.0, 9.0, (3,))
    together, alone = (
        off_policy.Views(space, True, 2),
        [off_policy.Views(space, True, 1) for _ in range(2)],
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
        together.learn(batch(step, ACTIONS[name], groups=2))
    one = together.member(1)
    for step in range(5, 10):
        drawn = batch(step, ACTIONS[name], groups=2)
        own = index(drawn.steps._replace(extras={}), (slice(None), slice(N, 2 * N)))
        together.learn(drawn)
        one.learn(Drawn(own, drawn.states, drawn.weight[N:], drawn.places[N:]))
    after = together.member(1)
    for (key, a), (other, b) in zip(
        after.state_dict()["modules"].items(), one.state_dict()["modules"].items(), strict=True
    ):
        assert key == other
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for key, optimiser in after.optimisers.items():
        for a, b in zip(optimiser.state.values(), one.optimisers[key].state.values(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
