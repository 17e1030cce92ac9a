"""Gymnasium worlds, one a file. A file that defines ENV_IDS is registered; nothing is imported
until an id is made.

ENV_IDS is a plain literal, `{"bio_rl/Name-v0": {keyword arguments of gymnasium.register}}`, read
from the source text, so that `import bio_rl` stays fast. An entry point that starts with ":" names
something of the file itself.
"""

import ast
from pathlib import Path

import gymnasium


def register() -> None:
    """Register every id of this folder with Gymnasium (lazy string entry points); ids already known
    are left alone.
    """
    for env_id, settings in discover().items():
        if env_id not in gymnasium.registry:
            gymnasium.register(env_id, **settings)


def discover() -> dict[str, dict]:
    """All ids of this folder with their registration settings; files and folders that start with
    "_" are skipped.
    """
    folder = Path(__file__).parent
    found: dict[str, dict] = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if any(part.startswith("_") for part in parts):
            continue
        for env_id, settings in _env_ids(path).items():
            if env_id in found:
                raise ValueError(
                    f"environment id {env_id!r} is defined twice, the second time in {path}"
                )
            found[env_id] = {
                k: _entry_point(v, parts) if k.endswith("entry_point") else v
                for k, v in settings.items()
            }
    return found


def _env_ids(path: Path) -> dict[str, dict]:
    """The literal ENV_IDS of a source file, without importing it; {} where the file has none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if any(isinstance(target, ast.Name) and target.id == "ENV_IDS" for target in targets):
            try:
                return ast.literal_eval(node.value)
            except ValueError as error:
                raise ValueError(
                    f"ENV_IDS in {path} must be a plain literal (it is read without importing it)"
                ) from error
    return {}


def _entry_point(value: str, parts: tuple[str, ...]) -> str:
    """ ":Name" -> "bio_rl.envs.family.file:Name"; a full entry point is returned as it is."""
    return ".".join(("bio_rl.envs", *parts)) + value if value.startswith(":") else value
