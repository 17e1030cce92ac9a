"""Spiking and plastic agents for reinforcement learning. `import bio_rl` registers every `bio_rl/…`
environment id.
"""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout bio_rl.envs and bio_rl.agents are the folders beside this package; in the wheel they
# lie under it.
_root = Path(__file__).parents[1]
if (_root / "pyproject.toml").is_file() and (_root / "envs" / "__init__.py").is_file():
    __path__.append(str(_root))

from bio_rl import envs as _envs  # noqa: E402  (after the path above: a side-effect import, it registers the ids lazily)

_envs.register()


_API = {"train": "train", "resume": "resume", "load": "load", "evaluate": "evaluate_run"}


def __getattr__(name: str):
    """bio_rl.train, .resume, .load and .evaluate: loaded on first use, so that `import bio_rl`
    stays fast.
    """
    if name not in _API:
        raise AttributeError(f"module 'bio_rl' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("bio_rl.training.api"), _API[name])
