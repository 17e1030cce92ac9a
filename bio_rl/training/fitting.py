"""Whether what a file holds fits what is built: every name, type and shape is compared before
anything is taken from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from bio_rl.machine.files import one_line, printable
from bio_rl.rl import base
from bio_rl.state import leaves
from bio_rl.training.checkpoint import CheckpointError
from bio_rl.training.runner import Runner, begin

GENERATORS = {"generator", "generators"}
"""Names under which an agent's state has the states of its random generators."""
MOMENTS = {"Adam": ("step", "exp_avg", "exp_avg_sq"), "AdamW": ("step", "exp_avg", "exp_avg_sq")}
"""Names of what an optimiser keeps for each of its weights, once it has moved them."""
PARTS = {"agent": dict, "runner": dict, "stats": dict, "best": float, "elapsed": float}
"""The parts of every checkpoint, and the kind of each."""
STATS = {"returns": (torch.float64, 1), "lengths": (torch.int64, 1), "count": (torch.int64, 0)}
"""dtype and number of axes of what is saved of the episodes."""
APART = "replay"
"""The part of an agent's state whose rows have no fixed number."""


class MisfitError(ValueError):
    """Something saved is not of the kind that is expected there; the message begins with
    its place.
    """


def check_tree(tree: Mapping[str, Any], path: Path, step: int | None = None) -> None:
    """Raise CheckpointError unless the parts that every checkpoint of a run has are there, each of
    its kind.

    step: the one in the name of the file, where it has one.
    """
    try:
        for name, kind in PARTS.items():
            _is(tree.get(name), kind, name)
        # Parts are there now; what follows may look into them.
        _check_counters(tree["runner"], step)
        _check_stats(tree["stats"])
        _check_scalars(tree)
    except MisfitError as misfit:
        raise CheckpointError(f"{printable(path)}: {misfit}") from misfit


def _check_counters(runner: Mapping[str, Any], step: int | None) -> None:
    for name in ("seen", "updates"):
        _whole(runner.get(name), f"runner.{name}")
    seen = runner["seen"]
    _expect(step in (None, seen), "runner.seen", f"{step}, as the file's name says", seen)


def _check_stats(stats: Mapping[str, Any]) -> None:
    for name, (dtype, dim) in STATS.items():
        x = stats.get(name)
        right = isinstance(x, Tensor) and x.dtype is dtype and x.dim() == dim
        _expect(right, f"stats.{name}", f"a tensor of {dtype} with {dim} axes", x)
    pairs = len(stats["returns"]) == len(stats["lengths"])
    _expect(pairs, "stats.lengths", "one for each return", stats["lengths"])
    _expect(bool(stats["count"] >= 0), "stats.count", "0 or more", int(stats["count"]))


def _check_scalars(tree: Mapping[str, Any]) -> None:
    best = tree["best"]
    elapsed = tree["elapsed"]
    horizon = tree.get("horizon")
    _expect(not math.isnan(best), "best", "a number", best)
    lasted = math.isfinite(elapsed) and elapsed >= 0
    _expect(lasted, "elapsed", "0 or more seconds", elapsed)
    if not isinstance(horizon, list | tuple):
        raise MisfitError(f"horizon is {_shown(horizon)}, expected a list")
    _expect(len(horizon) == 2, "horizon", "steps and episodes", horizon)
    for i, bound in enumerate(horizon):
        _whole(bound, f"horizon[{i}]")
    saved = tree.get("replay")
    has_id = saved is None or type(saved) is str
    _expect(has_id, "replay", "the id of its index, or none", saved)


def fit_agent(agent: Any, saved: Mapping[str, Any], path: Path) -> None:
    """Bring `agent` to the state that was saved in `path`. Raises CheckpointError, one line, where
    it does not fit.
    """
    like = agent.learned_state()
    try:
        # torch would take a state of other shapes for some modules, and fail late for others.
        compare(_without(saved, APART), _without(like, APART), "agent")
        agent.load_state_dict(dict(saved))
        for name, optimiser in optimisers(agent):
            _check_moments(name, optimiser)
    # an agent of one's own raises what it likes over a state that does not fit
    except Exception as error:
        raise CheckpointError(
            f"{printable(path)} does not fit the agent in its config.json: {one_line(error)}"
        ) from error


def _without(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != name}


def fit_runner(runner: Runner, saved: Mapping[str, Any], path: Path) -> None:
    """Bring `runner`, its agent restored, to the lives that were saved in `path`. Raises
    CheckpointError, one line.
    """
    try:
        if runner.env.exact:
            _check_life(runner, saved)
            # Arrays were made tensors to be saved; a world wants its own back.
            env = saved["env"]
            saved = {**saved, "env": {**env, "env": _arrays(env["env"])}}
        runner.load_state_dict(saved)
        if isinstance(runner.agent, base.Agent):
            _check_rows(runner.agent, runner)
    # a simulator, or an environment of one's own, raises what it likes over a junk state
    except Exception as error:
        raise CheckpointError(
            f"{printable(path)} does not fit the run in its config.json: {one_line(error)}"
        ) from error


def _check_life(runner: Runner, saved: Mapping[str, Any]) -> None:
    """Raise MisfitError unless the saved lives and worlds are of the form of fresh ones."""
    at = "runner.life"
    life = saved.get("life")
    if not isinstance(life, list | tuple) or len(life) != 3:
        raise MisfitError(f"{at} is {_shown(life)}, expected percept, state and junk")
    fresh = begin(runner.agent, runner.env, seed=0)
    percept, state, junk = life
    compare((percept, state), (fresh.percept, fresh.state), at)
    _expect(
        junk is None or _is_mask(junk, runner.env.num_envs),
        f"{at}[2]",
        "one truth value for each environment, or none",
        junk,
    )
    compare(saved.get("env"), runner.env.state_dict(), "runner.env")


def _is_mask(x: Any, rows: int) -> bool:
    return isinstance(x, Tensor) and x.dtype is torch.bool and len(x) == rows


def _arrays(state: Mapping[str, Any]) -> dict[str, Any]:
    """An environment's state as it has made it: arrays, where a file holds tensors."""
    # Numbers and texts come back as they were.
    return {name: x.numpy() if isinstance(x, Tensor) else x for name, x in state.items()}


def compare(found: Any, like: Any, at: str) -> None:
    """Raise MisfitError at the first place where `found` has another name, type or shape than
    `like`.
    """
    if isinstance(like, Tensor):
        _compare_tensor(found, like, at)
    elif isinstance(like, np.ndarray):
        _compare_tensor(found, torch.from_numpy(np.array(like)), at)
    elif isinstance(like, Mapping):
        _compare_mapping(found, like, at)
    elif isinstance(like, tuple | list):
        _expect(type(found) in (tuple, list), at, f"{len(like)} values", found)
        _expect(len(found) == len(like), at, f"{len(like)} values", found)
        for i, part in enumerate(like):
            compare(found[i], part, f"{at}[{i}]")
    elif isinstance(like, np.generic):
        _is(found, type(like.item()), at)
    elif isinstance(like, float):
        _expect(type(found) in (int, float) and math.isfinite(found), at, "a finite number", found)
    else:
        _is(found, type(like), at)


def _compare_mapping(found: Any, like: Mapping[str, Any], at: str) -> None:
    _is(found, dict, at)
    missing = [name for name in like if name not in found]
    spare = [name for name in found if name not in like]
    _expect(not missing, at, f"an entry {missing[:1]}", sorted(map(str, found)))
    _expect(not spare, at, f"no entry {spare[:1]}", sorted(map(str, found)))
    # An optimiser that has not moved yet has nothing to compare its state with.
    unmoved = like.keys() == {"state", "param_groups"} and not like["state"]
    for name, part in like.items():
        if not (unmoved and name == "state"):
            compare(found[name], part, f"{at}.{name}")


def _compare_tensor(found: Any, like: Tensor, at: str) -> None:
    _is(found, Tensor, at)
    # The generators of another device are longer or shorter, and let be.
    is_generator = at.rpartition(".")[2] in GENERATORS
    right = found.dtype == like.dtype and (is_generator or found.shape == like.shape)
    _expect(right, at, _form(like), _form(found))
    is_counter = like.dim() == 0 and like.dtype in (torch.int64, torch.int32)
    if is_counter:
        _expect(int(found) >= 0, at, "0 or more", int(found))


def _form(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"


def optimisers(agent: Any) -> Iterator[tuple[str, Optimizer]]:
    """(name, optimiser) of those that are attributes of an agent, single or in a dictionary."""
    for name, value in vars(agent).items():
        if isinstance(value, Optimizer):
            yield name, value
        elif isinstance(value, dict):
            for key, x in value.items():
                if isinstance(x, Optimizer):
                    yield f"{name}.{key}", x


def _check_moments(name: str, optimiser: Optimizer) -> None:
    """Raise MisfitError for a state of an optimiser with which its first step would fail,
    or compute nonsense: torch loads any.
    """
    weights = [w for group in optimiser.param_groups for w in group["params"]]
    # The keys of an optimiser are its weights themselves: no == , they are tensors.
    strangers = [key for key in optimiser.state if all(key is not w for w in weights)]
    _expect(
        not strangers,
        f"agent.{name}.state",
        "entries of its weights alone",
        f"{len(strangers)} others",
    )
    for i, w in enumerate(weights):
        state = optimiser.state.get(w)
        at = f"agent.{name}.state[{i}]"
        if not state:
            continue
        _is(state, dict, at)
        for key in MOMENTS.get(type(optimiser).__name__, ()):
            _expect(key in state, at, f"an entry {key!r}", sorted(map(str, state)))
        for key, x in state.items():
            _check_moment(key, x, w, at)


def _check_moment(key: str, x: Any, weights: Tensor, at: str) -> None:
    """Raise MisfitError unless x is a step that is no past one, or a moment like the weights."""
    if key != "step":
        compare(x, torch.zeros_like(weights), f"{at}.{key}")
        return
    # Fused optimisers count in a tensor, others in a number.
    is_number = isinstance(x, Tensor | int | float)
    right = is_number and math.isfinite(float(x)) and float(x) >= 0
    _expect(right, f"{at}.step", "0 or more", x)


def _check_rows(agent: base.Agent, runner: Runner) -> None:
    """Raise MisfitError unless the rows of a replay are of what the agent sees and does now."""
    replay = agent.replay
    if replay is None or replay.stored is None:
        return
    stored = replay.stored
    percept = runner.life.percept
    # A row of the replay [B, ...] is one step of all environments, as a percept is.
    now = list(leaves(agent.features.compact(percept.obs)))
    compare([x[0] for x in leaves(stored.obs)], now, "replay.obs")
    compare([x[0] for x in leaves(stored.final_obs)], now, "replay.final_obs")
    compare(stored.action[0], percept.action, "replay.action")
    compare(stored.reward[0], percept.reward, "replay.reward")
    compare(stored.flags[0], percept.reward.to(torch.uint8), "replay.flags")
    states = replay.states and agent.initial_state(runner.env.num_envs)
    compare([x[0] for x in leaves(replay.states)], list(leaves(tuple(states))), "replay.states")


def _expect(right: bool, at: str, expected: str, found: Any) -> None:
    if not right:
        raise MisfitError(f"{printable(at)} is {_shown(found)}, expected {expected}")


def _is(value: Any, kind: type, at: str) -> None:
    _expect(
        type(value) is kind or (kind is Tensor and isinstance(value, Tensor)),
        at,
        f"a {kind.__name__}",
        value,
    )


def _whole(value: Any, at: str) -> None:
    _expect(type(value) is int and value >= 0, at, "a whole number, 0 or more", value)


def _shown(value: Any) -> str:
    """A short text for a message: small values as they are, others by their kind."""
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}, shape {tuple(value.shape)}"
    # A hostile file can make the text of a value as long as it likes.
    if isinstance(value, dict | list | tuple) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)}"
    try:
        return printable(value)[:120]
    except RecursionError:
        return f"a {type(value).__name__}"
