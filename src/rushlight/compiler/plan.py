"""The memory plan of a program: which values share memory, where each lives, what is copied at the end.

A value made by a step has memory of its own (a *root*) unless only host calls look at it; a view of a root is an
*alias* and has none. A root's home is the arena, or straight away the memory of an output or of an input that is
updated with it, where nothing reads the old contents any more.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rushlight.compiler.graph import Call, Graph, Value
from rushlight.compiler.kernel import HostCall, Kernel, Step
from rushlight.layout import contiguous_strides
from rushlight.ops.kinds import View

ALIGN = 64


@dataclass(frozen=True)
class Home:
    """Where a root lives: `place` is "arena" (`index`: offset), "input", "output" (`index`: position) or "constant"."""

    place: str
    index: int = 0


@dataclass(eq=False)
class Copy:
    """A copy after the last step: `source` (through `staged` arena bytes at that offset, if not None) to `home`."""

    source: Value
    home: Home
    staged: int | None = None


@dataclass
class Plan:
    """What `Program` carries out.

    Attributes
    ----------
    steps : the given steps and, as host calls, the views that are no alias of anything
    homes : of every root
    alias : of a view of a root, that root
    layouts : of each alias, its (offset in bytes, strides) from the root's first element
    copies : to outputs, then to inputs
    drops : for each step, the host values nobody needs after it
    workspaces : for each step, the offset of its workspace in the arena
    arena : bytes
    """

    graph: Graph
    steps: list[Step]
    homes: dict[Value, Home]
    alias: dict[Value, Value]
    layouts: dict[Value, tuple[int, tuple[int, ...]]]
    copies: list[Copy]
    drops: list[list[Value]]
    workspaces: list[int]
    arena: int = 0

    def root(self, value: Value) -> Value:
        """The value whose memory `value` shows, itself where it has its own."""
        return self.alias.get(value, value)

    def is_dense(self, value: Value) -> bool:
        """Whether a value in planned memory is C-contiguous."""
        root = self.root(value)
        if root not in self.homes and root.data is None:
            return False
        if value not in self.alias:
            return is_dense(value)
        strides = dense_strides(value.shape, value.dtype.itemsize)
        return 0 in value.shape or all(
            n == 1 or s == t for n, s, t in zip(value.shape, self.layouts[value][1], strides, strict=True)
        )


def nbytes(value: Value) -> int:
    """Size of a value's elements."""
    size: int = int(np.prod(value.shape, dtype=np.int64)) * value.dtype.itemsize
    return size


def is_dense(value: Value) -> bool:
    """Whether a root is C-contiguous (only inputs may be otherwise)."""
    return value.strides is None or sample(value).flags.c_contiguous


def sample(value: Value) -> Any:
    """An array with the layout of an input or of a contiguous value, in memory of just that extent, never touched."""
    if value.strides is None:
        return np.empty(value.shape, value.dtype)
    if 0 in value.shape:
        return np.empty(value.shape, value.dtype)
    low, high = extent(value.shape, value.dtype.itemsize, value.strides)
    return np.ndarray(value.shape, value.dtype, np.empty(high - low, np.uint8), -low, value.strides)


def extent(shape: tuple[int, ...], itemsize: int, strides: tuple[int, ...]) -> tuple[int, int]:
    """The first byte of a layout and the one after its last, relative to its first element."""
    spans = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    return sum(s for s in spans if s < 0), sum(s for s in spans if s > 0) + itemsize


def dense_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Strides in bytes of a C-contiguous array."""
    return tuple(n * itemsize for n in contiguous_strides(shape))


_word_at = ctypes.c_size_t.from_address
# where an array object keeps the address of its data, right after what every Python object begins with
_DATA = object.__basicsize__


def _reads_data_right() -> bool:
    if sys.implementation.name != "cpython":
        return False
    probes = [np.empty(n) for n in (1, 7, 0)]
    return all(_word_at(id(p) + _DATA).value == p.__array_interface__["data"][0] for p in (*probes, probes[1][3:]))


def _address(array: Any) -> int:
    """Where an array's first element lies."""
    address: int = array.__array_interface__["data"][0]
    return address


def _quick_address(array: Any) -> int:
    """Where an array's first element lies: a tenth of the time of NumPy's own answers."""
    return _word_at(id(array) + _DATA).value


address_of = _quick_address if _reads_data_right() else _address


def run_view(call: Call, array: Any) -> tuple[Any, ...]:
    """The arrays that a view call makes of its operand's."""
    out = call.op.eager((array,), dict(call.params))
    return out if isinstance(out, tuple) else (out,)


@dataclass
class _Draft:
    """A plan in the making."""

    graph: Graph
    steps: list[Step] = field(default_factory=list)
    alias: dict[Value, Value] = field(default_factory=dict)
    whole: set[Value] = field(default_factory=set)
    arrays: dict[Value, Any] = field(default_factory=dict)
    layouts: dict[Value, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    made: dict[Value, int] = field(default_factory=dict)
    scheduled: set[Value] = field(default_factory=set)

    def root(self, value: Value) -> Value:
        return self.alias.get(value, value)

    def covers(self, value: Value) -> bool:
        """Whether a value's elements are all the bytes of its root, in order."""
        return value not in self.alias or value in self.whole


def make(graph: Graph, steps: Sequence[Step]) -> Plan:
    """Plan the memory of a program."""
    draft = _Draft(graph)
    read = {v for step in steps if isinstance(step, Kernel) for v in step.reads}
    in_memory = read.union(graph.inputs, graph.kept())
    in_memory.update(v for step in steps if isinstance(step, Kernel) for v in step.writes)
    _complete(draft, steps, read, in_memory)
    uses = _uses(draft)
    homes, copies = _place_kept(draft, uses, in_memory)
    size, workspaces = _place_rest(draft, uses, homes, copies, in_memory)
    drops = _drops(draft, uses, in_memory)
    return Plan(graph, draft.steps, homes, draft.alias, draft.layouts, copies, drops, workspaces, size)


def _complete(draft: _Draft, steps: Sequence[Step], read: set[Value], in_memory: set[Value]) -> None:
    """Find out which views are aliases; those that are not become host calls before their first use."""
    draft.scheduled = {v for step in steps for v in step_results(step)}

    def need(value: Value) -> None:
        if value.call is None or value in draft.made or value in draft.alias:
            return
        call = value.call
        if value in draft.scheduled or not isinstance(call.op, View):
            raise ValueError(f"{value!r} is needed before any step makes it ({call.op.name})")
        for operand in call.values():
            need(operand)
        # a kernel may ask for a view in memory of its own, and a host value's memory is known only when it runs
        if read.isdisjoint(call.results) and _alias(draft, call, in_memory):
            return
        add(HostCall(call))

    def add(step: Step) -> None:
        draft.made.update((v, len(draft.steps)) for v in step_results(step))
        draft.steps.append(step)

    for step in steps:
        for value in step_operands(step):
            need(value)
        add(step)
    for value in draft.graph.kept():
        need(value)


def _alias(draft: _Draft, call: Call, in_memory: set[Value]) -> bool:
    """Make the results of a view call aliases, if its operand has memory that they really share."""
    operand = next(call.values())
    root = draft.root(operand)
    if root.call is not None and root not in in_memory:
        return False
    arrays = draft.arrays
    if operand is root and root not in arrays:
        arrays[root] = sample(root) if root.data is None else root.data
    array = arrays[operand]
    try:
        results = run_view(call, array)
    except ValueError:  # no view of a C-contiguous value; as a host call it sees the array as it came
        return False
    if not all(r.size == 0 or np.may_share_memory(r, array) for r in results):
        return False
    dense, base = is_dense(root), address_of(arrays[root])
    for value, result in zip(call.results, results, strict=True):
        if value in draft.scheduled:
            continue
        draft.alias[value] = root
        draft.layouts[value] = (address_of(result) - base if result.size else 0, result.strides)
        arrays[value] = result
        if dense and result.flags.c_contiguous and result.nbytes == nbytes(root):
            draft.whole.add(value)
    return True


def step_results(step: Step) -> Iterator[Value]:
    """The values that a step makes."""
    yield from step.writes if isinstance(step, Kernel) else step.call.results


def step_operands(step: Step) -> Iterator[Value]:
    """The values that a step takes."""
    yield from step.reads if isinstance(step, Kernel) else step.call.values()


def _uses(draft: _Draft) -> dict[Value, list[int]]:
    """For each root and host value the steps that read it, in order."""
    uses: dict[Value, list[int]] = {}
    for at, step in enumerate(draft.steps):
        for value in dict.fromkeys(map(draft.root, step_operands(step))):
            uses.setdefault(value, []).append(at)
    return uses


def _place_kept(
    draft: _Draft, uses: dict[Value, list[int]], in_memory: set[Value]
) -> tuple[dict[Value, Home], list[Copy]]:
    """Homes of inputs, and of values that can be made straight in an input or output; copies for the others."""
    graph = draft.graph
    homes = {v: Home("input", i) for i, v in enumerate(graph.inputs)}
    copied = {draft.root(v) for v in graph.outputs}
    sources = {i: draft.root(v) for i, v in graph.updates}
    copied.update(root for i, root in sources.items() if root is not i)
    copies, late = [], []
    for target, value in graph.updates:
        root, home = draft.root(value), homes[target]
        if root is target and value not in draft.alias:
            continue
        if root not in homes and draft.covers(value) and _may_replace(draft, uses, target, root, copied):
            homes[root] = home
        else:
            late.append(Copy(value, home))
    for k, value in enumerate(graph.outputs):
        root = draft.root(value)
        if root in draft.made and root not in homes and draft.covers(value):
            homes[root] = Home("output", k)
        else:
            copies.append(Copy(value, Home("output", k)))
    targets = {copy.home for copy in late}
    for copy in late:
        # the source's memory is itself about to be overwritten: it goes through the arena
        if homes.get(draft.root(copy.source)) in targets:
            copy.staged = 0
    return homes, copies + late


def _may_replace(draft: _Draft, uses: dict[Value, list[int]], target: Value, root: Value, copied: set[Value]) -> bool:
    """Whether the step that makes `root` may write it over the input `target`."""
    at = draft.made.get(root)
    if at is None or target in copied or not is_dense(target) or nbytes(root) != nbytes(target):
        return False
    read = uses.get(target, ())
    if not read or read[-1] < at:
        return True
    step = draft.steps[at]
    if read[-1] > at:
        return False
    return isinstance(step, HostCall) or shares(step, root, target)


def shares(kernel: Kernel, write: Value, read: Value) -> bool:
    """Whether a kernel may write `write` over its operand `read`."""
    at = kernel.writes.index(write)
    allowed = [(at, i) in kernel.inplace for i, v in enumerate(kernel.reads) if v is read]
    return bool(allowed) and all(allowed)


@dataclass(eq=False)
class Block:
    """Bytes in the arena, in use from step `first` to step `last`."""

    size: int
    first: int
    last: int
    offset: int = 0


def _place_rest(
    draft: _Draft, uses: dict[Value, list[int]], homes: dict[Value, Home], copies: list[Copy], in_memory: set[Value]
) -> tuple[int, list[int]]:
    """Offsets in the arena for all other roots, for workspaces and for what copies stage; returns its size too."""
    end = len(draft.steps)
    last = {v: reads[-1] for v, reads in uses.items()}
    last.update((draft.root(copy.source), end) for copy in copies)
    blocks: dict[Any, Block] = {}
    for at, step in enumerate(draft.steps):
        inherited: set[Block] = set()
        for value in step_results(step):
            if value not in in_memory or value in homes:
                continue
            block = _inherit(step, at, value, last, blocks, inherited)
            until = max(last.get(value, at), at)
            if block is None:
                block = Block(nbytes(value), at, until)
            block.last = until
            blocks[value] = block
        if isinstance(step, Kernel) and step.workspace:
            blocks[at] = Block(step.workspace, at, at)
    for copy in copies:
        if copy.staged is not None:
            blocks[copy] = Block(nbytes(copy.source), end, end)
    top = pack(dict.fromkeys(blocks.values()))
    homes.update((key, Home("arena", block.offset)) for key, block in blocks.items() if isinstance(key, Value))
    for copy in copies:
        if copy in blocks:
            copy.staged = blocks[copy].offset
    return top, [blocks[at].offset if at in blocks else 0 for at in range(end)]


def _inherit(
    step: Step, at: int, value: Value, last: dict[Value, int], blocks: dict[Any, Block], inherited: set[Block]
) -> Block | None:
    """The block of an operand that dies in this step and that the kernel may overwrite with `value`."""
    if not isinstance(step, Kernel):
        return None
    for write, read in step.inplace:
        operand = step.reads[read]
        if step.writes[write] is not value or last.get(operand) != at or operand not in blocks:
            continue
        block = blocks[operand]
        if block not in inherited and nbytes(operand) == nbytes(value) and shares(step, value, operand):
            inherited.add(block)
            return block
    return None


def pack(blocks: Collection[Block]) -> int:
    """Give blocks offsets such that those in use at one time do not overlap; returns the bytes that they take.

    The largest first, each in the smallest gap that fits. (In the order of time, as an allocator would see them, the
    steps of convolutional networks took up to half as much again.)
    """
    count = len(blocks)
    firsts, lasts, starts, ends = (np.empty(count, np.int64) for _ in range(4))
    for k, block in enumerate(sorted(blocks, key=lambda b: (-b.size, b.first, b.last))):
        size = max(ALIGN, -(-block.size // ALIGN) * ALIGN)
        (beside,) = np.nonzero((firsts[:k] <= block.last) & (lasts[:k] >= block.first))
        block.offset = _gap(sorted(zip(starts[beside].tolist(), ends[beside].tolist(), strict=True)), size)
        firsts[k], lasts[k], starts[k], ends[k] = block.first, block.last, block.offset, block.offset + size
    return int(ends.max(initial=0))


def _gap(spans: list[tuple[int, int]], size: int) -> int:
    """Where the smallest gap between spans, sorted by start, begins that has `size` bytes; the end of all if none."""
    end, best, least = 0, -1, 0
    for start, stop in spans:
        if start - end >= size and (best < 0 or start - end < least):
            best, least = end, start - end
        end = max(end, stop)
    return end if best < 0 else best


def _drops(draft: _Draft, uses: dict[Value, list[int]], in_memory: set[Value]) -> list[list[Value]]:
    drops: list[list[Value]] = [[] for _ in draft.steps]
    for value, at in draft.made.items():
        if value not in in_memory:
            reads = uses.get(value)
            drops[reads[-1] if reads else at].append(value)
    return drops
