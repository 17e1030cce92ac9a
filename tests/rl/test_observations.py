"""Observations of every kind: as features, behind learned encoders, through the adapter, and over
an exact resume.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from bio_rl import vector
from bio_rl.agents import ppo
from bio_rl.contracts import Percept, Probe
from bio_rl.energy import operations
from bio_rl.networks import Blueprint, cnn, mlp, spiking_conv
from bio_rl.parts import INPUT
from bio_rl.rl import encoders
from bio_rl.rl.clock import Horizon
from bio_rl.rl.observations import Mixed, Numbers, Picture, Tokens, for_space
from bio_rl.state import leaves
from bio_rl.training import checkpoint
from bio_rl.training.evaluation import evaluate
from bio_rl.training.runner import Runner, collect
from tests.worlds import SENSES

WORDS = Tokens(positions=3, words=7, first=0)
EYE = Picture(shape=(1, 9, 9), axes=(2, 0, 1), high=255.0)
SMALL = ppo.Config(update_every=8, minibatch=16, epochs=2, sequence=4)


def percept(obs, batch):
    never = torch.zeros(batch, dtype=torch.bool)
    return Percept(obs, torch.zeros(batch), torch.zeros(batch), never, ~never)


def runner(
    sense, network="mlp", env="RiddleVector-v0", seed=0, config=SMALL, num_envs=3, horizon=1000
):
    world = vector.make(f"tests.worlds:{env}", num_envs, sense=sense)
    agent = ppo.Agent(
        config,
        Blueprint.default(network),
        world.observation_space,
        world.action_space,
        horizon=Horizon(horizon),
        seed=seed,
    )
    made = Runner(agent, world)
    made.start(seed)
    return made


# ---------------------------------- features


@pytest.mark.parametrize(
    ("space", "obs", "expected"),
    [
        (spaces.Box(-9, 9, (2, 2), np.float32), [[1.0, 2.0], [3.0, 4.0]], [1, 2, 3, 4]),
        (spaces.Discrete(3, start=4), 1, [0, 1, 0]),  # the adapter has taken the start off
        (spaces.MultiDiscrete([2, 3]), [1, 0], [0, 1, 1, 0, 0]),
        (spaces.MultiDiscrete([[2], [2]]), [[0], [1]], [1, 0, 0, 1]),
        (spaces.MultiBinary(3), [0, 1, 1], [0, 1, 1]),
    ],
)
def test_numbers_by_hand(space, obs, expected):
    features = for_space(space, normalise=False)
    seen = features(torch.tensor(obs).expand(5, 2, *np.shape(obs)))
    assert features.size == len(expected) and seen.dtype == torch.float32
    assert torch.equal(seen, torch.tensor(expected, dtype=torch.float32).expand(5, 2, -1))


def test_a_dictionary_of_numbers_is_one_vector_normalised_entry_by_entry():
    space = spaces.Dict(
        a=spaces.Box(-9, 9, (2,), np.float32),
        b=spaces.Discrete(2),
        c=spaces.Box(-9, 9, (1,), np.float32),
    )
    features = for_space(space, normalise=True)
    obs = {
        "a": torch.tensor([[[0.0, 2.0]], [[4.0, 2.0]]]),
        "b": torch.tensor([[0], [1]]),
        "c": torch.tensor([[[1.0]], [[3.0]]]),
    }
    features.update(obs, torch.ones(2, 1, dtype=torch.bool))
    expected = torch.tensor([[[-1.0, 0.0, 1.0, 0.0, -1.0]], [[1.0, 0.0, 0.0, 1.0, 1.0]]])
    assert features.size == 5
    torch.testing.assert_close(features(obs), expected)


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (spaces.Box(0, 255, (84, 84, 4), np.uint8), Picture((4, 84, 84), (2, 0, 1), 255.0)),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), Picture((4, 84, 84), (0, 1, 2), 255.0)),
        (spaces.Box(0, 255, (210, 160, 3), np.uint8), Picture((3, 210, 160), (2, 0, 1), 255.0)),
        (
            spaces.Box(0, 1, (7, 7, 20), np.uint8),
            Picture((20, 7, 7), (2, 0, 1), 1.0),
        ),  # more planes than pixels
        (spaces.Box(0, 1, (10, 10, 4), np.bool_), Picture((4, 10, 10), (2, 0, 1), 1.0)),
        (spaces.MultiBinary((10, 10, 10)), Picture((10, 10, 10), (2, 0, 1), 1.0)),
        (spaces.Box(0, 9, (8,), np.int64), Tokens(8, 10, 0)),
        (spaces.Box(-1, 9, (8,), np.int8), Tokens(8, 11, -1)),
        (spaces.MultiDiscrete([30] * 8), Tokens(8, 30, 0)),
    ],
)
def test_pictures_and_tokens_are_known_by_their_spaces(space, size):
    assert for_space(space, normalise=True).size == Mixed(0, (size,), ("",))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (128,), np.uint8),  # Atari's memory: numbers
        spaces.Box(np.array([0, 0]), np.array([9, 5]), dtype=np.int64),  # no common vocabulary
        spaces.Box(-(2**40), 2**40, (2,), np.int64),
        spaces.Box(0.0, 1.0, (9, 9, 3), np.float32),
    ],
)
def test_other_boxes_are_numbers(space):
    features = for_space(space, normalise=True)
    assert features.size == np.prod(space.shape)
    assert isinstance(features, Numbers) and features.norm is not None


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(5),
        spaces.Tuple([spaces.Discrete(2)]),
        spaces.Dict(),
        spaces.Dict(a=spaces.Text(3)),
    ],
)
def test_other_spaces_are_refused(space):
    with pytest.raises(
        ValueError, match="cannot be served; known: Box, Discrete, MultiDiscrete, MultiBinary"
    ):
        for_space(space, normalise=True)


def test_a_dictionary_in_a_dictionary_is_refused_by_its_key():
    with pytest.raises(ValueError, match="'inner' is a Dict within a Dict"):
        for_space(spaces.Dict(inner=spaces.Dict(a=spaces.Discrete(2))), normalise=True)


# ---------------------------------- encoders


def test_observations_that_are_numbers_have_no_encoder():
    assert isinstance(encoders.build(Blueprint.default("mlp"), 5, 2), mlp.Network)


def test_numbers_pass_an_encoder_unchanged_beside_pictures_and_tokens():
    torch.manual_seed(1)  # of 12 draws of weights in a hundred one leaves a picture dark
    encoder = encoders.Encoder(Mixed(4, (EYE, WORDS), ("eye", "words")))
    numbers = torch.randn(6, 2, 4)
    picture, words = (
        torch.randint(0, 256, (6, 2, 9, 9, 1), dtype=torch.uint8),
        torch.randint(0, 7, (6, 2, 3)),
    )
    seen = encoder((numbers, picture, words))
    assert encoder.size == seen.shape[-1] == 4 + encoders.PICTURE_FEATURES + encoders.TOKEN_FEATURES
    assert torch.equal(seen[..., :4], numbers)
    for part in (seen[..., 4:68], seen[..., 68:]):  # the scale of normalised numbers
        torch.testing.assert_close(part.mean(-1), torch.zeros(6, 2), atol=1e-5, rtol=0)
        torch.testing.assert_close(part.std(-1, correction=0), torch.ones(6, 2), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("network", "size"),
    [
        ("mlp", Mixed(4, (EYE, WORDS), ("eye", "words"))),
        ("lsnn", Mixed(0, (EYE,), ("",))),
        ("cnn", Mixed(0, (EYE,), ("",))),
        ("spiking_conv", Mixed(0, (EYE,), ("",))),
    ],
)
def test_a_network_behind_an_encoder_describes_both(network, size):
    blueprint = Blueprint.default(network)
    if network == "spiking_conv":
        small = spiking_conv.Config(channels=(3,), kernel=(3,), stride=(2,), hidden=(8,))
        blueprint = Blueprint(network, small)
    net = encoders.build(blueprint, size, 2)
    parts = net.parts()
    before = {INPUT}
    for part in parts:
        loops = {source for source in part.sources if source not in before}
        assert part.name not in before and loops <= {"neurons"}
        before.add(part.name)
    assert [part.name for part in parts if INPUT in part.sources] == {
        "mlp": ["encoder eye picture", "encoder words", "features"],
        "lsnn": ["encoder picture"],
    }.get(network, ["picture"])
    held = {id(x) for part in parts if part.module for x in part.module.parameters()}
    assert held == {id(x) for x in net.parameters()}

    features = [torch.rand(2, size.flat)] if size.flat else []
    features.append(torch.randint(0, 256, (2, 9, 9, 1), dtype=torch.uint8))
    if WORDS in size.others:
        features.append(torch.randint(0, 7, (2, 3)))
    probe = Probe()
    net(percept(tuple(features), 2), net.initial_state(2), probe)
    found = [part.name for part in parts if part.role == "connection"]
    assert found == [name for name, _, _ in probe.products]


def test_a_picture_looks_the_same_with_its_channels_first_or_last():
    torch.manual_seed(0)
    last = encoders.PictureEncoder(Picture((3, 9, 9), (2, 0, 1), 255.0), "")
    torch.manual_seed(0)
    first = encoders.PictureEncoder(Picture((3, 9, 9), (0, 1, 2), 255.0), "")
    picture = torch.randint(0, 256, (2, 9, 9, 3), dtype=torch.uint8)
    torch.testing.assert_close(last(picture), first(picture.permute(0, 3, 1, 2)))


def test_the_order_of_words_counts():
    words = encoders.TokenEncoder(WORDS)
    assert not torch.allclose(
        words(torch.tensor([1, 2, 3])), words(torch.tensor([3, 2, 1])), atol=0.1
    )


def test_the_weights_of_positions_are_those_of_sukhbaatar_by_hand():
    place = encoders.TokenEncoder(Tokens(positions=2, words=3, first=0)).place
    d = encoders.TOKEN_FEATURES
    # j=1, J=2: (1 - 1/2) - (k/d)(1 - 1) = 1/2 for every k;  j=2: (1 - 1) - (k/d)(1 - 2) = k/d
    torch.testing.assert_close(
        place, torch.stack([torch.full((d,), 0.5), torch.arange(1, d + 1) / d])
    )


def test_tokens_start_at_the_smallest():
    words = encoders.TokenEncoder(Tokens(positions=1, words=3, first=-1))
    shifted = encoders.TokenEncoder(Tokens(positions=1, words=3, first=0))
    shifted.load_state_dict(words.state_dict())
    assert torch.equal(words(torch.tensor([[1], [-1]])), shifted(torch.tensor([[2], [0]])))


@pytest.mark.parametrize("side", [1, 2, 3, 5, 7, 10, 12, 16, 20, 35, 36, 64, 84, 210])
def test_layers_fit_pictures_of_any_size(side):
    trunk = cnn.Trunk((2, side, side), cnn.fit(side, side))
    assert trunk(torch.rand(1, 2, side, side)).shape == (1, trunk.size)
    assert trunk.size <= 32 * 14 * 14 or side > 84


def test_a_large_picture_is_seen_by_the_layers_of_mnih_2015():
    assert cnn.Trunk((4, 84, 84), cnn.fit(84, 84)).size == 3136  # 64 x 7 x 7


@pytest.mark.parametrize(
    "size",
    [5, Mixed(2, (EYE,), ("eye",)), Mixed(0, (WORDS,), ("",)), Mixed(0, (EYE, EYE), ("a", "b"))],
)
def test_a_network_for_pictures_takes_one_picture_and_nothing_else(size):
    with pytest.raises(ValueError, match="cannot be served by cnn, a network for pictures"):
        encoders.build(Blueprint.default("cnn"), size, 2)


def test_the_operations_of_an_encoder_are_counted():
    size = Mixed(0, (EYE,), ("eye",))
    net = encoders.build(Blueprint.default("mlp"), size, 2)
    probe = Probe()
    net(percept((torch.randint(1, 256, (4, 9, 9, 1), dtype=torch.uint8),), 4), (), probe)
    # 9 -> 7 -> 5 pixels with kernels of 3; then 32·25 to 64, 64 to 64, 64 to 64, 64 to 2
    convolutions = 49 * 9 * 16 + 25 * 9 * 16 * 32
    dense = 800 * 64 + 64 * 64 + 64 * 64 + 64 * 2
    assert operations(probe, 4).dense_macs == convolutions + dense


def test_actor_and_critic_have_encoders_of_their_own():
    made = runner("all")
    agent, (rollout, _) = made.agent, collect(made.agent, made.env, made.life)
    agent.critic.unroll(agent.see(rollout.steps.percept, 1), ())[0].sum().backward()
    assert all(p.grad.abs().sum() == 0 for p in agent.actor.parameters())
    assert all(p.grad.abs().sum() > 0 for p in agent.critic.encoder.parameters())


# ---------------------------------- end to end


@pytest.mark.parametrize("sense", [*SENSES, "all"])
def test_pictures_are_kept_as_bytes_until_a_network_looks(sense):
    made = runner(sense)
    rollout, _ = collect(made.agent, made.env, made.life)
    kinds = {
        "picture": torch.uint8,
        "bits": torch.int8,
        "numbers": torch.float32,
        "asked": torch.float64,
    }
    obs = rollout.steps.percept.obs
    for key, value in obs.items() if sense == "all" else [(sense, obs)]:
        assert value.dtype == kinds.get(key, torch.int64) and value.shape[:2] == (8, 3)


@pytest.mark.parametrize(
    ("sense", "network"),
    [("all", "mlp"), ("all", "lstm"), ("picture", "cnn"), ("tokens", "spiking")],
)
def test_a_run_resumed_from_a_checkpoint_equals_the_uninterrupted_one(tmp_path, sense, network):
    whole, cut = runner(sense, network), runner(sense, network)
    for made in (whole, cut):
        for _ in range(3):  # a rollout of 8 ends within an episode of 20
            made.step()
    checkpoint.save(
        tmp_path / "a.pt", {"agent": cut.agent.state_dict(), "runner": cut.state_dict()}
    )
    resumed, tree = runner(sense, network, seed=9), checkpoint.load(tmp_path / "a.pt")
    resumed.agent.load_state_dict(tree["agent"])
    resumed.load_state_dict(tree["runner"])
    for _ in range(3):
        whole.step(), resumed.step()
    one, two = (
        {"agent": made.agent.state_dict(), "runner": made.state_dict()} for made in (whole, resumed)
    )
    pairs = list(zip(leaves(one), leaves(two), strict=True))
    assert len(pairs) > 30
    for a, b in pairs:
        assert np.array_equal(np.asarray(a), np.asarray(b)) if not isinstance(a, str) else a == b


LEARNING = ppo.Config(
    update_every=20,
    minibatch=80,
    epochs=4,
    sequence=20,
    lr=3e-3,
    gamma=0.0,
    gae_lambda=0.0,
    entropy=0.01,
)


def score(sense, network, steps):
    """Mean greedy return over 20 episodes; 20 is perfect, 10 is chance."""
    made = runner(sense, network, "Riddle-v0", config=LEARNING, num_envs=16, horizon=steps)
    while made.seen < steps:
        made.step()
    return evaluate(made.agent, vector.make("tests.worlds:Riddle-v0", 20, sense=sense), 100).mean


@pytest.mark.parametrize("sense", [s for s in SENSES if s != "picture"])
def test_each_sense_alone_is_learned(sense):
    assert score(sense, "mlp", 1280) > 18


@pytest.mark.thorough
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_a_picture_is_learned(network):
    assert score("picture", network, 1280) > 18


@pytest.mark.learns
@pytest.mark.parametrize("network", ["lstm", "spiking", "recurrent_spiking"])
def test_a_picture_is_learned_by_networks_for_numbers(network):
    assert score("picture", network, 3200) > 18


@pytest.mark.learns
def test_a_dictionary_is_learned_sense_by_sense():
    assert score("all", "mlp", 19_200) > 18


def test_a_tuple_is_refused_by_the_agent_with_what_is_known():
    with pytest.raises(ValueError, match="cannot be served; known: Box"):
        ppo.Agent(
            SMALL,
            Blueprint.default("mlp"),
            gym.spaces.Tuple([spaces.Discrete(2)]),
            spaces.Discrete(2),
            horizon=Horizon(1),
        )
