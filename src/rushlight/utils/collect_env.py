"""What this machine and this installation are, for `rushlight info` and for bug reports."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rushlight import config, cuda
from rushlight.backends.threads import get_num_threads
from rushlight.version import __version__

LIBRARIES = ("numpy", "ml_dtypes", "llvmlite", "matplotlib", "cupy", "mpi4py")
# Instruction sets that decide which kernels can be generated, in the order shown.
VECTOR_FEATURES = (
    "sse4.2 avx avx2 fma f16c avx512f avx512bw avx512dq avx512vl avx512vnni avx512bf16 avx512fp16 "
    "amx-tile amx-bf16 amx-int8 neon sve sve2 bf16 i8mm"
).split()


@dataclass(frozen=True)
class SystemEnv:
    """The facts shown by `rushlight info`."""

    rushlight: str
    python: str
    platform: str
    libraries: dict[str, str | None]
    blas: str
    cpu: str
    cpu_features: tuple[str, ...]
    cores: int
    threads: int
    jit: str
    devices: tuple[str, ...]


def get_env_info() -> SystemEnv:
    """Collect the facts.

    Examples
    --------
    >>> torch.utils.collect_env.get_env_info().devices[0]
    'cpu'
    """
    cpu, features = host_cpu()
    return SystemEnv(
        rushlight=__version__,
        python=f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable})",
        platform=platform.platform(),
        libraries={name: installed_version(name) for name in LIBRARIES},
        blas=blas_name(),
        cpu=cpu,
        cpu_features=features,
        cores=available_cores(),
        threads=get_num_threads(),
        jit=jit_state(),
        devices=("cpu", *(f"cuda:{index}" for index in range(cuda.device_count()))),
    )


def get_pretty_env_info() -> str:
    """The facts as aligned text, one a line; libraries that are not installed are left out."""
    env = get_env_info()
    libraries = {name: version for name, version in env.libraries.items() if version is not None}
    rows = {
        "rushlight": env.rushlight,
        "python": env.python,
        "platform": env.platform,
        **libraries,
        "BLAS": env.blas,
        "CPU": env.cpu,
        "CPU features": " ".join(env.cpu_features) or "unknown",
        "cores": str(env.cores),
        "threads": str(env.threads),
        "JIT": env.jit,
        "devices": ", ".join(env.devices),
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def installed_version(distribution: str) -> str | None:
    """The installed version of a distribution, without importing it."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def available_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def jit_state() -> str:
    """Whether compiled kernels can be used, and if not, why."""
    if not config.get("JIT"):
        return "off (RUSHLIGHT_JIT=0)"
    return "off (llvmlite is not installed)" if installed_version("llvmlite") is None else "on"


def blas_name() -> str:
    """The library behind NumPy's matrix products."""
    build = np.show_config(mode="dicts")
    blas = build["Build Dependencies"]["blas"] if build is not None else {}
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def host_cpu() -> tuple[str, tuple[str, ...]]:
    """Name of the CPU and those of `VECTOR_FEATURES` that it has."""
    try:
        import llvmlite.binding as llvm
    except ImportError:
        return platform.processor() or platform.machine(), features_from_kernel()
    found = llvm.get_host_cpu_features()
    return llvm.get_host_cpu_name(), tuple(name for name in VECTOR_FEATURES if found.get(name))


def features_from_kernel() -> tuple[str, ...]:
    """The same features as Linux names them, for installations without llvmlite."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ()
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    words = {word.replace("_", dash) for word in line.split() for dash in ("_", ".", "-", "")}
    return tuple(name for name in VECTOR_FEATURES if name in words)


def main() -> None:
    """Print the facts: `python -m rushlight.utils.collect_env`."""
    print(get_pretty_env_info())


if __name__ == "__main__":
    main()
