"""Replay: the last steps of every environment, from which learners sample sequences.

A step is stored with its true next observation, so that a time limit is no end, and with whether it
began an episode. Learners with memory sample sequences that start where their state was stored,
every `stride` steps; for others a sequence is a step, or the few that n-step returns need.
Everything lies on one device.

The steps lie in a ring. Here it has room for 12 steps of each environment and a stride of 3; 15
were added, so that the first three have been written over:

    row       0   1   2 |  3   4   5 |  6   7   8 |  9  10  11        row = step % room
    step     12  13  14 |  3   4   5 |  6   7   8 |  9  10  11
    chunk         0     |      1     |      2     |      3            chunk = row // stride
    state    12         |  3         |  6         |  9                one a chunk, at its first row
                           oldest

Sequences start at the first row of a chunk. Of 4 steps, those that start at steps 3, 6 and 9 are
whole, the last by way of row 0; the one that starts at step 12 is not yet.

A place is a chunk of one environment. With B environments in a group their places are

    place = chunk · B + environment            0 ≤ environment < B

and tensors [room, G·B, ...] have the environments of group g in the columns g·B to g·B + B - 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bio_rl.contracts import State, Transition
from bio_rl.rl.stored import Stored, flag_bits, restored, stored
from bio_rl.state import index, to, tree_map


class Sample(NamedTuple):
    """N sequences of L steps to learn from."""

    steps: Transition
    """[L, N, ...]. What came before a sequence is not stored: the action and the reward of its
    first percept are zero.
    """
    states: State
    """[N, ...] the learner's state at the first step."""


class Replay:
    """The last `capacity` steps, all environments together.

    length: steps of a sequence. stride: states are stored at every stride-th step, and sequences
    start there. groups: the environments' rows are so many blocks, each sampled from for itself.
    """

    def __init__(
        self,
        capacity: int,
        device: torch.device | str = "cpu",
        *,
        length: int = 1,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        sizes = {"capacity": capacity, "length": length, "stride": stride, "groups": groups}
        for name, value in sizes.items():
            _check_whole(name, value)
        self.capacity = capacity
        self.length = length
        self.stride = stride
        self.groups = groups
        self.device = torch.device(device)
        self.bits = flag_bits(self.device)
        self.stored: Stored | None = None
        """[room, G·B, ...]; None before the first steps are added."""
        self.states: State = ()
        """[room // stride, G·B, ...]."""
        self.added = 0
        """Steps per environment since the beginning; step i lies in row i % room."""

    @property
    def room(self) -> int:
        """Steps per environment that there is room for; 0 before the first is added."""
        if self.stored is None:
            return 0
        return len(self.stored.reward)

    @property
    def size(self) -> int:
        """Steps per environment that are stored."""
        return min(self.added, self.room)

    @property
    def oldest(self) -> int:
        """The number of the oldest step that is stored."""
        return self.added - self.size

    @property
    def starts(self) -> int:
        """Starts per environment of sequences that are whole."""
        after_first = self.size - self.length
        # Without a whole sequence this is negative, and so is the number of strides in it.
        return max(0, after_first // self.stride + 1)

    # ---------------------------------- adding

    def add(self, steps: Transition, states: State = ()) -> None:
        """Store steps [T, B, ...], T a multiple of the stride, and the states [T / stride, B, ...]
        at every stride-th.
        """
        self._write(stored(steps), states)

    def _write(self, new: Stored, states: State) -> None:
        if self.stored is None:
            self._allocate(new, states)
        # Of more steps than there is room for, the last are stored.
        left_out = max(0, len(new.reward) - self.room)
        if left_out:
            self.added += left_out
            new = index(new, slice(left_out, None))
            states = index(states, slice(left_out // self.stride, None))
        before = self.added
        self.added += len(new.reward)
        rows = self._rows_from(before)
        chunks = self._chunks_of(rows)
        tree_map(lambda whole, part: whole.index_copy_(0, rows, part), self.stored, new)
        tree_map(lambda whole, part: whole.index_copy_(0, chunks, part), self.states, states)

    def _allocate(self, new: Stored, states: State) -> None:
        """Make room for steps and states like these."""
        batch = new.reward.shape[1]
        room = self._room_for(batch)
        chunks = room // self.stride
        self.stored = tree_map(lambda x: self._empty(room, x), new)
        self.states = tree_map(lambda x: self._empty(chunks, x), states)

    def _empty(self, length: int, like: Tensor) -> Tensor:
        """[length, B, ...] for rows like those of `like` [T, B, ...]."""
        return torch.empty(
            (length, *like.shape[1:]),
            dtype=like.dtype,
            device=self.device,
        )

    def _room_for(self, batch: int) -> int:
        """Steps for each of `batch` environments: a multiple of the stride, at least a sequence."""
        chunks = self.capacity // batch // self.stride
        least = _ceil(self.length, self.stride)
        # A sequence has to be whole before its first step is written over.
        return max(chunks, least) * self.stride

    # ---------------------------------- where things lie

    @property
    def _environments(self) -> int:
        """Environments of a group, B."""
        if self.stored is None:
            return 0
        batch = self.stored.reward.shape[1]
        return batch // self.groups

    def _rows_from(self, first: int) -> Tensor:
        """The rows of the steps from the number `first` to the newest."""
        steps = torch.arange(first, self.added, device=self.device)
        return steps % self.room

    def _chunks_of(self, rows: Tensor) -> Tensor:
        """The chunks [C] of these rows, which begin with a chunk."""
        first_of_each = rows[:: self.stride]
        return first_of_each // self.stride

    # ---------------------------------- sampling

    def sample(self, n: int, generators: Sequence[torch.Generator]) -> Sample:
        """n sequences for each group, groups · n in all, evenly over all that are whole.

        generators: one for each group.
        """
        if self.stored is None:
            raise ValueError("nothing can be sampled from an empty replay: add steps first")
        place = self._even_places(n, generators)
        chunk = place // self._environments
        start = chunk * self.stride
        column = place % self._environments
        if self.groups > 1:
            group = torch.arange(self.groups, device=self.device).repeat_interleave(n)
            column = column + group * self._environments
        steps, states = self._gather(self.stored, start, column)
        return Sample(steps, states)

    def _even_places(self, n: int, generators: Sequence[torch.Generator]) -> Tensor:
        """[groups · n] places at which whole sequences start, each as likely as any other."""
        choices = self.starts * self._environments
        numbers = [
            torch.randint(choices, (n,), generator=g, device=self.device) for g in generators
        ]
        chosen = torch.cat(numbers) if self.groups > 1 else numbers[0]
        # They are counted from the oldest chunk, which may lie anywhere in the ring.
        first = _ceil(self.oldest, self.stride) * self._environments
        places = self.room // self.stride * self._environments
        return (chosen + first) % places

    def _gather(self, stored: Stored, start: Tensor, column: Tensor) -> tuple[Transition, State]:
        """The sequences [L, N, ...] that start in the rows `start` [N] of the environments in
        `column` [N], and their first states.
        """
        batch = self._environments * self.groups
        row = start.unsqueeze(0)
        if self.length > 1:
            later = torch.arange(self.length, device=self.device).unsqueeze(1)
            row = (row + later) % self.room
        # Rows and columns are one axis here: (row, column) lies at row · batch + column. Picking
        # from one axis is one operation for each kind of tensor.
        at = (row * batch + column).view(-1)
        n = len(start)

        def state_at_start(x: Tensor) -> Tensor:
            """[N, ...] of x [chunks, batch, ...]."""
            chunk = start // self.stride
            lines = x.flatten(0, 1)
            return lines.index_select(0, chunk * batch + column)

        def steps_at(x: Tensor) -> Tensor:
            """[L, N, ...] of x [room, batch, ...]."""
            inner = x.shape[2:]
            lines = x.view(-1, *inner)
            chosen = lines.index_select(0, at)
            return chosen.view(-1, n, *inner)

        steps = restored(tree_map(steps_at, stored), self.bits)
        return steps, tree_map(state_at_start, self.states)

    # ---------------------------------- saving

    def state_dict(self) -> dict[str, Any]:
        """All that it holds, the oldest step first."""
        return {"added": self.added, **self.rows()}

    def rows(self, first: int = 0) -> dict[str, Any]:
        """The steps that are stored, from the one with the number `first`, a multiple of the
        stride, on; and their states.
        """
        if self.stored is None:
            return {"kept": (), "states": ()}
        rows = self._rows_from(max(first, self.oldest))
        chunks = self._chunks_of(rows)
        return {
            "kept": tuple(index(self.stored, rows)),
            "states": index(self.states, chunks),
        }

    def member(self, i: int) -> dict[str, Any]:
        """The `state_dict` of the i-th group alone."""
        state = self.state_dict()
        first = i * self._environments
        columns = slice(first, first + self._environments)
        for name in ("kept", "states"):
            state[name] = index(state[name], (slice(None), columns))
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Hold what another one held; where there is less room, the last of it."""
        self.stored = None
        self.states = ()
        self.added = state["added"]
        if not self.added:
            return
        steps = to(Stored(*state["kept"]), self.device)
        states = to(state["states"], self.device)
        size, batch = steps.reward.shape
        room = self._room_for(batch)
        left_out = max(0, size - room) // self.stride
        steps = index(steps, slice(left_out * self.stride, None))
        states = index(states, slice(left_out, None))
        # Where the ring is full every step keeps its row, else they begin with the first.
        full = len(steps.reward) == room
        self.added = self.added - len(steps.reward) if full else 0
        self._write(steps, states)


def _check_whole(name: str, value: object) -> None:
    """Raise ValueError unless the setting `name` is a whole number of at least 1."""
    if not isinstance(value, int) or value < 1:
        expected = "a whole number, at least 1"
        raise ValueError(f"{name} of a replay is {value!r}, expected {expected}")


def _ceil(steps: int, stride: int) -> int:
    """The number of strides that `steps` begin."""
    return -(-steps // stride)
