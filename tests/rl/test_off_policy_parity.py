"""DQN, SAC and TD3 against Stable-Baselines3: one update from the same weights, batch and noise."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from bio_rl.rl.replay import Sample
from tests.rl.learners import ACTIONS, BOX, HIDDEN, N_IN, N, agent, batch, copy_weights

sb3 = pytest.importorskip("stable_baselines3")


class World(gym.Env):
    """Spaces without a world."""

    def __init__(self, action_space: gym.Space) -> None:
        self.observation_space, self.action_space = BOX, action_space

    def reset(self, **_: Any) -> Any:
        return np.zeros(N_IN, np.float32), {}


def their_batch(sample: Sample) -> Any:
    from stable_baselines3.common.type_aliases import ReplayBufferSamples

    s = sample.steps
    done = s.terminated.float()[0].unsqueeze(1)
    action = s.action[0] if s.action.dim() == 3 else s.action[0].unsqueeze(1)
    return ReplayBufferSamples(
        s.percept.obs[0], action, s.final_obs[0], done, s.reward[0].unsqueeze(1), None
    )


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


@pytest.mark.parametrize("target_entropy", [-1.0, 3.0])
def test_one_update_of_sac_equals_stable_baselines(monkeypatch, target_entropy):
    ours, sample = (
        agent("sac", lr=1e-3, critic_lr=1e-3, target_entropy=target_entropy),
        batch(1, ACTIONS["sac"]),
    )
    policy = {"net_arch": list(HIDDEN)}
    theirs = sb3.SAC(
        "MlpPolicy",
        World(ACTIONS["sac"]),
        target_entropy=2 * target_entropy,
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
    reported = ours.learner.learn(sample)
    kept = noises[::-1]  # it draws for what was seen first
    monkeypatch.setattr(
        torch.distributions.Normal,
        "rsample",
        lambda self, shape=(): self.loc + self.scale * kept.pop(0)[0],
    )
    monkeypatch.setattr(theirs.replay_buffer, "sample", lambda *_, **__: their_batch(sample))
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
    ours = agent("td3", lr=1e-3, critic_lr=1e-3)
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
        sample = batch(seed, ACTIONS["td3"])
        reported = ours.learner.learn(sample)
        with monkeypatch.context() as patch:
            patch.setattr(
                torch.Tensor, "normal_", lambda self, mean, std: self.copy_(mean + std * noise[0])
            )
            patch.setattr(
                theirs.replay_buffer, "sample", lambda *_, sample=sample, **__: their_batch(sample)
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
    ours, sample = (
        agent("dqn", lr=1e-3, double=double, max_grad_norm=0.1),
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
        obs = sample.steps.final_obs[0]
        choice = theirs.q_net(obs).argmax(1, keepdim=True)
        chosen = theirs.q_net_target(obs).gather(1, choice).detach()
        monkeypatch.setattr(theirs.q_net_target, "forward", lambda _: chosen.expand(-1, 3))
    reported = ours.learner.learn(sample)
    monkeypatch.setattr(theirs.replay_buffer, "sample", lambda *_, **__: their_batch(sample))
    theirs.train(1, N)
    assert reported["train/loss"].item() == pytest.approx(
        theirs.logger.name_to_value["train/loss"], rel=1e-5
    )
    compare(list(ours.actor.parameters()), list(theirs.q_net.parameters()), start)
