"""Which ops called eagerly may run as compiled kernels, and from which size on that pays.

The compiler is loaded by the first such call. Without llvmlite, with RUSHLIGHT_JIT=0, for smaller operands and for
what the compiler has no kernels for, bodies run on NumPy. The choice depends on op, shapes and dtypes alone, so that a
program gives the same bits in every run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from rushlight import config

ndarray = np.ndarray
MISSING = object()
"""What `run` gives where there is no kernel."""

_FEW = 1 << 11
_SOME = 1 << 13
_MORE = 1 << 14
_MANY = 1 << 15
# Least number of elements of the largest operand. Measured with benchmarks/eager.py.
FLOORS: dict[str, int] = {
    **dict.fromkeys(("convolution", "convolution_transposed", "convolution_weight_grad"), _SOME),
    **dict.fromkeys(("max_pool2d_with_codes", "max_pool_grad", "max_pool_pick"), _SOME),
    **dict.fromkeys(("avg_pool2d", "avg_pool_grad", "adaptive_avg_pool2d", "adaptive_avg_pool_grad"), _SOME),
    **dict.fromkeys(("softmax", "softmax_grad", "log_softmax", "log_softmax_grad", "logsumexp"), _SOME),
    **dict.fromkeys(("layer_norm", "layer_norm_grad", "batch_norm", "batch_norm_grad", "rms_norm"), _SOME),
    **dict.fromkeys(("group_norm", "group_norm_grad", "batch_norm_frozen", "batch_norm_frozen_grad"), _SOME),
    **dict.fromkeys(("gelu", "silu", "mish", "softplus", "elu", "selu", "celu", "log_sigmoid", "sigmoid"), _SOME),
    **dict.fromkeys(("relu", "sqrt", "rsqrt"), _MORE),
    **dict.fromkeys(("sum", "mean"), _MANY),
    **dict.fromkeys(("erf", "erfc", "hardswish", "hardsigmoid", "leaky_relu", "softshrink"), _SOME),
    **dict.fromkeys(("attention", "attention_grad"), _SOME),
    **dict.fromkeys(("lstm_layer", "gru_layer", "rnn_layer"), _FEW),
    **dict.fromkeys(("lstm_gate_grads", "gru_gate_grads", "rnn_gate_grads"), _FEW),
    **dict.fromkeys(("embedding", "embedding_grad"), _MANY),
    **dict.fromkeys(("where", "clamp", "masked_fill", "maximum", "minimum", "hardtanh", "threshold", "lerp"), _MANY),
    **dict.fromkeys(("exp", "log", "log1p", "abs", "square", "pow_scalar", "prelu_kernel", "glu"), _MANY),
    **dict.fromkeys(("amax", "amin", "var", "std", "vector_norm", "tril", "triu"), _MANY),
    **dict.fromkeys(("smooth_l1_loss", "huber_loss", "mse_loss", "binary_cross_entropy", "bce_with_logits"), _MANY),
    **dict.fromkeys(("nll_loss2d",), _MANY),
    **dict.fromkeys(("gather", "take_along", "scatter_add_zeros", "scatter_add", "rows_place", "index_add"), _SOME),
    **dict.fromkeys(("place_along",), 1 << 17),
    **dict.fromkeys(("cumsum",), _SOME),
    **dict.fromkeys(("linear_matrix", "linear_matrix_plain", "linear_batched", "linear_batched_plain"), _MORE),
    **dict.fromkeys(("mm", "addmm", "mv", "bmm", "baddbmm", "batched_matmul"), _SOME),
    "cast": _MANY,
}
RECURRENT = frozenset(
    ("lstm_layer", "gru_layer", "rnn_layer", "lstm_gate_grads", "gru_gate_grads", "rnn_gate_grads")
)  # fmt: skip
"""Ops whose programs are of one number of steps; `rnn_packed.py` serves sequences of different lengths."""
PRODUCTS = frozenset(("linear_matrix", "linear_matrix_plain", "linear_batched", "linear_batched_plain"))
MATRICES = frozenset(("mm", "addmm", "mv", "bmm", "baddbmm", "batched_matmul"))
HALVES = PRODUCTS | MATRICES | {"cast"}
"""Ops whose kernels take float16 and bfloat16 too."""
JOINTS = PRODUCTS | {"smooth_l1_loss", "huber_loss", "mse_loss", "binary_cross_entropy", "bce_with_logits"}
"""Ops whose joint formula is one program; the others' call ops of their own."""
# Multiplications from which NumPy's BLAS does an affine map or its gradients as fast or faster.
MOST_PRODUCTS = 1 << 28
# Products of two matrices, one of which has no more rows or columns than that, NumPy's BLAS does slowly.
NARROW = 32


class _Provider:
    """How the compiler's parts for eager mode are had; the package registers them."""

    load: Callable[[], tuple[Callable[..., Any], Callable[..., Any]]] | None = None
    run: Callable[..., Any] | None = None
    update: Callable[..., Any] | None = None


def set_provider(load: Callable[[], tuple[Callable[..., Any], Callable[..., Any]]]) -> None:
    """Register `load()`, which gives what runs ops and what makes optimizer updates."""
    _Provider.load = load
    _Provider.run = _Provider.update = None


def update(*described: Any) -> Any:
    """An optimizer's update of several parameters as one program (`compiler/eager_update.py`), or None."""
    if _Provider.update is None:
        if _Provider.load is None or not config.get("JIT"):
            return None
        _Provider.run, _Provider.update = _Provider.load()
    return _Provider.update(*described)


def run(key: Any, function: Callable[..., Any], arguments: tuple[Any, ...], body: Callable[..., Any]) -> Any:
    """`function(*arguments)` by a kernel, or MISSING.

    `key` says what the function is, with all that it closes over, and begins with the name of an op. `body` is the
    function on arrays.
    """
    provided = _Provider.run
    if provided is None:
        if _Provider.load is None or not config.get("JIT"):
            return MISSING
        provided, _Provider.update = _Provider.load()
        _Provider.run = provided
    return provided(key, function, arguments, body)


def is_on() -> bool:
    """Whether `run` may find a kernel."""
    return _Provider.run is not None or _Provider.load is not None and bool(config.get("JIT"))


def pays(name: str, arguments: Any) -> bool:
    """Whether any array among the arguments of an op, or of a formula of it, is large enough for a kernel."""
    floor = FLOORS[name]
    for a in arguments:
        if type(a) is ndarray and a.size >= floor:
            if a.dtype.itemsize == 2 and a.dtype.kind in "fV":
                return name in HALVES
            if name in PRODUCTS:
                return _products(*arguments) < MOST_PRODUCTS
            if name in MATRICES:
                return _is_narrow(arguments)
            return name not in RECURRENT or arguments[0].ndim > 2
    return False


def _products(_: Any, x: Any, weight: Any, *others: Any) -> int:
    """Multiplications in an affine map."""
    count: int = x.size * weight.shape[0]
    return count


def _is_narrow(arguments: Any) -> bool:
    """Whether two arrays are batches of matrices, or one of them is narrow but no vector."""
    matrices = [a for a in arguments if type(a) is ndarray][-2:]
    if len(matrices) < 2 or any(a.dtype.kind != "f" for a in matrices):
        return False
    return matrices[0].ndim > 2 or 1 < min(matrices[0].shape + matrices[1].shape) <= NARROW


def formula(name: str, position: int, fn: Callable[..., Any]) -> Callable[..., Any]:
    """A gradient formula of an op that large arrays go through as one kernel."""
    key = (name, position)

    @functools.wraps(fn)
    def gradient(*arguments: Any) -> Any:
        if type(arguments[0]) is ndarray and pays(name, arguments):
            out = run(key, fn, arguments, fn)
            if out is not MISSING:
                return out
        return fn(*arguments)

    return gradient


def joint(name: str, fn: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    """The formula of all gradients of an op, which is called by keyword, likewise."""
    key = (name, "joint")

    def of_positional(*arguments: Any) -> Any:
        return fn(**dict(zip(names, arguments, strict=True)))

    @functools.wraps(fn)
    def gradients(**given: Any) -> Any:
        arguments = tuple([given[n] for n in names])
        if type(arguments[0]) is ndarray and pays(name, arguments):
            out = run(key, of_positional, arguments, of_positional)
            if out is not MISSING:
                return out
        return fn(**given)

    return gradients
