"""`autocast` on the CPU: result types and values, nesting, gradients and errors, side by side with PyTorch."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import rushlight


def of(lib: Any, kind: str, *shape: int) -> Any:
    size = int(np.prod(shape))
    values = (np.cos(np.arange(size)) * 0.4 + 0.5).reshape(shape).astype(np.float32)
    return lib.from_numpy(values).to(getattr(lib, kind))


CASES: dict[str, Any] = {
    "matmul": lambda t, d: of(t, d, 2, 3) @ of(t, d, 3, 2),
    "mixed": lambda t, d: of(t, d, 2, 3) @ of(t, "float32", 3, 2),
    "vectors": lambda t, d: of(t, d, 3) @ of(t, d, 3),
    "mm": lambda t, d: t.mm(of(t, d, 2, 3), of(t, d, 3, 2)),
    "bmm": lambda t, d: of(t, d, 2, 2, 3).bmm(of(t, d, 2, 3, 2)),
    "addmm": lambda t, d: t.addmm(of(t, "float32", 2, 2), of(t, d, 2, 3), of(t, d, 3, 2)),
    "baddbmm": lambda t, d: t.baddbmm(of(t, d, 2, 2, 2), of(t, d, 2, 2, 3), of(t, d, 2, 3, 2)),
    "einsum": lambda t, d: t.einsum("ij,jk->ik", of(t, d, 2, 3), of(t, d, 3, 2)),
    "tensordot": lambda t, d: t.tensordot(of(t, d, 2, 3), of(t, d, 3, 2), 1),
    "linear": lambda t, d: t.nn.functional.linear(of(t, d, 2, 3), of(t, "float32", 2, 3), of(t, "float32", 2)),
    "conv1d": lambda t, d: t.nn.functional.conv1d(of(t, d, 1, 2, 5), of(t, "float32", 2, 2, 3)),
    "conv2d": lambda t, d: t.nn.functional.conv2d(of(t, d, 1, 2, 5, 5), of(t, "float32", 2, 2, 3, 3)),
    "conv_transpose2d": lambda t, d: t.nn.functional.conv_transpose2d(of(t, d, 1, 2, 3, 3), of(t, d, 2, 2, 3, 3)),
    "prelu": lambda t, d: t.nn.functional.prelu(of(t, d, 2), of(t, "float32", 1)),
    "attention": lambda t, d: t.nn.functional.scaled_dot_product_attention(*[of(t, d, 1, 1, 4, 8)] * 3),
    "add": lambda t, d: of(t, d, 2) + of(t, d, 2),
    "softmax": lambda t, d: t.nn.functional.softmax(of(t, d, 3), 0),
    "layer_norm": lambda t, d: t.nn.functional.layer_norm(of(t, d, 2, 3), (3,)),
    "sum": lambda t, d: of(t, d, 3).sum(),
    "prod": lambda t, d: of(t, d, 3).prod(),
    "cdist": lambda t, d: t.cdist(of(t, d, 2, 3), of(t, d, 2, 3)),
    "mse": lambda t, d: t.nn.functional.mse_loss(of(t, d, 3), of(t, d, 3) * 0),
    "l1": lambda t, d: t.nn.functional.l1_loss(of(t, d, 3), of(t, d, 3) * 0),
    "smooth_l1": lambda t, d: t.nn.functional.smooth_l1_loss(of(t, d, 3), of(t, d, 3) * 0),
    "bce": lambda t, d: t.nn.functional.binary_cross_entropy_with_logits(of(t, d, 3), of(t, d, 3)),
    "cross_entropy": lambda t, d: t.nn.functional.cross_entropy(of(t, d, 2, 3), t.tensor([0, 2])),
    "kl_div": lambda t, d: t.nn.functional.kl_div(of(t, d, 3), of(t, d, 3), reduction="sum"),
    "cat": lambda t, d: t.cat([of(t, d, 2), of(t, "float32", 2)]),
    "double": lambda t, d: of(t, "float64", 2, 2) @ of(t, "float64", 2, 2),
}
LOWER = {
    "matmul", "mixed", "vectors", "mm", "bmm", "addmm", "baddbmm", "einsum", "tensordot", "linear", "conv1d", "conv2d",
    "conv_transpose2d", "prelu", "attention",
}  # fmt: skip
WIDER = {"prod", "cdist", "mse", "l1", "smooth_l1", "bce", "cross_entropy", "kl_div", "cat"}


@pytest.mark.parametrize("lower", ["bfloat16", "float16"])
@pytest.mark.parametrize("given", ["float32", "lower"])
@pytest.mark.parametrize("name", CASES)
def test_types_and_values(name: str, given: str, lower: str) -> None:
    kind = lower if given == "lower" else given
    with rushlight.autocast("cpu", dtype=getattr(rushlight, lower)):
        found = CASES[name](rushlight, kind)
    want = lower if name in LOWER else "float32" if name in WIDER else "float64" if name == "double" else kind
    assert found.dtype is getattr(rushlight, want)
    torch = pytest.importorskip("torch")
    with torch.autocast("cpu", dtype=getattr(torch, lower)):
        theirs = CASES[name](torch, kind)
    assert str(theirs.dtype) == f"torch.{want}"
    np.testing.assert_allclose(found.float().numpy(), theirs.float().numpy(), rtol=4e-2, atol=1e-2)


def test_nesting_and_threads() -> None:
    a = rushlight.ones(2, 2)
    seen = []
    with rushlight.autocast("cpu"):
        assert rushlight.is_autocast_enabled("cpu") and (a @ a).dtype is rushlight.bfloat16
        with rushlight.autocast("cpu", dtype=rushlight.float16):
            assert (a @ a).dtype is rushlight.float16 and rushlight.get_autocast_dtype("cpu") is rushlight.float16
        with rushlight.autocast("cpu", enabled=False):
            assert (a @ a).dtype is rushlight.float32
        thread = threading.Thread(target=lambda: seen.append((a @ a).dtype))
        thread.start()
        thread.join()
        assert (a @ a).dtype is rushlight.bfloat16
    assert seen == [rushlight.float32] and (a @ a).dtype is rushlight.float32
    assert rushlight.get_autocast_dtype("cpu") is rushlight.bfloat16


def test_decorator_and_exceptions() -> None:
    @rushlight.autocast("cpu")
    def product(x: Any) -> Any:
        return x @ x

    a = rushlight.ones(2, 2)
    assert product(a).dtype is rushlight.bfloat16 and (a @ a).dtype is rushlight.float32
    with pytest.raises(KeyError), rushlight.autocast("cpu"):
        raise KeyError
    assert not rushlight.is_autocast_enabled("cpu")
    with pytest.raises(TypeError, match="requires a callable, but got int"):
        rushlight.autocast("cpu")(3)


def test_training_step() -> None:
    def losses(lib: Any) -> list[float]:
        net = lib.nn.Sequential(lib.nn.Linear(4, 8), lib.nn.ReLU(), lib.nn.Linear(8, 3))
        for k, p in enumerate(net.parameters()):
            p.data.copy_(of(lib, "float32", *p.shape) * (0.3 if k % 2 else -0.3))
        optimizer = lib.optim.SGD(net.parameters(), lr=0.1)
        found = []
        for _ in range(5):
            optimizer.zero_grad()
            with lib.autocast("cpu", dtype=lib.bfloat16):
                out = net(of(lib, "float32", 6, 4))
                loss = lib.nn.functional.cross_entropy(out, lib.tensor([0, 1, 2, 0, 1, 2]))
            loss.backward()
            assert all(p.grad.dtype is lib.float32 for p in net.parameters())
            optimizer.step()
            found.append(loss.item())
        return found

    ours = losses(rushlight)
    assert ours[-1] < ours[0]
    torch = pytest.importorskip("torch")
    np.testing.assert_allclose(ours, losses(torch), rtol=2e-2)


@pytest.mark.parametrize("given", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "MultiheadAttention", "TransformerEncoderLayer"])
def test_modules_on_either_input(name: str, given: str) -> None:
    def kinds(lib: Any) -> list[str]:
        x = of(lib, given, 2, 1, 4)
        net = getattr(lib.nn, name)(4, 2)
        with lib.autocast("cpu"):
            out = net(x, x, x)[0] if name == "MultiheadAttention" else net(x)
        out = out[0] if isinstance(out, tuple) else out
        out.float().sum().backward()
        return [str(out.dtype), *(str(p.grad.dtype) for p in net.parameters())]

    found = kinds(rushlight)
    assert set(found[1:]) == {"torch.float32"}
    torch = pytest.importorskip("torch")
    assert found == kinds(torch)


def test_parameters_are_cast_once() -> None:
    w = rushlight.ones(2, 2, requires_grad=True)
    with rushlight.autocast("cpu"):
        a, b = w @ w, w @ w
        first = a.grad_fn.next_functions[0][0]
        assert first is b.grad_fn.next_functions[1][0] and type(first).__name__ == "ToCopyBackward0"
    (a + b).sum().backward()
    assert w.grad.tolist() == [[8, 8], [8, 8]]
    with rushlight.autocast("cpu", cache_enabled=False):
        a, b = w @ w, w @ w
    assert a.grad_fn.next_functions[0][0] is not b.grad_fn.next_functions[0][0]


def test_custom_functions() -> None:
    seen = []

    class Mine(rushlight.autograd.Function):
        @staticmethod
        @rushlight.amp.custom_fwd(device_type="cpu", cast_inputs=rushlight.float32)
        def forward(ctx: Any, x: Any) -> Any:
            seen.append((x.dtype, (x @ x).dtype))
            return x * 2

        @staticmethod
        @rushlight.amp.custom_bwd(device_type="cpu")
        def backward(ctx: Any, g: Any) -> Any:
            seen.append((rushlight.is_autocast_enabled("cpu"),))
            return g * 2

    x = rushlight.ones(2, 2, dtype=rushlight.bfloat16, requires_grad=True)
    with rushlight.autocast("cpu"):
        Mine.apply(x).sum().backward()
    assert seen == [(rushlight.float32, rushlight.float32), (False,)] and x.grad.tolist() == [[2, 2], [2, 2]]


def test_errors() -> None:
    with pytest.raises(RuntimeError, match="User specified an unsupported autocast device_type 'tpu'"):
        rushlight.autocast("tpu")
    with pytest.raises(ValueError, match="Expected `device_type` of type `str`"):
        rushlight.autocast(3)
    with pytest.warns(UserWarning, match="the target dtype is not supported. Disabling autocast"):
        assert not rushlight.autocast("cpu", dtype=rushlight.float32)._enabled
    with pytest.warns(UserWarning, match="CUDA is not available"):
        rushlight.autocast("cuda")
    assert rushlight.amp.is_autocast_available("cpu") and not rushlight.amp.is_autocast_available("tpu")


def test_out_is_left_alone() -> None:
    a = rushlight.ones(2, 2)
    out = rushlight.zeros(2, 2)
    with rushlight.autocast("cpu"):
        rushlight.mm(a, a, out=out)
    assert out.dtype is rushlight.float32 and out.tolist() == [[2, 2], [2, 2]]


def test_the_old_names_warn_and_work() -> None:
    with pytest.warns(FutureWarning, match=r"use `torch.amp.autocast\('cpu', args...\)` instead"):
        old = rushlight.cpu.amp.autocast()
    with old:
        assert (rushlight.ones(2, 2) @ rushlight.ones(2, 2)).dtype is rushlight.bfloat16
    with pytest.warns(FutureWarning, match="cuda"):
        off = rushlight.cuda.amp.autocast(enabled=False)
    with off:
        assert (rushlight.ones(2, 2) @ rushlight.ones(2, 2)).dtype is rushlight.float32
    with pytest.warns(FutureWarning, match="GradScaler"):
        scaler = rushlight.cuda.amp.GradScaler(enabled=False)
    assert scaler.scale(3) == 3
    with pytest.warns(FutureWarning, match="GradScaler"):
        assert rushlight.cpu.amp.GradScaler(init_scale=4.0).get_scale() == 4.0
    assert rushlight.cuda.amp.custom_fwd is rushlight.amp.custom_fwd
