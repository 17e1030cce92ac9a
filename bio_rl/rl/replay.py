"""Replay: the last steps of every environment, from which learners draw sequences.

A step is kept with its true next observation, so that a time limit is no end, and with whether it
began an episode. Learners with memory draw sequences that start where their state was kept, every
`stride` steps; for others a sequence is a step, or the few that n-step returns need. Everything
lies on one device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from bio_rl.contracts import Percept, State, Transition
from bio_rl.machine.ram import available, size_text
from bio_rl.rl.sum_tree import SumTree
from bio_rl.state import index, tree_map

TERMINATED, TRUNCATED, VALID, RESET = 1, 2, 4, 8
"""Bits of a step's flags."""
SMALLEST = 1e-6
"""Added to a priority, so that every step can be drawn again. Schaul et al. 2016, §3.3."""


class Kept(NamedTuple):
    """What is kept of a step, [T, B, ...]."""

    obs: Any
    final_obs: Any
    action: Tensor
    reward: Tensor
    flags: Tensor
    """uint8."""


class Drawn(NamedTuple):
    """N sequences of L steps for learning."""

    steps: Transition
    """[L, N, ...]. What came before a sequence is not kept: the action and the reward of its first
    percept are zero.
    """
    states: State
    """[N, ...] the learner's state at the first step."""
    weight: Tensor
    """[N] that makes up for a draw by priority, at most 1; without priorities all 1."""
    places: Tensor
    """[N] where they start, for `prioritise`."""


class Replay:
    """The last `capacity` steps, all environments together.

    length: steps of a sequence. stride: states are kept at every stride-th step, and sequences
    start there. groups: the environments' rows are so many blocks, each drawn from for itself.
    alpha: how much priorities count (Schaul et al. 2016, eq. 1); 0 for none.
    """

    def __init__(
        self, capacity: int, device: torch.device | str = "cpu", *, length: int = 1, stride: int = 1, groups: int = 1,
        alpha: float = 0.0,
    ) -> None:  # fmt: skip
        for name, value in (
            ("capacity", capacity),
            ("length", length),
            ("stride", stride),
            ("groups", groups),
        ):
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"{name} of a replay is {value!r}, expected a whole number, at least 1"
                )
        self.capacity, self.length, self.stride, self.groups, self.alpha = (
            capacity,
            length,
            stride,
            groups,
            alpha,
        )
        self.device = torch.device(device)
        self.bits = torch.tensor(
            [TERMINATED, TRUNCATED, VALID, RESET], dtype=torch.uint8, device=self.device
        ).view(4, 1, 1)
        self.kept: Kept | None = None
        self.states: State = ()
        self.trees: list[SumTree] = []
        self.highest = torch.ones(groups, dtype=torch.float64, device=self.device)
        """[G] the largest priority so far, which new steps get, so that each is drawn soon."""
        self.added = 0
        """Steps per environment since the beginning; the one with the number i lies in row i %
        room.
        """

    @property
    def room(self) -> int:
        """Steps per environment that there is room for; 0 before the first is added."""
        return 0 if self.kept is None else len(self.kept.reward)

    @property
    def size(self) -> int:
        """Steps per environment that are kept."""
        return min(self.added, self.room)

    @property
    def starts(self) -> int:
        """Starts per environment of sequences that are whole."""
        return max(0, (self.size - self.length) // self.stride + 1)

    def add(self, steps: Transition, states: State = ()) -> None:
        """Keep steps [T, B, ...], T a multiple of the stride, and the states [T / stride, B, ...]
        at every stride-th.
        """
        flags = TERMINATED * steps.terminated + TRUNCATED * steps.truncated + VALID * steps.valid
        flags = (flags + RESET * steps.percept.reset).to(torch.uint8)
        self._write(
            Kept(steps.percept.obs, steps.final_obs, steps.action, steps.reward, flags), states
        )

    def draw(self, n: int, generators: Sequence[torch.Generator], beta: float = 1.0) -> Drawn:
        """n sequences for each group, groups · n in all; evenly over all that are whole, or by
        priority.

        generators: one for each group. beta: how much the weights make up for priorities (Schaul et
        al. 2016, §3.4).
        """
        if self.kept is None:
            raise ValueError("nothing can be drawn from an empty replay: add steps first")
        each, oldest = self.kept.reward.shape[1] // self.groups, self.added - self.size
        if self.trees:
            place, weight = zip(
                *(self._by_priority(*x, n, beta) for x in zip(self.trees, generators, strict=True)),
                strict=True,
            )
            place, weight = torch.cat(place), torch.cat(weight)
        else:
            drawn = [
                torch.randint(self.starts * each, (n,), generator=g, device=self.device)
                for g in generators
            ]
            drawn = torch.cat(drawn) if self.groups > 1 else drawn[0]
            first, chunks = -(-oldest // self.stride), self.room // self.stride
            place = (drawn + first * each) % (chunks * each)
            weight = torch.ones(self.groups * n, device=self.device)
        start, row = place // each * self.stride, place % each
        if self.groups > 1:
            row = row + torch.arange(self.groups, device=self.device).repeat_interleave(n) * each
        return self._gather(start, row, weight, place)

    def prioritise(self, places: Tensor, priority: Tensor) -> None:
        """New priorities [N], such as |δ|, of the sequences that start at places [N]; without
        priorities nothing.
        """
        if self.trees:
            scaled = (priority.detach().to(torch.float64) + SMALLEST) ** self.alpha
            self.highest = torch.maximum(self.highest, scaled.view(self.groups, -1).amax(1))
            for tree, at, p in zip(
                self.trees, places.chunk(self.groups), scaled.chunk(self.groups), strict=True
            ):
                tree.set(at, p)

    def state_dict(self) -> dict[str, Any]:
        """All that it holds, the oldest step first."""
        return self.position() | self.rows()

    def position(self) -> dict[str, Any]:
        """All that changes between two steps: how many were added, and the priorities of those that
        are kept.
        """
        whole: dict[str, Any] = {"added": self.added, "highest": self.highest, "priorities": ()}
        if self.trees:
            chunks = self._order(self.added - self.size)[:: self.stride] // self.stride
            whole["priorities"] = torch.stack([tree[self._places(chunks)] for tree in self.trees])
        return whole

    def rows(self, first: int = 0) -> dict[str, Any]:
        """The steps that are kept, from the one with the number `first`, a multiple of the stride,
        on; and their states.
        """
        if self.kept is None:
            return {"kept": (), "states": ()}
        order = self._order(max(first, self.added - self.size))
        chunks = order[:: self.stride] // self.stride
        return {"kept": tuple(index(self.kept, order)), "states": index(self.states, chunks)}

    def _order(self, first: int) -> Tensor:
        """The rows of the steps from the number `first` to the newest."""
        return torch.arange(first, self.added, device=self.device) % self.room

    def member(self, i: int) -> dict[str, Any]:
        """The `state_dict` of the i-th group alone."""
        whole = self.state_dict()
        if self.kept is None:
            return whole | {"highest": self.highest[i : i + 1]}
        rows = (
            slice(None),
            slice(
                i * self.kept.reward.shape[1] // self.groups,
                (i + 1) * self.kept.reward.shape[1] // self.groups,
            ),
        )
        parts = {name: index(whole[name], rows) for name in ("kept", "states")}
        priorities = whole["priorities"][i : i + 1] if self.trees else ()
        return whole | parts | {"priorities": priorities, "highest": self.highest[i : i + 1]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Hold what another one held; where there is less room, the last of it."""
        self.kept, self.states, self.trees = None, (), []
        self.added, self.highest = state["added"], state["highest"].to(self.device)
        if not self.added:
            return
        kept = tree_map(lambda x: x.to(self.device), Kept(*state["kept"]))
        states = tree_map(lambda x: x.to(self.device), state["states"])
        size, batch = kept.reward.shape
        left_out = max(0, size - self._room(batch)) // self.stride
        kept, states = (
            index(kept, slice(left_out * self.stride, None)),
            index(states, slice(left_out, None)),
        )
        full = len(kept.reward) == self._room(
            batch
        )  # then every step keeps its row, else they begin with the first
        self.added = self.added - len(kept.reward) if full else 0
        self._write(kept, states)
        if self.trees and len(state["priorities"]):
            chunks = (
                torch.arange(self.added - self.size, self.added, self.stride, device=self.device)
                % self.room
                // self.stride
            )
            for tree, priorities in zip(
                self.trees, state["priorities"].to(self.device), strict=True
            ):
                tree.set(self._places(chunks), priorities[left_out * batch // self.groups :])

    def _room(self, batch: int) -> int:
        """Steps for each of `batch` environments: a multiple of the stride, at least a sequence."""
        return (
            max(self.capacity // batch // self.stride, -(-self.length // self.stride)) * self.stride
        )

    def _write(self, new: Kept, states: State) -> None:
        t, batch = new.reward.shape
        if self.kept is None:
            room = self._room(batch)
            self.kept = tree_map(
                lambda x: torch.empty((room, *x.shape[1:]), dtype=x.dtype, device=self.device), new
            )
            chunks = room // self.stride
            self.states = tree_map(
                lambda x: torch.empty((chunks, *x.shape[1:]), dtype=x.dtype, device=self.device),
                states,
            )
            places = chunks * (batch // self.groups)
            self.trees = (
                [SumTree(places, self.device) for _ in range(self.groups)] if self.alpha else []
            )
        if t > self.room:  # of more than there is room for, the last
            left_out = t - self.room
            self.added += left_out
            t, new, states = (
                self.room,
                index(new, slice(left_out, None)),
                index(states, slice(left_out // self.stride, None)),
            )
        at = torch.arange(self.added, self.added + t, device=self.device) % self.room
        tree_map(lambda whole, part: whole.index_copy_(0, at, part), self.kept, new)
        chunks = at[:: self.stride] // self.stride
        tree_map(lambda whole, part: whole.index_copy_(0, chunks, part), self.states, states)
        before, self.added = self.added, self.added + t
        if self.trees:
            self._rank(chunks, before)

    def _rank(self, written: Tensor, before: int) -> None:
        """Chunks that were written can be drawn, with the highest priority, once their sequence is
        whole.
        """
        oldest = -(-(self.added - self.size) // self.stride)
        first, last = (
            max(oldest, (n - self.length) // self.stride + 1) for n in (before, self.added)
        )
        whole = torch.arange(first, last, device=self.device) % (self.room // self.stride)
        for tree, highest in zip(self.trees, self.highest, strict=True):
            places = self._places(written)
            tree.set(places, torch.zeros_like(places, dtype=torch.float64))
            places = self._places(whole)
            tree.set(places, highest.expand(len(places)))

    def _places(self, chunks: Tensor) -> Tensor:
        """The places of all environments of a group in these chunks [C], [C · B]."""
        each = self.kept.reward.shape[1] // self.groups
        return (chunks.unsqueeze(1) * each + torch.arange(each, device=self.device)).flatten()

    def _by_priority(
        self, tree: SumTree, generator: torch.Generator, n: int, beta: float
    ) -> tuple[Tensor, Tensor]:
        """Places [n], one from each n-th of the mass, and weights (N P(i))^-β / max."""
        u = torch.rand(n, generator=generator, device=self.device, dtype=torch.float64)
        place = tree.find((torch.arange(n, device=self.device) + u) / n * tree.total)
        share = tree[place] / tree.total
        weight = share**-beta
        return place, (weight / weight.max()).to(torch.float32)

    def _gather(self, start: Tensor, row: Tensor, weight: Tensor, place: Tensor) -> Drawn:
        """The sequences that start in the rows `start` [N] of the environments `row` [N]."""
        batch = self.kept.reward.shape[1]
        states = tree_map(
            lambda x: x.flatten(0, 1).index_select(0, start // self.stride * batch + row),
            self.states,
        )
        step = start.unsqueeze(0)
        if self.length > 1:
            step = (step + torch.arange(self.length, device=self.device).unsqueeze(1)) % self.room
        at = (step * batch + row).view(-1)
        n = len(start)
        kept = tree_map(
            lambda x: x.view(-1, *x.shape[2:]).index_select(0, at).view(-1, n, *x.shape[2:]),
            self.kept,
        )
        terminated, truncated, valid, reset = (kept.flags.unsqueeze(0) & self.bits).bool().unbind()
        if self.length > 1:
            truncated[:-1] |= (
                reset[1:] & ~terminated[:-1]
            )  # a run taken up in a new episode broke off the one before
        percept = Percept(
            kept.obs, _later(kept.action), _later(kept.reward), _later(terminated), reset
        )
        steps = Transition(
            percept, kept.action, kept.reward, terminated, truncated, kept.final_obs, valid, {}
        )
        return Drawn(steps, states, weight, place)


def _later(x: Tensor) -> Tensor:
    """What the step before had [L, N, ...]; zero at first."""
    return torch.zeros_like(x) if len(x) == 1 else torch.cat((torch.zeros_like(x[:1]), x[:-1]))


def describe(capacity: int, each: int, flag: str, device: torch.device, seeds: int = 1) -> str:
    """The size of a replay of `capacity` steps of `each` bytes for every seed.

    Raises ValueError, with the flag to change, where memory has no room for it.
    """
    size, free = capacity * each * seeds, available(device)
    text = f"replay of {capacity:,} steps{f' for each of {seeds} seeds' if seeds > 1 else ''}: {size_text(size)} on {device}"
    if size > free:
        raise ValueError(
            f"{text}, where {size_text(free)} are free; {flag} {int(0.8 * free / each / seeds)} would fit"
        )
    return text


def step_bytes(observation_space: gym.Space, action_space: gym.Space) -> int:
    """Bytes that a step takes: two observations, an action, a reward and the flags."""
    return 2 * _bytes(observation_space) + _bytes(action_space) + 4 + 1


def _bytes(space: gym.Space) -> int:
    if isinstance(space, gym.spaces.Dict):
        return sum(_bytes(part) for part in space.spaces.values())
    kind = np.dtype(space.dtype or np.int64)
    each = 4 if kind.kind == "f" else kind.itemsize if kind.itemsize == 1 else 8
    return each * int(np.prod(space.shape or (1,)))
