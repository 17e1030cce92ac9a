"""Outputs for what truly came next: against a network that looks at every step by itself."""

from __future__ import annotations

import pytest
import torch

from bio_rl.contracts import Percept, Transition
from bio_rl.networks import Blueprint
from bio_rl.rl.targets import following_percepts, next_outputs, unroll_with_next
from bio_rl.state import index, leaves

T, B, N_IN = 8, 3, 2


def lived() -> tuple[Transition, Percept]:
    """Eight steps of three environments, and the percept after them: the first ends by itself after
    step 1, the second is cut after steps 3 and 7, the third goes on.
    """
    g = torch.Generator().manual_seed(0)
    obs = torch.randn(T + 1, B, N_IN, generator=g)
    final = obs[1:].clone()
    action = torch.randn(T, B, generator=g)
    reward = torch.randn(T, B, generator=g)
    terminated = torch.zeros(T, B, dtype=torch.bool)
    truncated = torch.zeros(T, B, dtype=torch.bool)
    terminated[1, 0] = True
    truncated[3, 1] = truncated[7, 1] = True
    ends = terminated | truncated
    final[ends] = torch.randn(int(ends.sum()), N_IN, generator=g)
    before = [torch.cat((torch.zeros_like(x[:1]), x)) for x in (action, reward, terminated, ends)]
    percepts = Percept(obs, *before)
    steps = Transition(
        index(percepts, slice(0, T)), action, reward, terminated, truncated, final, ~ends, {}
    )
    return steps, index(percepts, T)


@pytest.mark.parametrize("network", ["mlp", "lstm"])
def test_the_next_output_is_that_of_the_true_next_observation_with_the_state_of_then(network):
    steps, _ = lived()
    torch.manual_seed(0)
    net = Blueprint.default(network).build(N_IN, 1)
    following = following_percepts(steps)
    state = start = net.initial_state(B)
    expected = []
    with torch.no_grad():
        for t in range(T):
            _, state = net(index(steps.percept, t), state)
            expected.append(net(index(following, t), state)[0])
    found = next_outputs(net, steps, start)
    # Where an episode has terminated no next observation counts.
    counts = ~steps.terminated
    torch.testing.assert_close(found[counts], torch.stack(expected)[counts])


@pytest.mark.parametrize("chunk", [0, 2, 4])
def test_states_are_kept_where_chunks_begin_and_the_last_is_that_after_all(chunk):
    steps, after = lived()
    torch.manual_seed(0)
    net = Blueprint.default("lstm").build(N_IN, 1)
    following = following_percepts(steps)
    start = net.initial_state(B)
    found = unroll_with_next(
        net, steps.percept, following, steps.truncated, start, chunk=chunk, after=after
    )
    state = start
    kept = []
    outputs = []
    with torch.no_grad():
        for t in range(T):
            kept.append(state)
            out, state = net(index(steps.percept, t), state)
            outputs.append(out)
        beyond = net(after, state)[0]
    torch.testing.assert_close(found.now, torch.stack(outputs))
    # Only the second environment was cut after the last step.
    torch.testing.assert_close(found.next[-1, [0, 2]], beyond[[0, 2]])
    assert not torch.allclose(found.next[-1, 1], beyond[1])
    for a, b in zip(leaves(found.state), leaves(state), strict=True):
        torch.testing.assert_close(a, b)
    if not chunk:
        assert found.starts == ()
    for i, at in enumerate(range(0, T, chunk) if chunk else ()):
        for a, b in zip(leaves(index(found.starts, i)), leaves(kept[at]), strict=True):
            torch.testing.assert_close(a, b)
