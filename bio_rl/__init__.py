"""Spiking and plastic agents for reinforcement learning.

    run = bio_rl.train("CartPole-v1", network="spiking")     train; also resume, load
    action, memory = run.predict(obs)                        and what else `bio_rl.run.Run` has
    env = bio_rl.make("HalfCheetahDamage-v0")                make a world; make_vec for many at once

`import bio_rl` registers every `bio_rl/…` environment id with Gymnasium.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bio_rl.run import (
        Progress,
        Run,
        StopTraining,
        evaluate,
        load,
        make,
        make_vec,
        resume,
        train,
    )

__version__ = "0.1.0"
__all__ = [
    "Progress",
    "Run",
    "StopTraining",
    "evaluate",
    "load",
    "make",
    "make_vec",
    "resume",
    "train",
]

_ROOT = Path(__file__).parents[1]


def _attach(name: str) -> None:
    """Import the folder beside this package as bio_rl.NAME; in the wheel it lies under it."""
    folder = _ROOT / name
    module = f"{__name__}.{name}"
    path = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        module, path, submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None  # it is a file of Python
    sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[module])
    globals()[name] = sys.modules[module]


if (_ROOT / "pyproject.toml").is_file() and (_ROOT / "envs" / "__init__.py").is_file():
    _attach("envs")
    _attach("agents")

from bio_rl import envs as _envs  # noqa: E402  (only now is it there)

_envs.register()


def __getattr__(name: str) -> Any:
    """The names of `bio_rl.run`, loaded on first use, so that `import bio_rl` stays fast."""
    if name not in __all__:
        raise AttributeError(f"module 'bio_rl' has no attribute {name!r}")
    return getattr(importlib.import_module("bio_rl.run"), name)


def __dir__() -> list[str]:
    """Names that completion offers."""
    return [*__all__, "envs", "agents", "__version__"]
