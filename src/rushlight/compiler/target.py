"""The machine at hand: its vectors, its code generator, and loading what that makes.

`compile_module` turns a module of `llvmlite.ir` into relocatable machine code, `load` makes that callable. Both only
ever see code that says itself what its vectors are, so the passes are few: on a convolution LLVM's own pipeline took
three times as long and gave the same rate.
"""

from __future__ import annotations

import concurrent.futures.thread
import ctypes
import json
import os
import platform
import struct
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from rushlight.compiler.binding import llvm


@dataclass(frozen=True)
class Host:
    """What code is made for.

    Attributes
    ----------
    cpu, features : as LLVM spells them
    vector_bytes : size of a vector register
    registers : how many of them there are
    has_fma : whether a product and a sum are one instruction
    has_bf16 : whether there are products of bfloat16 summed in float32
    """

    cpu: str
    features: str
    vector_bytes: int
    registers: int
    has_fma: bool
    has_bf16: bool = False

    @property
    def has_avx512(self) -> bool:
        """Whether vectors have 512 bits and lanes can be masked."""
        return self.vector_bytes == 64

    def lanes(self, dtype: Any) -> int:
        """How many elements of a NumPy dtype a register holds; halves are computed in float32 and count as that."""
        kind = np.dtype(dtype)
        size = 4 if kind.itemsize == 2 and kind.kind not in "iu" else kind.itemsize
        return max(1, self.vector_bytes // size)


def describe(cpu: str, features: dict[str, bool]) -> Host:
    """The host of that name; `features` as LLVM reports them."""
    wide, avx = features.get("avx512f", False), features.get("avx", False)
    arm = platform.machine().lower() in ("arm64", "aarch64")
    flags = [f"{'+' if on else '-'}{name}" for name, on in sorted(features.items()) if name != "prefer-256-bit"]
    if wide:
        flags.append("-prefer-256-bit")
    return Host(
        cpu,
        ",".join(flags),
        vector_bytes=64 if wide else 32 if avx else 16,
        registers=32 if wide or arm else 16,
        has_fma=features.get("fma", False) or arm,
        has_bf16=features.get("avx512bf16", False),
    )


class _Lock:
    """Held by whoever is about to use LLVM, and while the process forks.

    A child born while another thread is inside LLVM would find llvmlite's own lock locked for ever.
    """

    # Handlers run in reverse order of registration. Whoever holds this lock may start threads of a pool, so the lock
    # that pools take before a fork must be known first, and taken after this one.
    pools = concurrent.futures.thread.ThreadPoolExecutor

    def __init__(self) -> None:
        self.lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.acquire, after_in_parent=self.release, after_in_child=self.renew)

    def acquire(self) -> None:
        self.lock.acquire()

    def release(self) -> None:
        self.lock.release()

    def renew(self) -> None:
        self.lock = threading.RLock()


_lock = _Lock()


def alone() -> Any:
    """The lock of whatever uses LLVM, to be held in a `with` block."""
    return _lock.lock


@cache
def _real_host() -> Host:
    with alone():
        try:
            features = dict(llvm.get_host_cpu_features())
        except RuntimeError:  # LLVM does not know how to ask this system
            features = {}
        return describe(llvm.get_host_cpu_name(), features)


_chosen: list[Host] = []


def host() -> Host:
    """The machine that code is made for."""
    return _chosen[-1] if _chosen else _real_host()


@contextmanager
def use(chosen: Host) -> Iterator[None]:
    """Make code for another machine in this block: tests of narrower vectors."""
    _chosen.append(chosen)
    try:
        yield
    finally:
        _chosen.remove(chosen)


def narrower() -> list[Host]:
    """Hosts with less than this one has that this one can run, for tests."""
    full = {f[1:]: f[0] == "+" for f in _real_host().features.split(",") if f}
    found = []
    for without in (("avx512", "evex512"), ("avx", "fma", "f16c", "evex", "vaes", "vpclmulqdq", "gfni", "xop")):
        less = {name: on and not name.startswith(without) for name, on in full.items()}
        if less != full and any(full.values()):
            found.append(describe("x86-64", less))
        full = less
    return found


@cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


class _PerThread(threading.local):
    """Target machines, which two threads must not share."""

    def __init__(self) -> None:
        self.machines: dict[Host, Any] = {}


_per_thread = _PerThread()


def machine() -> Any:
    """The calling thread's target machine for `host()`."""
    chosen = host()
    found = _per_thread.machines.get(chosen)
    if found is None:
        found = _per_thread.machines[chosen] = _new_machine(chosen)
    return found


def _new_machine(chosen: Host) -> Any:
    _initialize()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(cpu=chosen.cpu, features=chosen.features, opt=2)


@cache
def _unlocked() -> Any:
    """The two slow functions of LLVM without llvmlite's lock, for threads with contexts of their own."""
    library = ctypes.CDLL(llvm.ffi.lib._name)
    for name in ("LLVMPY_RunNewModulePassManager", "LLVMPY_TargetMachineEmitToMemory"):
        known, found = getattr(llvm.ffi.lib, name), getattr(library, name)
        found.argtypes, found.restype = known.argtypes, known.restype
    return library


def compile_module(module: Any) -> bytes:
    """Machine code of an `llvmlite.ir.Module`, for `load`."""
    names = [f.name for f in module.functions if not f.is_declaration and f.linkage not in ("internal", "private")]
    return compile_text(str(module), names)


def compile_text(text: str, names: Iterable[str]) -> bytes:
    """Machine code of a module's text, whose functions `names` can be called from outside.

    Several threads may call it at once.
    """
    tm = machine()
    with llvm.create_context() as context, llvm.parse_assembly(text, context) as module:
        module.triple = tm.triple
        module.data_layout = str(tm.target_data)
        module.verify()
        _optimize(module, tm)
        code = _emit(module, tm)
    missing = [name for name in undefined(code) if not llvm.address_of_symbol(name)]
    if missing:  # the loader would end the process
        raise RuntimeError(f"the code calls {', '.join(missing)}, which this process does not have")
    return json.dumps(list(names)).encode() + b"\n" + code


# Pass managers not in use: each one made takes 9 kB that LLVM never gives back.
_idle_passes: list[Any] = []


def _optimize(module: Any, tm: Any) -> None:
    # a builder is for one run: it is left with what points to that run's instruments
    builder = llvm.create_pass_builder(tm, llvm.PipelineTuningOptions(speed_level=2))
    try:
        passes = _idle_passes.pop()
    except IndexError:
        passes = _new_passes()
    _unlocked().LLVMPY_RunNewModulePassManager(passes, module, builder)
    _idle_passes.append(passes)


def _new_passes() -> Any:
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    return passes


def _emit(module: Any, tm: Any) -> bytes:
    lib = llvm.ffi.lib
    with llvm.ffi.OutputString() as error:
        buffer = _unlocked().LLVMPY_TargetMachineEmitToMemory(tm, module, 1, error)
        if not buffer:
            raise RuntimeError(str(error))
    try:
        return ctypes.string_at(lib.LLVMPY_GetBufferStart(buffer), lib.LLVMPY_GetBufferSize(buffer))
    finally:
        lib.LLVMPY_DisposeMemoryBuffer(buffer)


@cache
def _trim() -> Any:
    """glibc's `malloc_trim`, None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if function is not None:
        function.argtypes, function.restype = (ctypes.c_size_t,), ctypes.c_int
    return function


def give_back() -> None:
    """Return to the system what was freed: of the megabytes that LLVM works in, the C library would keep most."""
    trim = _trim()
    if trim is not None:
        trim(0)


def undefined(image: bytes) -> list[str]:
    """Names that an ELF object needs from elsewhere; none for other formats."""
    if image[:6] != b"\x7fELF\x02\x01":
        return []
    (table,) = struct.unpack_from("<Q", image, 40)
    entry_size, count = struct.unpack_from("<HH", image, 58)
    # of each section: kind, offset, size, the section it refers to
    sections = [
        (*struct.unpack_from("<I", image, at + 4), *struct.unpack_from("<QQI", image, at + 24))
        for at in range(table, table + entry_size * count, entry_size)
    ]
    found = []
    for kind, offset, size, names in sections:
        if kind != 2:  # the symbol table
            continue
        for at in range(offset + 24, offset + size, 24):
            name, _, _, section = struct.unpack_from("<IBBH", image, at)
            if section == 0:
                start = sections[names][1] + name
                found.append(image[start : image.index(b"\0", start)].decode())
    return [name for name in found if name != "_GLOBAL_OFFSET_TABLE_"]


class Code:
    """Loaded machine code: `addresses[name]` of its functions, valid while this object lives."""

    def __init__(self, objects: Iterable[bytes]) -> None:
        _initialize()
        # an engine owns its target machine
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _new_machine(host()))
        names = []
        for code in objects:
            head, _, image = code.partition(b"\n")
            names += json.loads(head)
            self._engine.add_object_file(llvm.ObjectFileRef.from_data(image))
        self._engine.finalize_object()
        self.addresses: dict[str, int] = {name: self._engine.get_function_address(name) for name in names}


_kept: list[Code] = []


def load(code: bytes) -> dict[str, int]:
    """Addresses of the functions in what `compile_module` made; the code is kept as long as the process runs."""
    loaded = Code([code])
    _kept.append(loaded)
    return loaded.addresses


def assembly(module: Any) -> str:
    """What the processor is told to do: assembler text, for people."""
    tm = machine()
    with llvm.create_context() as context, llvm.parse_assembly(str(module), context) as parsed:
        _optimize(parsed, tm)
        text: str = tm.emit_assembly(parsed)
    return text
