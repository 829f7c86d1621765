"""Ops of eager programs by kernels: what their bodies on NumPy give, whoever calls them and however often."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

import rushlight
import rushlight.nn.functional as F
from rushlight.compiler import eager
from rushlight.compiler.binding import is_available
from rushlight.ops import native
from rushlight.ops.kinds import OPS
from rushlight.tape import wrap
from tests.compiler.test_cases import assert_close, leaves, program, tensors
from tests.ops.cases import CASES
from tests.optim.cases import OPTIMIZERS, name_of

pytestmark = pytest.mark.skipif(not is_available(), reason="llvmlite is not installed")
NAMES = [name for name in native.FLOORS if name in CASES]
ROWS = [pytest.param(CASES[n], sample, id=f"{n}-{k}") for n in NAMES for k, sample in enumerate(CASES[n].samples)]
RNG = np.random.default_rng(0)


def set_floors(monkeypatch: pytest.MonkeyPatch, floor: int) -> None:
    """Let ops run by kernels from that size on."""
    for name in native.FLOORS:
        monkeypatch.setitem(native.FLOORS, name, floor)
        if name in OPS:
            monkeypatch.setattr(OPS[name], "floor", floor)


@pytest.fixture
def always(monkeypatch):
    """Kernels for operands of all sizes."""
    set_floors(monkeypatch, 0)


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    return wrap(RNG.standard_normal(shape).astype(dtype))


def test_floors_are_of_declared_ops():
    assert [n for n in native.FLOORS if n not in OPS] == []
    assert native.FLOORS.keys() >= native.JOINTS


@pytest.mark.parametrize(("case", "sample"), ROWS)
def test_kernels_equal_bodies(case, sample, monkeypatch):
    arrays = case.draw(sample, np.float32)
    run = program(case, sample)
    for layout in ("", "stepped") if sample is case.samples[0] else ("",):
        given = [tensors(OPS[case.op], arrays, layout, case.grad) for _ in range(2)]
        found = []
        for floor, operands in zip((sys.maxsize, 0), given, strict=True):
            set_floors(monkeypatch, floor)
            rushlight.manual_seed(3)
            found.append(run(*operands))
        for a, b in zip(found[1], found[0], strict=True):
            assert_close(a, b)
            assert a.numel() < 2 or a.stride() == b.stride()
        for a, b in zip(leaves(given[1]), leaves(given[0]), strict=True):
            assert (a.grad is None) == (b.grad is None)
            if b.grad is not None:
                assert_close(a.grad, b.grad)


# Calls large enough for several chunks, and what they are called on.
LARGE = {
    "gelu": lambda x: F.gelu(x),
    "relu": lambda x: F.relu(x),
    "softmax": lambda x: F.softmax(x, -1),
    "log_softmax over the first dim": lambda x: F.log_softmax(x, 0),
    "layer_norm": lambda x: F.layer_norm(x, (x.shape[-1],), x[0], x[1]),
    "sum": lambda x: x.sum(0) + x.sum(),
    "linear": lambda x: F.linear(x, x[:96], x[0, :96]),
    "conv2d": lambda x: F.conv2d(x.reshape(16, 4, 32, -1), x.reshape(-1)[:288].reshape(8, 4, 3, 3)),
    "max_pool2d": lambda x: F.max_pool2d(x.reshape(16, 4, 32, -1), 2),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
}


@pytest.mark.parametrize("name", LARGE)
def test_thread_counts_give_the_same_bits(name, always):
    data = RNG.standard_normal((512, 320)).astype(np.float32)
    before = rushlight.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            rushlight.set_num_threads(count)
            x = wrap(data.copy()).requires_grad_()
            out = LARGE[name](x)
            (out * out).sum().backward()
            found.append((out.detach().numpy(), x.grad.numpy()))
    finally:
        rushlight.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("call", [F.relu, F.gelu, F.silu, F.softplus, lambda x: F.softmax(x, 0), rushlight.logsumexp])
def test_nan_and_infinity(call, always):
    args = (0,) if call is rushlight.logsumexp else ()
    x = rushlight.tensor([np.nan, np.inf, -np.inf, 0.0, 1.0])
    got = call(x, *args).numpy()
    want = call(x.double(), *args).numpy()  # the same floors: NaN where float64 has it
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    assert np.isnan(got).any()


def test_results_belong_to_the_caller(always):
    x = normal(64, 65)
    first = F.gelu(x)
    kept = first.clone()
    second = F.gelu(normal(64, 65))
    assert not np.shares_memory(first.numpy(), second.numpy())
    assert rushlight.equal(first, kept)
    same = OPS["linear_matrix"](None, x[:, :64], x[:, 1:])  # operands that overlap
    np.testing.assert_allclose(same.numpy(), x[:, :64].numpy() @ x[:, 1:].numpy().T, 1e-4, 1e-4)


def test_dims_keep_their_order_in_memory(always):
    x = normal(4, 6, 5, 3).permute(0, 3, 1, 2)
    assert F.relu(x).stride() == x.stride()
    expanded = rushlight.ones(1, 8).expand(5, 8)
    assert rushlight.equal(F.gelu(expanded), F.gelu(expanded.contiguous()))


def test_threads_share_programs(always):
    wrong = []

    def work(seed: int) -> None:
        data = np.random.default_rng(seed).standard_normal((40, 41))
        want = np.maximum(data, 0) + 1 / (1 + np.exp(-data))
        for _ in range(100):
            x = wrap(data.copy())
            if not np.allclose((F.relu(x) + rushlight.sigmoid(x)).numpy(), want):
                wrong.append(seed)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(5)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert wrong == []
    assert all(n is None or len(n.idle) <= eager.MOST_IDLE for n in eager._programs.values())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_child_processes(always):
    x = normal(300, 300)
    want = F.softmax(x, -1).numpy()
    pid = os.fork()
    if not pid:
        try:
            same = np.array_equal(F.softmax(x, -1).numpy(), want) and F.gelu(normal(300, 301)).shape == (300, 301)
            os._exit(0 if same else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_changing_shapes_do_not_compile_for_ever(always, monkeypatch):
    monkeypatch.setattr(eager, "MOST_LAYOUTS", eager._counts["softplus"] + 3)
    before = len(eager._programs)
    for n in range(10, 30):
        x = normal(n, dtype=np.float64)
        np.testing.assert_allclose(F.softplus(x).numpy(), np.log1p(np.exp(x.numpy())))
    assert len(eager._programs) == before + 3


def test_interrupted_runs(always, monkeypatch):
    x = normal(33, 35)
    want = F.gelu(x).numpy()
    programs = [n for n in eager._programs.values() if n is not None and n.plan.graph.inputs[0].shape == (33, 35)]

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    (one,) = programs
    monkeypatch.setattr(one.idle[-1], "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        F.gelu(x)
    np.testing.assert_array_equal(F.gelu(x).numpy(), want)


def test_what_cannot_be_compiled_runs_on_numpy(always, monkeypatch):
    def broken(graph: Any) -> None:
        raise RuntimeError("no such register")

    x = normal(7, 23)
    want = F.gelu(x.double()).numpy()
    monkeypatch.setattr(eager, "schedule", broken)
    with pytest.warns(RuntimeWarning, match="gelu runs on NumPy.*no such register"):
        out = F.gelu(x)
    np.testing.assert_allclose(out.numpy(), want, 1e-5, 1e-6)


def test_errors_are_those_of_the_body(always):
    with pytest.raises(RuntimeError, match="channels"):
        F.conv2d(normal(2, 3, 8, 8), normal(4, 5, 3, 3))


SCRIPT = """
import sys
{before}
import rushlight
x = rushlight.ones(256, 256, requires_grad=True)
rushlight.nn.functional.gelu(x @ x).sum().backward()
optimizer = rushlight.optim.Adam([x])
optimizer.step()
assert "llvmlite.binding" not in sys.modules
"""


@pytest.mark.parametrize(("before", "jit"), [("", "0"), ("sys.modules['llvmlite'] = None", "1")], ids=["JIT=0", "none"])
def test_without_llvmlite(before, jit):
    source = os.path.dirname(os.path.dirname(rushlight.__file__))
    env = {**os.environ, "RUSHLIGHT_JIT": jit, "PYTHONPATH": source}
    subprocess.run([sys.executable, "-c", SCRIPT.format(before=before)], env=env, check=True, timeout=60)


# Optimizers

SHAPES = ((5, 7), (35,), (1,), (64, 33), (3, 2, 4))


def parameters() -> list[Any]:
    rng = np.random.default_rng(1)
    return [wrap(rng.standard_normal(s).astype(np.float32)).requires_grad_() for s in SHAPES]


def train(case: Any, floor: int, monkeypatch: pytest.MonkeyPatch, change: Any = None) -> tuple[list[Any], Any]:
    """Parameters after some steps, and the optimizer."""
    for module in ("engine", "together"):
        for name in ("FLOOR", "FLOOR_STATELESS"):
            monkeypatch.setattr(f"rushlight.optim.{module}.{name}", floor)
    name, settings = case
    params = parameters()
    optimizer = getattr(rushlight.optim, name)(params, **settings)
    rng = np.random.default_rng(2)
    for step in range(4):
        for p in params:
            p.grad = wrap(rng.standard_normal(p.shape).astype(np.float32))
        if change is not None:
            change(step, params, optimizer)
        optimizer.step()
    return [p.detach().numpy() for p in params], optimizer


def programs_of(optimizer: Any) -> list[Any]:
    return [p for t in optimizer._engine.together.values() for p in t._programs.values() if p is not None]


def assert_alike(found: list[Any], want: list[Any]) -> None:
    for a, b in zip(found, want, strict=True):
        np.testing.assert_allclose(a, b, 2e-4, 2e-5)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=name_of)
def test_updates_of_all_parameters_at_once(case, monkeypatch):
    want, _ = train(case, sys.maxsize, monkeypatch)
    found, optimizer = train(case, 1, monkeypatch)
    assert_alike(found, want)
    if case[0] in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad"):
        assert programs_of(optimizer)


def freeze_one(step: int, params: list[Any], optimizer: Any) -> None:
    if step == 1:
        params[0].grad = None  # its step count differs from now on
    if step == 2:
        optimizer.param_groups[0]["lr"] *= 0.5


def odd_layouts(step: int, params: list[Any], optimizer: Any) -> None:
    if step == 0:
        params[3].data = wrap(np.asfortranarray(params[3].detach().numpy()))
    params[0].grad = wrap(np.asfortranarray(params[0].grad.numpy()))


def shared_memory(step: int, params: list[Any], optimizer: Any) -> None:
    if step == 0:
        params[1].data = params[0].data.view(-1)
    params[2].grad = params[2].detach()


@pytest.mark.parametrize("change", [freeze_one, odd_layouts, shared_memory])
def test_updates_of_unusual_parameters(change, monkeypatch):
    for case in (("AdamW", {"lr": 0.01}), ("SGD", {"lr": 0.1, "momentum": 0.9})):
        want, _ = train(case, sys.maxsize, monkeypatch, change)
        found, _ = train(case, 1, monkeypatch, change)
        assert_alike(found, want)


def test_updates_of_changing_sets(monkeypatch):
    """Sets of parameters beyond the bound are updated one by one, to the same bits."""

    def drop(step: int, params: list[Any], optimizer: Any) -> None:
        params[step].grad = None

    case = ("Adam", {"lr": 0.01})
    found, _ = train(case, 1, monkeypatch, drop)
    monkeypatch.setattr("rushlight.optim.together.MOST_SETS", 0)
    one_by_one, optimizer = train(case, 1, monkeypatch, drop)
    assert all(len(p.sizes) == 1 for p in programs_of(optimizer))
    for a, b in zip(found, one_by_one, strict=True):
        np.testing.assert_array_equal(a, b)
