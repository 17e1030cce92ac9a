"""Changes that a hostile line makes to its folder before it is played."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bio_rl.training import checkpoint


class Edit:
    """The changes that a line may make to its folder; paths are relative to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> dict[str, Callable[..., None]]:
        """The functions, by the names that the lines use."""
        return {
            "write": self.write,
            "remove": self.remove,
            "link": self.link,
            "config": self.config,
            "unset": self.unset,
            "tree": self.tree,
            "plain": self.plain,
            "mode": self.mode,
            "directory": self.directory,
            "move": self.move,
        }

    def write(self, path: str, content: str | bytes = b"") -> None:
        """Put `content` in place of the file."""
        # surrogates stand for bytes that are no text, as in names of files
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        target = self.folder / path
        self.remove(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def remove(self, path: str) -> None:
        """Remove a file, a link or a folder, if it is there."""
        target = self.folder / path
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def move(self, path: str, to: str) -> None:
        """Rename a file or a folder."""
        (self.folder / path).rename(self.folder / to)

    def directory(self, path: str) -> None:
        """Put an empty folder in place of the file."""
        self.remove(path)
        (self.folder / path).mkdir(parents=True)

    def link(self, path: str, target: str) -> None:
        """Put a symlink in place of the file."""
        self.remove(path)
        (self.folder / path).symlink_to(target)

    def mode(self, path: str, bits: int) -> None:
        """Change the permissions."""
        (self.folder / path).chmod(bits)

    def config(self, where: str, value: Any, run: str = "ppo") -> None:
        """Set `run.steps`, say, in the run's config.json; an empty `where` stands for all of it."""

        def change(container: Any, key: str) -> None:
            container[key] = value

        self._configure(where, run, change)

    def unset(self, where: str, run: str = "ppo") -> None:
        """Delete a field from the run's config.json."""

        def change(container: Any, key: str) -> None:
            del container[key]

        self._configure(where, run, change)

    def _configure(self, where: str, run: str, change: Callable[[Any, str], None]) -> None:
        """Change one entry of the run's config.json."""
        path = self.folder / "runs" / run / "config.json"
        # The tree stands under an empty key, so that it can be replaced as any other entry.
        tree = {"": json.loads(path.read_text())}
        keys = ["", *where.split(".")] if where else [""]
        change(*_find(tree, keys))
        path.write_text(json.dumps(tree[""]))

    def tree(self, where: str, value: Any, run: str = "ppo") -> None:
        """Set `agent/net.0.weight`, say, in every checkpoint of the run; "DELETE" deletes it."""
        keys = ["", *where.split("/")] if where else [""]
        for path in (self.folder / "runs" / run / "checkpoints").glob("*.pt"):
            tree = {"": checkpoint.load(path)}
            container, key = _find(tree, keys)
            if isinstance(value, str) and value == "DELETE":
                del container[key]
            else:
                container[key] = value
            # as checkpoint.save writes it, which would refuse most of these values
            head = {"format": checkpoint.FORMAT, "version": checkpoint.VERSION}
            torch.save({**head, "tree": tree[""]}, path)

    def plain(self, path: str, value: Any) -> None:
        """Write `value` with torch.save, and nothing of ours around it."""
        torch.save(value, self.folder / path)


def _find(tree: Any, keys: Sequence[str]) -> tuple[Any, Any]:
    """The container and the key of the entry that `keys` lead to; lists are indexed by numbers."""
    for key in keys[:-1]:
        tree = tree[int(key)] if isinstance(tree, list | tuple) else tree[key]
    return tree, keys[-1]
