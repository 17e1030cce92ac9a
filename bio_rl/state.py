"""Operations on states: nested tuples, lists, NamedTuples and dicts of tensors whose leading axis
is the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Tree = TypeVar("Tree")


def tree_map(f: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """`f` applied leaf by leaf to trees of one structure; returns a tree of that structure."""
    if isinstance(
        tree, Tensor
    ):  # first: it is what most calls are about, and what is quickest to tell
        return f(tree, *rest)
    if isinstance(tree, tuple | list):
        items = (
            [tree_map(f, *leaves) for leaves in zip(tree, *rest, strict=True)]
            if rest
            else [tree_map(f, x) for x in tree]
        )
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)  # type: ignore[call-arg]
    if isinstance(tree, Mapping):
        return type(tree)((k, tree_map(f, v, *(r[k] for r in rest))) for k, v in tree.items())  # type: ignore[call-arg]
    return f(tree, *rest)


def leaves(tree: Any) -> Iterator[Tensor]:
    """The tensors of a tree, in order."""
    if isinstance(tree, Mapping):
        tree = tuple(tree.values())
    if isinstance(tree, tuple | list):
        for item in tree:
            yield from leaves(item)
    else:
        yield tree


def rows(mask: Tensor, like: Tensor) -> Tensor:
    """`mask` [B] shaped to broadcast over `like` [B, ...]."""
    return mask.view(mask.shape + (1,) * (like.dim() - mask.dim()))


def where_reset(reset: Tensor, fresh: Tree, state: Tree) -> Tree:
    """`fresh` in the rows where `reset` [B] is set, `state` elsewhere."""
    return tree_map(lambda new, old: torch.where(rows(reset, old), new, old), fresh, state)


def detach(state: Tree) -> Tree:
    """The same values without their history."""
    return tree_map(torch.Tensor.detach, state)


def clone(state: Tree) -> Tree:
    """A copy that shares no memory."""
    return tree_map(torch.clone, state)


def stack(states: Sequence[Tree]) -> Tree:
    """[B, ...] trees stacked to one [T, B, ...] tree; a single one is not copied."""
    if len(states) == 1:
        return tree_map(lambda x: x.unsqueeze(0), states[0])
    return tree_map(lambda *xs: torch.stack(xs), *states)


def index(state: Tree, at: Any) -> Tree:
    """`leaf[at]` for every leaf."""
    return tree_map(lambda x: x[at], state)


def to(state: Tree, device: torch.device | str) -> Tree:
    """The same tree on `device`."""
    return tree_map(lambda x: x.to(device), state)


def check_batch(state: Any, batch: int, owner: str) -> None:
    """Raise ValueError unless every leaf has `batch` rows: a state of another size is a caller's
    error.
    """
    for leaf in leaves(state):
        if leaf.shape[0] != batch:
            raise ValueError(
                f"{owner}: state has {leaf.shape[0]} rows but the percept has {batch}; "
                f"call initial_state({batch}) for a new batch instead of reusing another's state"
            )
