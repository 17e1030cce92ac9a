"""Gymnasium worlds, one a file. A file that defines ENV_IDS is registered; nothing is imported
until an id is made.

ENV_IDS is a plain literal, `{"bio_rl/Name-v0": {keyword arguments of gymnasium.register}}`, read
from the source text, so that `import bio_rl` stays fast. An entry point that starts with ":" names
something of the file itself.
"""

import ast
from pathlib import Path
from typing import Any

import gymnasium

Settings = dict[str, Any]
"""Keyword arguments of gymnasium.register."""


def register() -> None:
    """Register every id of this folder with Gymnasium (lazy string entry points); ids already known
    are left alone.
    """
    for env_id, settings in discover().items():
        if env_id not in gymnasium.registry:
            gymnasium.register(env_id, **settings)


def discover() -> dict[str, Settings]:
    """All ids of this folder with their registration settings; files and folders that start with
    "_" are skipped.
    """
    folder = Path(__file__).parent
    ids: dict[str, Settings] = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if any(part.startswith("_") for part in parts):
            continue
        module = ".".join(("bio_rl.envs", *parts))
        for env_id, settings in _env_ids(path).items():
            if env_id in ids:
                raise ValueError(
                    f"environment id {env_id!r} is defined twice, the second time in {path}"
                )
            ids[env_id] = {key: _in_full(key, x, module) for key, x in settings.items()}
    return ids


def _env_ids(path: Path) -> dict[str, Settings]:
    """The literal ENV_IDS of a source file, without importing it; {} if the file has none."""
    value = _assigned(ast.parse(path.read_text(encoding="utf-8")), "ENV_IDS")
    if value is None:
        return {}
    try:
        return ast.literal_eval(value)
    except ValueError as error:
        raise ValueError(
            f"ENV_IDS in {path} must be a plain literal (it is read without importing it)"
        ) from error


def _assigned(module: ast.Module, name: str) -> ast.expr | None:
    """The expression that a module assigns to a name, with or without an annotation."""
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=target), value=value):
                pass
            case _:
                continue
        if target == name:
            return value
    return None


def _in_full(key: str, value: Any, module: str) -> Any:
    """The setting with an entry point `:Name` written as `module:Name`; any other as it is."""
    is_entry_point = key.endswith("entry_point")
    return module + value if is_entry_point and value.startswith(":") else value
