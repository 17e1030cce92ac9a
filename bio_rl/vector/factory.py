"""From an environment's name to the vector that the training loop plays, or an error that helps."""

from __future__ import annotations

import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

from bio_rl import discovery
from bio_rl.faults import EnvironmentCrashedError, FaultyEnvironmentError
from bio_rl.machine import trust
from bio_rl.vector import third_party
from bio_rl.vector.adapter import Vector
from bio_rl.vector.guard import Guarded

OURS = "bio_rl/"
"""The namespace of this project's ids."""
NOT_OFFERED = ("phys2d/", "tabular/", "GymV2")
"""Namespaces of Gymnasium that no error message proposes: its own examples."""
PERTURBED = "CartPole-v1, Pendulum-v1 and the robots of MuJoCo, HalfCheetah-v5, Ant-v5, …"
"""Worlds that `--perturb` serves, for a message."""
WORKERS_SIGNALS = {"SIGINT": signal.SIG_IGN, "SIGHUP": signal.SIG_IGN, "SIGTERM": signal.SIG_DFL}
"""Signals of worker processes: the main process answers Ctrl-C, saves and then ends them."""


def find_id(env: str) -> str:
    """The registered id for a name: `bio_rl/HalfCheetah-v5` for `HalfCheetah-v5`.

    For `my_module:Id-v0` it is what that module registered, which must have been imported before
    (`trust.import_named`). The package that brings a known id is imported here (`third_party`).
    Raises ValueError with the nearest ids for an unknown one.
    """
    trust.check_named(env)
    module, _, name = env.rpartition(":")
    third_party.register(name, module)
    # Gymnasium has worlds of our names: ours win, unless a module is named.
    users_own = module and name in gym.registry
    if f"{OURS}{name}" in gym.registry and not users_own:
        return f"{OURS}{name}"
    if name in gym.registry:
        return name
    raise ValueError(f"no environment called {env!r}; {_near(name)} (see: train.py list envs)")


def _near(name: str) -> str:
    """The nearest ids, for a message: the list of all that are known would be too long."""
    known = [i.removeprefix(OURS) for i in gym.registry if not i.startswith(NOT_OFFERED)]
    suggestion = discovery.suggestion(name.removeprefix(OURS), known)
    return suggestion.partition(" known:")[0]


def make(
    env: str,
    num_envs: int,
    *,
    device: torch.device | str = "cpu",
    workers: bool = False,
    perturb: Sequence[str] = (),
    **kwargs: Any,
) -> Vector:
    """`num_envs` copies of an environment, in SAME_STEP mode where it can be asked for.

    env: an id, `HalfCheetah-v5` or `my_module:Id-v0`. workers: one process per environment
    (Gymnasium's AsyncVectorEnv) for ids that have no vectorised form. perturb: what is done to the
    world (docs/perturbations.md). A module that `env` names is imported: give no text from a
    stranger's file (`trust.check_named` refuses it).
    """
    if not isinstance(env, str):
        raise ValueError(
            f"env is {env!r:.80}, expected the name of an environment, such as HalfCheetah-v5"
        )
    if not isinstance(num_envs, int) or num_envs < 1:
        raise ValueError(f"--num-envs is {num_envs!r}, expected a whole number, at least 1")
    settings = {**kwargs, "perturb": list(perturb)} if perturb else kwargs
    if module := trust.module_of(env):
        trust.import_named(module)
    try:
        env_id = find_id(env)
    except gym.error.Error as error:
        raise ValueError(f"--env {env} cannot be made: {error}") from error
    opened: list[Guarded] = []
    try:
        return _checked(_make(env_id, num_envs, workers, settings, opened), env, num_envs, device)
    except Exception as error:
        # The next attempt may need what they hold: there may be one robot only.
        for single in opened:
            with suppress(Exception):
                single.close()
        raise _refusal(error, env, env_id, settings) from error


def _checked(made: VectorEnv, env: str, num_envs: int, device: torch.device | str) -> Vector:
    if made.num_envs != num_envs:
        raise FaultyEnvironmentError(
            f"--env {env} made {made.num_envs} environments where --num-envs {num_envs} "
            "were asked for"
        )
    return Vector(made, device)


def probe(env: Vector) -> None:
    """Reset and step once, to find what a world does against its space before anything is written.

    Our own worlds are tested; others raise FaultyEnvironmentError here rather than after a folder
    was made.
    """
    if env.exact:
        return
    env.reset(0)
    env.step(env.no_action())
    env.take_episodes()
    env.steps = 0


def _make(
    env_id: str, num_envs: int, workers: bool, settings: dict[str, Any], opened: list[Guarded]
) -> VectorEnv:
    """The vectorised environment; `opened` receives each single one, as soon as there is one."""
    package = third_party.family(env_id)
    same_step = AutoresetMode.SAME_STEP
    if package is not None and package.vector is not None:
        settings = {"vectorization_mode": "vector_entry_point", **package.vector, **settings}
    elif not _has_vector_form(env_id):
        # The guard comes first: what it checks is what the world itself gives.
        of_package = () if package is None else package.wrappers
        wrappers: list[Callable[[gym.Env], Any]] = [partial(Guarded, opened=opened), *of_package]
        with _deaf_to_ctrl_c(workers):
            return gym.make_vec(
                env_id,
                num_envs,
                vectorization_mode="async" if workers else "sync",
                vector_kwargs={"autoreset_mode": same_step},
                wrappers=wrappers,
                **settings,
            )
    try:
        return gym.make_vec(env_id, num_envs, autoreset_mode=same_step, **settings)
    except TypeError:
        # Its constructor takes no autoreset mode: the adapter serves the one that it has.
        return gym.make_vec(env_id, num_envs, **settings)


def _has_vector_form(env_id: str) -> bool:
    """Whether an id is stepped by a vectorised form of its own: ours, or one of the user's.

    Gymnasium's few are left out: their resets and infos are not those of its single environments.
    """
    spec = gym.spec(env_id)
    entry = spec.vector_entry_point
    of_gymnasium = isinstance(entry, str) and entry.startswith("gymnasium.")
    return spec.entry_point is None or (entry is not None and not of_gymnasium)


def _refusal(error: Exception, env: str, env_id: str, settings: Mapping[str, Any]) -> Exception:
    """The error that explains what a constructor raised: refused settings, or its own crash."""
    if isinstance(error, FaultyEnvironmentError):
        return error
    if isinstance(error, MemoryError):
        return ValueError(
            f"--env {env}: so many environments do not fit into memory; "
            "fewer --num-envs or episodes do"
        )
    # It was asked for by a flag, so the flag is what must be named.
    unknown = _unknown_argument(error)
    if unknown == "perturb":
        return ValueError(f"--perturb: {env} cannot be perturbed; these can: {PERTURBED}")
    if unknown in settings:
        return ValueError(f"--env-arg {unknown}: {env} takes no argument of this name")
    ours = env_id.startswith(OURS) and isinstance(error, ValueError)
    if ours or isinstance(error, gym.error.Error | ImportError | AssertionError):
        reason = _reason(error)
        return ValueError(reason if ours else f"--env {env} cannot be made: {reason}")
    kind = type(error).__name__
    return EnvironmentCrashedError(
        f"--env {env} cannot be made: its constructor raised {kind}: {error}"
    )


def _unknown_argument(error: Exception) -> str:
    """The argument that a constructor does not take; "" where the error is about something else."""
    if not isinstance(error, TypeError):
        return ""
    match = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    return match[1] if match else ""


def _reason(error: Exception) -> str:
    """The error's words; where it has none, the line that raised it."""
    # An assert has no words of its own.
    at = traceback.extract_tb(error.__traceback__)[-1]
    return str(error) or f"{type(error).__name__} in {at.name}: {at.line}"


@contextmanager
def _deaf_to_ctrl_c(workers: bool) -> Iterator[None]:
    """A block in which new processes inherit deafness to Ctrl-C, which the main process handles: it
    saves, then stops.
    """
    if not workers or threading.current_thread() is not threading.main_thread():
        yield
        return
    known = signal.Signals.__members__
    handlers = {name: handler for name, handler in WORKERS_SIGNALS.items() if name in known}
    before = {name: signal.signal(known[name], handler) for name, handler in handlers.items()}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(known[name], handler)
