"""The native side of a running program: its instructions one after another, their chunks on a pool of threads.

The pool's workers are Python threads that enter native code once. One thread at a time may open a parallel region; a
second one that runs a program meanwhile does its chunks alone. A region is published as two 64-bit *tickets*,
(generation, chunks nobody has taken); whoever takes a chunk does so by a compare-and-swap of a ticket. That makes
late workers harmless: a chunk can only be taken from the region whose ticket was read, and while such a chunk is
unfinished nobody may change what the region is. The opener waits for the chunks, never for workers to appear.

The opener begins with the chunks of the low ticket, the first ones, and the workers with those of the high ticket;
whoever is done with his own goes on with the other's. So a thread finds in its own cache much of what it wrote for the
kernel before, whose chunks were often the same rows.

Workers look for tickets for a while (`SPINS`) and then sleep in the kernel, on Linux in a futex, elsewhere for moments.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rushlight.backends import threads
from rushlight.compiler import cache as code_cache

MOST_CHUNKS = 2**24 - 1
COPY_BYTES = 1 << 18
# how often a worker looks for work before it sleeps: some 100 us, longer than what lies between two regions of a step
SPINS = 6000

_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}

_POOL = """
@low = internal global i64 0, align 128
@high = internal global i64 0, align 128
@pending = internal global i64 0, align 128
@sleepers = internal global i64 0, align 128
@alarm = internal global i32 0, align 128
@stopped = internal global i32 0, align 128
@busy = internal global i32 0, align 128
@workers = internal global i64 0, align 128
@wanted = internal global i32 0, align 128
@generation = internal global i64 0, align 128
@function = internal global ptr null, align 128
@slots = internal global ptr null, align 8
@low_end = internal global i64 0, align 8
@high_end = internal global i64 0, align 8

; takes chunks of one ticket until none is left; returns how many it did
define internal i64 @drain(ptr %ticket, ptr %end) {
entry:
  br label %look
look:
  %done = phi i64 [0, %entry], [%done, %take], [%more, %chunk]
  %seen = load atomic i64, ptr %ticket acquire, align 8
  %left = and i64 %seen, 16777215
  %none = icmp eq i64 %left, 0
  br i1 %none, label %out, label %take
take:
  %f = load atomic ptr, ptr @function monotonic, align 8
  %s = load atomic ptr, ptr @slots monotonic, align 8
  %n = load atomic i64, ptr %end monotonic, align 8
  %less = sub i64 %seen, 1
  %swap = cmpxchg ptr %ticket, i64 %seen, i64 %less acq_rel monotonic
  %won = extractvalue {i64, i1} %swap, 1
  br i1 %won, label %chunk, label %look
chunk:
  %i = sub i64 %n, %left
  call void %f(ptr %s, i64 %i)
  %more = add i64 %done, 1
  br label %look
out:
  ret i64 %done
}

define void @worker() {
entry:
  br label %awake
awake:
  br label %look
look:
  %spins = phi i64 [0, %awake], [%spins1, %pause]
  %stop = load atomic i32, ptr @stopped monotonic, align 4
  %on = icmp eq i32 %stop, 0
  br i1 %on, label %peek, label %out
peek:
  %some = call i1 @is_open()
  br i1 %some, label %help, label %pause
help:
  %theirs = call i64 @drain(ptr @high, ptr @high_end)
  %opener = call i64 @drain(ptr @low, ptr @low_end)
  %did = add i64 %theirs, %opener
  %was = atomicrmw sub ptr @pending, i64 %did acq_rel
  br label %awake
pause:
  CALL_PAUSE
  %spins1 = add i64 %spins, 1
  %tired = icmp ugt i64 %spins1, SPINS
  br i1 %tired, label %lie, label %look
lie:
  %bell = load atomic i32, ptr @alarm acquire, align 4
  %z = atomicrmw add ptr @sleepers, i64 1 seq_cst
  %some2 = call i1 @is_open()
  %stop2 = load atomic i32, ptr @stopped seq_cst, align 4
  %off2 = icmp ne i32 %stop2, 0
  %up = or i1 %some2, %off2
  br i1 %up, label %rise, label %sleep
sleep:
  call void @doze(i32 %bell)
  br label %rise
rise:
  %z1 = atomicrmw sub ptr @sleepers, i64 1 seq_cst
  br label %awake
out:
  ret void
}

define internal i1 @is_open() {
  %seen = load atomic i64, ptr @high seq_cst, align 8
  %seen2 = load atomic i64, ptr @low seq_cst, align 8
  %both = or i64 %seen, %seen2
  %left = and i64 %both, 16777215
  %some = icmp ne i64 %left, 0
  ret i1 %some
}

define internal void @ring() {
  %a = atomicrmw add ptr @alarm, i32 1 seq_cst
  call void @rouse()
  ret void
}

; one parallel region; returns 1 if workers are wanted and there are none
define internal i32 @share(ptr %f, ptr %s, i64 %n) {
entry:
  %crew = load atomic i64, ptr @workers monotonic, align 8
  %alone = icmp eq i64 %crew, 0
  %wish = load atomic i32, ptr @wanted monotonic, align 4
  %lack = select i1 %alone, i32 %wish, i32 0
  br i1 %alone, label %serial, label %enter
enter:
  %held = atomicrmw xchg ptr @busy, i32 1 acquire
  %taken = icmp ne i32 %held, 0
  br i1 %taken, label %serial, label %open
open:
  %g = load i64, ptr @generation
  %g1 = add i64 %g, 16777216
  store i64 %g1, ptr @generation
  store atomic ptr %f, ptr @function monotonic, align 8
  store atomic ptr %s, ptr @slots monotonic, align 8
  %more = add i64 %n, %crew
  %heads = add i64 %crew, 1
  %mine = udiv i64 %more, %heads
  %theirs = sub i64 %n, %mine
  store atomic i64 %mine, ptr @low_end monotonic, align 8
  store atomic i64 %n, ptr @high_end monotonic, align 8
  store atomic i64 %n, ptr @pending monotonic, align 8
  %l = or i64 %g1, %mine
  %h = or i64 %g1, %theirs
  %old = atomicrmw xchg ptr @low, i64 %l seq_cst
  %old1 = atomicrmw xchg ptr @high, i64 %h seq_cst
  %z = load atomic i64, ptr @sleepers seq_cst, align 8
  %asleep = icmp sgt i64 %z, 0
  br i1 %asleep, label %wake, label %go
wake:
  call void @ring()
  br label %go
go:
  %did = call i64 @drain(ptr @low, ptr @low_end)
  %did1 = call i64 @drain(ptr @high, ptr @high_end)
  %did2 = add i64 %did, %did1
  %was = atomicrmw sub ptr @pending, i64 %did2 acq_rel
  br label %join
join:
  %turns = phi i64 [0, %go], [%turns1, %pause], [%turns1, %yield]
  %still = load atomic i64, ptr @pending acquire, align 8
  %over = icmp eq i64 %still, 0
  br i1 %over, label %close, label %wait
wait:
  %turns1 = add i64 %turns, 1
  %long = icmp ugt i64 %turns1, 2000
  br i1 %long, label %yield, label %pause
pause:
  CALL_PAUSE
  br label %join
yield:
  call void @step_back()
  br label %join
close:
  store atomic i32 0, ptr @busy release, align 4
  ret i32 0
serial:
  br label %head
head:
  %i = phi i64 [0, %serial], [%i1, %body]
  %end = icmp eq i64 %i, %n
  br i1 %end, label %out, label %body
body:
  call void %f(ptr %s, i64 %i)
  %i1 = add i64 %i, 1
  br label %head
out:
  ret i32 %lack
}

; instructions are (function, slots, chunks), the last one's function is null
define i32 @run(ptr %program) {
entry:
  br label %next
next:
  %p = phi ptr [%program, %entry], [%p1, %single], [%p1, %many]
  %lack = phi i32 [0, %entry], [%lack, %single], [%lack1, %many]
  %f = load ptr, ptr %p
  %end = icmp eq ptr %f, null
  br i1 %end, label %out, label %do
do:
  %ps = getelementptr i8, ptr %p, i64 8
  %s = load ptr, ptr %ps
  %pn = getelementptr i8, ptr %p, i64 16
  %n = load i64, ptr %pn
  %p1 = getelementptr i8, ptr %p, i64 24
  %one = icmp eq i64 %n, 1
  br i1 %one, label %single, label %many
single:
  call void %f(ptr %s, i64 0)
  br label %next
many:
  %l = call i32 @share(ptr %f, ptr %s, i64 %n)
  %lack1 = or i32 %lack, %l
  br label %next
out:
  ret i32 %lack
}

define void @employ(i64 %n, i32 %wish) {
  store atomic i32 %wish, ptr @wanted seq_cst, align 4
  store atomic i64 %n, ptr @workers seq_cst, align 8
  ret void
}

define void @dismiss(i32 %stop) {
  store atomic i32 %stop, ptr @stopped seq_cst, align 4
  call void @ring()
  ret void
}

; in a child process: nobody else is here
define void @forget() {
  store i64 0, ptr @low
  store i64 0, ptr @high
  store i64 0, ptr @pending
  store i64 0, ptr @sleepers
  store i32 0, ptr @stopped
  store i32 0, ptr @busy
  store i64 0, ptr @workers
  ret void
}

; slots: target, source, bytes
define void @copy(ptr %slots, i64 %chunk) {
  %target = load ptr, ptr %slots
  %p1 = getelementptr i8, ptr %slots, i64 8
  %source = load ptr, ptr %p1
  %p2 = getelementptr i8, ptr %slots, i64 16
  %n = load i64, ptr %p2
  %at = mul i64 %chunk, COPY_BYTES
  %rest = sub i64 %n, %at
  %short = icmp ult i64 %rest, COPY_BYTES
  %size = select i1 %short, i64 %rest, i64 COPY_BYTES
  %t = getelementptr i8, ptr %target, i64 %at
  %s = getelementptr i8, ptr %source, i64 %at
  call void @llvm.memcpy.p0.p0.i64(ptr %t, ptr %s, i64 %size, i1 false)
  ret void
}
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
"""

_LINUX = """
declare i64 @syscall(i64, ...)
declare i32 @sched_yield()
define internal void @doze(i32 %bell) {
  %b = sext i32 %bell to i64
  %r = call i64 (i64, ...) @syscall(i64 FUTEX, ptr @alarm, i64 128, i64 %b, ptr null)
  ret void
}
define internal void @rouse() {
  %r = call i64 (i64, ...) @syscall(i64 FUTEX, ptr @alarm, i64 129, i64 2147483647)
  ret void
}
define internal void @step_back() {
  %r = call i32 @sched_yield()
  ret void
}
"""
_POSIX = """
declare i32 @usleep(i32)
declare i32 @sched_yield()
define internal void @doze(i32 %bell) {
  %r = call i32 @usleep(i32 200)
  ret void
}
define internal void @rouse() {
  ret void
}
define internal void @step_back() {
  %r = call i32 @sched_yield()
  ret void
}
"""
_WINDOWS = """
declare void @Sleep(i32)
define internal void @doze(i32 %bell) {
  call void @Sleep(i32 1)
  ret void
}
define internal void @rouse() {
  ret void
}
define internal void @step_back() {
  call void @Sleep(i32 0)
  ret void
}
"""


def text(system: str = sys.platform, processor: str = "") -> str:
    """The runtime as LLVM assembler."""
    processor = {"amd64": "x86_64", "arm64": "aarch64"}.get(found := processor or platform.machine().lower(), found)
    futex = _FUTEX.get(processor) if system.startswith("linux") else None
    parts = _LINUX.replace("FUTEX", str(futex)) if futex else _WINDOWS if system == "win32" else _POSIX
    declared, call = _PAUSE.get(processor, ("", ""))
    whole = _POOL.replace("CALL_PAUSE", call).replace("COPY_BYTES", str(COPY_BYTES)).replace("SPINS", str(SPINS))
    return whole + parts + declared + "\n"


class _Native:
    """The loaded runtime."""

    def __init__(self) -> None:
        names = ("run", "worker", "employ", "dismiss", "forget", "copy")
        self.code = code_cache.text_code("runtime", text, names)
        address = self.code.addresses

        def function(name: str, result: Any, *types: Any) -> Callable[..., Any]:
            return ctypes.CFUNCTYPE(result, *types)(address[name])

        self.run = function("run", ctypes.c_int32, ctypes.c_void_p)
        self.worker = function("worker", None)
        self.employ = function("employ", None, ctypes.c_int64, ctypes.c_int32)
        self.dismiss = function("dismiss", None, ctypes.c_int32)
        self.forget = function("forget", None)
        self.copy_address = address["copy"]
        self.workers: list[threading.Thread] = []
        self.lock = threading.Lock()
        self.employ(0, threads.get_num_threads() > 1)
        threads.on_change(self.stop)
        atexit.register(self.stop)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def start(self) -> None:
        """Start the workers."""
        with self.lock:
            count = threads.get_num_threads() - 1
            if self.workers or not count:
                return
            self.workers = [
                threading.Thread(target=self.worker, daemon=True, name=f"rushlight-{k}") for k in range(count)
            ]
            for worker in self.workers:
                worker.start()
            self.employ(count, 0)

    def stop(self) -> None:
        """Let the workers finish; the next program that wants some starts new ones."""
        with self.lock:
            self.employ(0, 0)
            self.dismiss(1)
            for worker in self.workers:
                worker.join()
            self.workers = []
            self.dismiss(0)
            self.employ(0, threads.get_num_threads() > 1)

    def _after_fork(self) -> None:
        self.workers = []
        self.lock = threading.Lock()
        self.forget()
        self.employ(0, threads.get_num_threads() > 1)


_loaded: list[_Native] = []
_loading = threading.Lock()


def native() -> _Native:
    """The runtime, loaded on first use."""
    if not _loaded:
        with _loading:
            if not _loaded:
                _loaded.append(_Native())
    return _loaded[0]


def run(instructions: int) -> None:
    """Carry out the instructions at that address."""
    here = native()
    if here.run(instructions):
        here.start()


def instructions(steps: Sequence[tuple[int, int, int]]) -> Any:
    """An array of instructions, (function, slots, chunks) each, for `run`; the caller keeps it alive."""
    for _, _, chunks in steps:
        if not 0 <= chunks <= MOST_CHUNKS:
            raise ValueError(f"{chunks} chunks; at most {MOST_CHUNKS} are possible")
    flat = [word for step in steps for word in step]
    return (ctypes.c_uint64 * (len(flat) + 3))(*flat, 0, 0, 0)


def copy_chunks(size: int) -> int:
    """How many chunks a copy of that many bytes has."""
    return -(-size // COPY_BYTES)
