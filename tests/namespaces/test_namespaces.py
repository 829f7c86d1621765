"""Names that programs ask for around the core: jit, backends, devices that are absent, multiprocessing, hub."""

from __future__ import annotations

import os
import queue
from typing import Any

import pytest

import rushlight as torch


def test_jit_keeps_functions_and_modules_eager() -> None:
    @torch.jit.script
    def branches(x: Any) -> Any:
        return x if x.sum() > 0 else -x

    assert branches(-torch.ones(2)).tolist() == [1.0, 1.0]
    layer = torch.nn.Linear(2, 3)
    assert torch.jit.script(layer) is layer and torch.jit.trace(layer, torch.ones(1, 2)) is layer
    assert torch.jit.trace(lambda x, y: x + y, (1, 2))(3, 4) == 7
    assert torch.jit.trace_module(layer, {"forward": torch.ones(1, 2)}) is layer
    with pytest.raises(RuntimeError):
        torch.jit.trace(layer, torch.ones(1, 5))
    with pytest.raises(TypeError):
        torch.jit.script(3)

    class Net(torch.nn.Module):
        @torch.jit.export
        def one(self) -> int:
            return 1

        @torch.jit.ignore
        def two(self) -> int:
            return 2

        @torch.jit.ignore(drop=True)
        def three(self) -> int:
            return 3

        @torch.jit.unused
        def four(self) -> int:
            return 4

    net = Net()
    assert (net.one(), net.two(), net.three(), net.four()) == (1, 2, 3, 4)
    assert not torch.jit.is_scripting() and not torch.jit.is_tracing()
    assert torch.jit.annotate(list[int], [1]) == [1] and torch.jit.wait(torch.jit.fork(max, 1, 2)) == 2
    with pytest.raises(RuntimeError, match="eval mode"):
        torch.jit.freeze(net)
    assert torch.jit.freeze(net.eval()) is net
    for refused in (lambda: torch.jit.save(net, "f"), lambda: torch.jit.load("f")):
        with pytest.raises(NotImplementedError, match=r"torch\.jit\."):
            refused()


def test_switches_of_libraries() -> None:
    cudnn = torch.backends.cudnn
    assert cudnn.enabled and not cudnn.benchmark and not cudnn.is_available() and cudnn.version() is None
    with cudnn.flags(enabled=False, benchmark=True):
        assert torch.backends.cudnn.benchmark and not cudnn.enabled
    assert cudnn.enabled and not cudnn.benchmark
    cudnn.deterministic = True
    assert torch.backends.cudnn.deterministic
    cudnn.deterministic = False
    with pytest.raises(TypeError):
        cudnn.set_flags(speed=1)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cuda.enable_flash_sdp(False)
    assert not torch.backends.cuda.flash_sdp_enabled() and not torch.backends.cuda.is_built()
    torch.backends.cuda.enable_flash_sdp(True)
    for name in ("mps", "mkl", "mkldnn", "openmp", "opt_einsum"):
        assert getattr(torch.backends, name).is_available() is False
    with torch.backends.mkldnn.flags(enabled=False), torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
        assert not torch.backends.mkldnn.enabled
    assert torch.backends.mkldnn.enabled and torch.backends.cpu.get_cpu_capability() in (
        "DEFAULT", "AVX2", "AVX512", "ASIMD",
    )  # fmt: skip
    with pytest.raises(AttributeError):
        _ = torch.backends.nothing


def test_absent_devices() -> None:
    for device in (torch.mps, torch.xpu):
        assert not device.is_available() and device.device_count() == 0
        device.manual_seed(1)
        with pytest.raises((RuntimeError, NotImplementedError)):
            device.synchronize()
    assert not torch.accelerator.is_available() and torch.accelerator.current_accelerator() is None
    with pytest.raises(RuntimeError, match="accelerator"):
        torch.accelerator.synchronize()
    assert torch.cpu.is_available() and torch.cpu.current_device() == "cpu" and torch.cpu.device_count() == 1
    chosen = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"
    assert torch.device(chosen) == torch.device("cpu")


def test_version_and_hub() -> None:
    assert torch.version.cuda is None and torch.version.hip is None and torch.version.__version__ == torch.__version__
    with pytest.raises(NotImplementedError, match=r"torch\.hub\.load "):
        torch.hub.load("owner/repository", "model")


def put(index: int, results: Any, tensor: Any) -> None:
    results.put((index, (tensor * index).tolist()))


def fail(index: int) -> None:
    if index == 1:
        raise ValueError("for the test")


def leave(index: int) -> None:
    os._exit(3)


def test_processes() -> None:
    mp = torch.multiprocessing
    results = mp.get_context("fork").Queue()
    mp.start_processes(put, (results, torch.ones(2)), nprocs=2, start_method="fork")
    assert sorted(results.get(timeout=20) for _ in range(2)) == [(0, [0.0, 0.0]), (1, [1.0, 1.0])]
    with pytest.raises(queue.Empty):
        results.get_nowait()
    with pytest.raises(mp.ProcessRaisedException, match="for the test") as raised:
        mp.start_processes(fail, nprocs=2, start_method="fork")
    assert raised.value.error_index == 1
    with pytest.raises(mp.ProcessExitedException, match="exit code 3") as exited:
        mp.start_processes(leave, start_method="fork")
    assert exited.value.exit_code == 3
    assert mp.Process is not None and mp.cpu_count() >= 1 and mp.get_sharing_strategy() == "file_descriptor"


def test_settings_and_small_names() -> None:
    before = torch.get_deterministic_debug_mode()
    for mode, level in (("warn", 1), (2, 2), ("default", 0)):
        torch.set_deterministic_debug_mode(mode)
        assert torch.get_deterministic_debug_mode() == level
    with pytest.raises(RuntimeError, match="invalid value"):
        torch.set_deterministic_debug_mode("loud")
    torch.set_deterministic_debug_mode(before)
    torch.set_num_interop_threads(2)
    assert torch.get_num_interop_threads() == 2
    assert (torch.sym_int(2.7), torch.sym_max(1, 2.0), torch.sym_min(1, 2.0), torch.sym_not(0)) == (2, 2.0, 1.0, True)
    assert issubclass(torch.OutOfMemoryError, RuntimeError) and torch.cuda.OutOfMemoryError is torch.OutOfMemoryError
    assert torch.GradScaler is torch.amp.GradScaler
    with pytest.raises(RuntimeError, match="Event requires CUDA"):
        torch.cuda.Event(enable_timing=True)
    assert torch.types.Device is not None and isinstance(3, torch.types.Number)
    assert torch.cuda.memory_allocated() == torch.cuda.max_memory_reserved() == 0


def test_batch_norms_without_buffers() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    assert torch.func.replace_all_batch_norm_modules_(net) is net
    assert not list(net.buffers())
    x = torch.randn(5, 4, 2)
    together = torch.func.vmap(torch.func.functionalize(lambda b: net(b).detach()))(x)
    assert torch.allclose(together, torch.stack([net(b) for b in x]), atol=1e-5)
