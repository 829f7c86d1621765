"""A planned program with its memory: bound to arrays, it runs as native stretches with host calls between them."""

from __future__ import annotations

import ctypes
import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from rushlight.compiler import access_index, runtime
from rushlight.compiler import cache as code_cache
from rushlight.compiler import plan as planning
from rushlight.compiler.graph import Graph, Value
from rushlight.compiler.kernel import HostCall, Kernel, Step
from rushlight.compiler.program_memory import GuardedMemory, Memory, array_at
from rushlight.compiler.program_table import HostStep, Place, Slots, Table
from rushlight.compiler.show import is_shown, show
from rushlight.compiler.text import steps_text
from rushlight.ops.kinds import View
from rushlight.spec import Spec

# (function, offset of its slots, chunks), or what Python calls
Piece = tuple[int, int, int] | Callable[[], None]


def build(graph: Graph, steps: Sequence[Step], *, guard: str = "") -> Program:
    """Plan `graph`, carried out by `steps`, and make it ready to run.

    Parameters
    ----------
    graph, steps
        What is computed, and how, in order. Views (calls of `View` ops) need no step; every other call that something
        needs must be carried out by one.
    guard : {"", "after", "before"}
        For tests: every buffer lies in pages of its own, and the page after (before) it cannot be touched.
        RUSHLIGHT_DEBUG=guard is "after" for every program.
    """
    if is_shown("schedule"):
        show("schedule", steps_text(steps))
    plan = planning.make(graph, steps)
    guard = guard or ("after" if is_shown("guard") else "")
    return GuardedProgram(plan, guard) if guard else Program(plan)


def host_steps(graph: Graph) -> list[Step]:
    """Steps that run a whole graph on NumPy."""
    return [HostCall(call) for call in graph.calls if not isinstance(call.op, View)]


class Program:
    """Compiled steps and the memory they work in.

    `bind` every input once, `set_output` every output before each run (each run writes into the arrays that were set
    last), then `run`. Not for two threads at once.

    Attributes
    ----------
    graph : what it computes
    steps : how, views that had to be copied included
    output_specs : shape and dtype of the outputs
    arena_bytes : memory of all intermediate values together
    """

    def __init__(self, plan: planning.Plan, memory: Memory | None = None) -> None:
        self.plan = plan
        self.graph = plan.graph
        self.steps = plan.steps
        self.output_specs: list[Spec] = [v.spec for v in plan.graph.outputs]
        self.arena_bytes = plan.arena
        self._memory = memory or Memory(plan)
        self._table = Table(plan, self._memory)
        self._slots = Slots(plan, self._memory)
        self._keep: list[Any] = []
        pieces = self._pieces()
        looks = self._looks()
        self._slots.finish()
        self._inputs = [self._place("input", i) for i in range(len(self.graph.inputs))]
        self._outputs = [self._place("output", k) for k in range(len(self.output_specs))]
        self._actions = looks + self._joined(pieces)
        self._pieces_by_step = pieces
        self._start = 0
        if self._memory.is_shared:
            self.run = self._run_shared  # type: ignore[method-assign]
        else:
            self._move(self._memory.start)
            if len(self._actions) == 1:
                self.run = self._actions[0]  # type: ignore[method-assign]

    @property
    def kernels(self) -> list[Kernel]:
        """The native steps."""
        return [step for step in self.steps if isinstance(step, Kernel)]

    def bind(self, i: int, array: Any) -> None:
        """Use `array` as input `i` from now on."""
        value = self.graph.inputs[i]
        if array.shape != value.shape or array.dtype != value.dtype or not _has_layout(array, value):
            raise ValueError(
                f"input {i} is {array.dtype}{list(array.shape)} with strides {array.strides}; it takes {value!r}"
            )
        self._put(self._inputs[i], array)

    def set_output(self, k: int, array: Any) -> None:
        """Write output `k` into `array`, C-contiguous, from now on."""
        spec = self.output_specs[k]
        if array.shape != spec.shape or array.dtype != spec.dtype or not array.flags.c_contiguous:
            raise ValueError(f"output {k} needs a contiguous {spec.dtype}{list(spec.shape)}")
        self._put(self._outputs[k], array)

    def bound(self) -> tuple[list[Any], list[Any]]:
        """The arrays that are bound as inputs and set as outputs now, None where there is none yet."""
        return [place.array for place in self._inputs], [place.array for place in self._outputs]

    def _put(self, place: Place, array: Any) -> None:
        place.array = array
        if place.cells:
            self._slots.put(place.cells, planning.address_of(array))
        if place.followers:
            self._table.put(place.followers, array)

    def new_outputs(self) -> list[Any]:
        """Fresh arrays for the outputs, set."""
        arrays = [np.empty(spec.shape, spec.dtype) for spec in self.output_specs]
        for k, array in enumerate(arrays):
            self.set_output(k, array)
        return arrays

    def run(self) -> None:
        """Carry out the steps."""
        for action in self._actions:
            action()

    def _run_shared(self) -> None:
        self._in_shared_memory(self._actions)

    def _in_shared_memory(self, actions: Sequence[Callable[[], None]]) -> None:
        memory = self._memory
        lock = memory.enter()
        try:
            if memory.start != self._start:
                self._move(memory.start)
            for action in actions:
                action()
        finally:
            memory.leave(lock)

    def _move(self, start: int) -> None:
        """Let the arena begin at another address."""
        self._start = start
        self._slots.move(start)
        self._table.move(start)

    def __call__(self, *inputs: Any) -> list[Any]:
        """Bind all inputs, run, and return fresh outputs; no array is kept."""
        for i, array in enumerate(inputs):
            self.bind(i, array)
        outputs = self.new_outputs()
        self.run()
        self.release()
        return outputs

    def call_alike(self, inputs: Sequence[Any]) -> list[Any]:
        """As a call, of arrays known to have the layouts of the inputs."""
        words, address_of = self._slots.array, planning.address_of
        followed = False
        outputs = [np.empty(spec.shape, spec.dtype) for spec in self.output_specs]
        for places, arrays in ((self._inputs, inputs), (self._outputs, outputs)):
            for place, array in zip(places, arrays, strict=True):
                address = address_of(array)
                for cell, offset in place.cells:
                    words[cell] = address + offset
                if place.followers:
                    self._table.put(place.followers, array)
                    followed = True
        self.run()
        if followed:
            self.release()
        return outputs

    def point(self, i: int, address: int) -> None:
        """Let input `i`, which only kernels read, begin at that address; the caller keeps it alive."""
        words = self._slots.array
        for cell, offset in self._inputs[i].cells:
            words[cell] = address + offset

    def release(self) -> None:
        """Keep no array alive: before the next run every input is to be bound and every output to be set again."""
        arrays = self._table.arrays
        for place in (*self._inputs, *self._outputs):
            place.array = None
            for at, _ in place.followers:
                arrays[at] = None

    def profile(self) -> list[float]:
        """Run once, step by step; the seconds of each of `steps`, and last those of the copies after them."""
        if any(place.array is None for place in (*self._inputs, *self._outputs)):
            raise ValueError("profile() needs every input bound and every output set")
        seconds = []

        def timed(action: Callable[[], None]) -> None:
            start = time.perf_counter()
            action()
            seconds.append(time.perf_counter() - start)

        pieces = self._pieces_by_step
        actions = [self._native_action([piece]) if isinstance(piece, tuple) else piece for piece in pieces]
        timed_actions = [partial(timed, action) for action in actions]
        if self._memory.is_shared:
            self._in_shared_memory(timed_actions)
        else:
            for action in timed_actions:
                action()
        count = len(self.steps)
        return [*seconds[:count], sum(seconds[count:])]

    def _place(self, place: str, index: int) -> Place:
        home = planning.Home(place, index)
        return Place(home, self._slots.cells.get(home, []), self._table.followers.get(home, []))

    def _pieces(self) -> list[Piece]:
        """The steps and then the copies, each an instruction (function, offset of its slots, chunks) or a callable."""
        kernels = self.kernels
        loaded = code_cache.functions([code_cache.Source(k.key, k.build, k.name) for k in kernels]) if kernels else []
        self._keep += loaded
        addresses = {kernel: found.address for kernel, found in zip(kernels, loaded, strict=True)}
        pieces: list[Piece] = []
        for at, step in enumerate(self.steps):
            if isinstance(step, Kernel):
                slots = self._slots.add([*step.reads, *step.writes], self._memory.workspace(at))
                pieces.append((addresses[step], slots, step.chunks))
            else:
                pieces.append(HostStep(step, self._table, self.plan.drops[at]).run)
        early: list[Piece] = []
        late: list[Piece] = []
        for copy in self.plan.copies:
            if copy.staged is not None:
                early.append(self._staging(copy))
            (early if copy.home.place == "output" else late).append(self._copy(copy))
        return pieces + early + late

    def _looks(self) -> list[Callable[[], None]]:
        """What raises before anything runs where kernels would look up by an index that is out of range."""
        on_host = {step.call for step in self.steps if isinstance(step, HostCall)}
        table, found = self._table, []
        for check in access_index.checks(self.graph.calls, on_host):
            found.append(check.action(table.arrays, {v: table.position(v) for v in check.leaves()}))
        return found

    def _copy(self, copy: planning.Copy) -> Piece:
        """A native copy where both sides are contiguous bytes."""
        table, value = self._table, copy.source
        if copy.staged is None and self.kernels and self.plan.is_dense(value) and self._is_dense(copy.home):
            size = planning.nbytes(value)
            slots = self._slots.add_copy(copy.home, value, size)
            return (runtime.native().copy_address, slots, runtime.copy_chunks(size))
        source = table.position(value) if copy.staged is None else table.positions[copy]
        return self._host_copy(source, table.target(copy.home))

    def _staging(self, copy: planning.Copy) -> Piece:
        return self._host_copy(self._table.position(copy.source), self._table.staging(copy))

    def _host_copy(self, source: int, target: int) -> Callable[[], None]:
        arrays = self._table.arrays
        return lambda: np.copyto(arrays[target], arrays[source])

    def _is_dense(self, home: planning.Home) -> bool:
        return home.place == "output" or planning.is_dense(self.graph.inputs[home.index])

    def _joined(self, pieces: list[Piece]) -> list[Callable[[], None]]:
        """Consecutive instructions become one native call."""
        actions: list[Callable[[], None]] = []
        for is_native, group in itertools.groupby(pieces, lambda piece: isinstance(piece, tuple)):
            members: list[Any] = list(group)
            actions += [self._native_action(members)] if is_native else members
        return actions

    def _native_action(self, pieces: list[tuple[int, int, int]]) -> Callable[[], None]:
        slots = self._slots.address
        listed = runtime.instructions([(f, slots + offset, chunks) for f, offset, chunks in pieces])
        native = runtime.native()
        run, start, address = native.run, native.start, ctypes.c_void_p(ctypes.addressof(listed))
        self._keep.append(listed)

        def stretch() -> None:
            if run(address):
                start()

        return stretch


class GuardedProgram(Program):
    """A program whose buffers all end (or begin) where memory ends: touching what is outside one is a crash."""

    def __init__(self, plan: planning.Plan, side: str) -> None:
        self._guarded = GuardedMemory(plan, side)
        super().__init__(plan, self._guarded)
        self._given: dict[Place, tuple[Any, Any]] = {}
        self._actions_inside = self._actions
        self.run = self._run_guarded  # type: ignore[method-assign]

    def _put(self, place: Place, array: Any) -> None:
        if place in self._given:
            self._given[place] = (array, self._given[place][1])
            return
        low, high = planning.extent(array.shape, array.itemsize, array.strides) if array.size else (0, 0)
        held = array_at(self._guarded.pages(high - low) - low, array.shape, array.dtype, array.strides)
        super()._put(place, held)
        self._given[place] = (array, held)

    def _run_guarded(self) -> None:
        updated = {target for target, _ in self.graph.updates}
        given = [(place.home, *arrays) for place, arrays in self._given.items()]
        for home, array, held in given:
            if home.place == "input":
                np.copyto(held, array)
        for action in self._actions_inside:
            action()
        for home, array, held in given:
            if home.place == "output" or self.graph.inputs[home.index] in updated:
                np.copyto(array, held)


def _has_layout(array: Any, value: Value) -> bool:
    """Whether an array's strides are those that an input was declared with; strides of dims of size 1 mean nothing."""
    if value.strides is None:
        return bool(array.flags.c_contiguous)
    if array.strides == value.strides or array.size == 0:
        return True
    return all(n == 1 or s == t for n, s, t in zip(array.shape, array.strides, value.strides, strict=True))
