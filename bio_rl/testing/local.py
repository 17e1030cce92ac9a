"""A checker of local learners: what a synapse learns depends on nothing that is foreign to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from bio_rl.contracts import Agent, Rollout
from bio_rl.training.runner import Runner, collect
from bio_rl.vector.adapter import Vector

Entries = Mapping[str, Any]
"""Names of tensors, each with an index of some of its entries; `...` for all of them."""

# Sums over foreign numbers may be rounded in another order, and no more than that.
RTOL = 1e-4
ATOL = 1e-7


@contextmanager
def no_autograd() -> Iterator[None]:
    """A context in which no gradient may be prepared: a local learner has no use for one.

    A computation that a gradient could flow back through raises AssertionError.
    """

    def refuse(_: Any) -> Any:
        raise AssertionError(
            "autograd keeps a tensor for a backward pass; a local rule has no use for one"
        )

    with torch.autograd.graph.saved_tensors_hooks(refuse, refuse):
        yield


def check_local(
    make: Callable[[], Agent],
    env: Vector,
    synapse: Entries,
    signals: Entries,
    *,
    updates: int = 30,
    seed: int = 0,
) -> None:
    """Raise an AssertionError where what one synapse learns depends on anything foreign to it.

    A whole training of `updates` updates is watched. Before each, the agent's weights, its state
    and what its decisions left behind are copied twice, and in the second copy every number is
    another, but for those that the synapse may know. After the update its weight and its traces
    must be the same in both.

    make: the agent, each time with the same settings. env: the `vector.Vector` in which it lives.
    synapse: the entries that are the synapse's: its weight, the first one, its traces, the activity
    of its two neurons. signals: the entries that it is told: the signal of its neuron and the
    modulators, with whatever they are made of.
    Names are those of `agent.state_dict()`, of the state and of `ActOut.extras`, with dots:
    `agent.modules.network.weight`, `state.hidden.e_bar`, `extras.psi`. What comes from the world
    reaches every synapse.
    """
    generator = torch.Generator().manual_seed(seed)
    runner = Runner(make(), env)
    runner.start(seed)
    weight, entries = next(iter(synapse.items()))
    learned = 0
    felt = 0
    for update in range(updates):
        rollout, life = collect(runner.agent, env, runner.life)
        before = {
            "agent": runner.agent.state_dict(),
            "state": life.state,
            "extras": rollout.steps.extras,
        }
        # An optimiser has no tensors before its first update, so that names are checked after it.
        if update:
            _check_names(before, {**synapse, **signals})
        altered = _altered(before, (synapse, signals), generator)
        after = _after_update(make(), rollout, before)
        after_altered = _after_update(make(), rollout, altered)
        _check_own(after, after_altered, synapse, update)
        old = dict(_named(before))[weight]
        learned += not torch.equal(old[entries], after[weight][entries])
        felt += not torch.equal(after[weight], after_altered[weight])
        state, _ = runner.agent.update(rollout, life.state)
        _check_no_history(state, update)
        runner.life = life._replace(state=state)
    assert learned > 0, f"{weight} never changed: nothing was checked"
    assert felt == updates, "nothing foreign was altered: nothing was checked"


def _check_no_history(state: Any, update: int) -> None:
    """Assert that autograd keeps no history of what the agent remembers."""
    alive = [name for name, x in _named({"state": state}) if x.requires_grad]
    assert not alive, (
        f"update {update}: autograd keeps the history of {', '.join(alive)}; a local learner "
        "has no use for one"
    )


def _check_names(tree: Any, entries: Entries) -> None:
    """Assert that every entry names a tensor."""
    names = {name for name, _ in _named(tree)}
    unknown = [name for name in entries if name not in names]
    assert not unknown, (
        f"nothing is called {', '.join(unknown)}; there are {', '.join(sorted(names))}"
    )


def _after_update(learner: Agent, rollout: Rollout, before: Any) -> dict[str, Tensor]:
    """Every tensor of a learner and of its state after one update that starts at `before`."""
    learner.load_state_dict(before["agent"])
    steps = rollout.steps._replace(extras=before["extras"])
    state, _ = learner.update(rollout._replace(steps=steps), before["state"])
    return dict(_named({"agent": learner.state_dict(), "state": state}))


def _check_own(
    after: dict[str, Tensor], after_altered: dict[str, Tensor], synapse: Entries, update: int
) -> None:
    """Assert that what is the synapse's is the same after both updates."""
    for name, entries in synapse.items():
        if name not in after:  # the activity of a decision is in neither
            continue
        one = after[name][entries]
        other = after_altered[name][entries]
        assert torch.allclose(one, other, rtol=RTOL, atol=ATOL), (
            f"update {update}: {name} at {entries} depends on what is foreign to the synapse: "
            f"{one} and {other}"
        )


# Nested dicts and tuples of tensors, whose names are the keys on the way with dots between them


def _named(tree: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of real numbers in a tree, with its name."""
    if isinstance(tree, Tensor):
        if tree.is_floating_point():
            yield path, tree
    elif isinstance(tree, dict | tuple | list):
        for key, item in _items(tree):
            yield from _named(item, _joined(path, key))


def _altered(
    tree: Any, spared: tuple[Entries, ...], generator: torch.Generator, path: str = ""
) -> Any:
    """A copy in which every real number is another, but for the entries that are spared."""
    if isinstance(tree, Tensor):
        return _other_numbers(tree, spared, generator, path)
    if not isinstance(tree, dict | tuple | list):
        return tree
    new = {key: _altered(item, spared, generator, _joined(path, key)) for key, item in _items(tree)}
    if isinstance(tree, dict):
        return new
    if _is_named_tuple(tree):
        return type(tree)(*new.values())
    return type(tree)(new.values())


def _other_numbers(
    x: Tensor, spared: tuple[Entries, ...], generator: torch.Generator, path: str
) -> Tensor:
    """A copy of a tensor with other real numbers; those from 0 on stay so, as rates do."""
    if not x.is_floating_point():
        return x.clone()
    factor = 0.5 + torch.rand(x.shape, generator=generator)
    # The offset alters zeros too.
    offset = 0.1 * torch.rand(x.shape, generator=generator)
    new = x * factor + offset
    for entries in spared:
        if path in entries:
            new[entries[path]] = x[entries[path]]
    return new


def _items(tree: Any) -> list[tuple[Any, Any]]:
    """The keys and the items of a dict, a named tuple or a sequence."""
    if isinstance(tree, dict):
        return list(tree.items())
    if _is_named_tuple(tree):
        return list(zip(tree._fields, tree, strict=True))
    return list(enumerate(tree))


def _is_named_tuple(tree: Any) -> bool:
    """Whether a tuple has names: a state is a plain tuple or a NamedTuple."""
    return isinstance(tree, tuple) and type(tree) is not tuple


def _joined(path: str, key: Any) -> str:
    """The name of an item at a path."""
    if not path:
        return str(key)
    return f"{path}.{key}"
