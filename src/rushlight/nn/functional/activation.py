"""Activation functions with PyTorch's arguments: `inplace`, `dim`, `training`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from rushlight.functions import arithmetic
from rushlight.functions import softmax as S
from rushlight.functions.activation import FLOATING, no_kernel
from rushlight.functions.random import exponential_
from rushlight.generator import default_generator
from rushlight.modes import autocasts
from rushlight.nn.functional.arguments import require_tensor
from rushlight.ops import activation as ops
from rushlight.ops import elementwise
from rushlight.ops.dropout import rrelu_factors
from rushlight.ops.index import scatter_fill
from rushlight.ops.kinds import Op
from rushlight.ops.reduce import argmax
from rushlight.tape import Variable, apply_inplace, record, wrap


def _run(op: Op, input: Any, params: dict[str, Any], kernel: str, inplace: bool, name: str) -> Any:
    """`op` on one floating tensor, in place if asked."""
    if not isinstance(input, Variable):
        require_tensor(name, "input", 1, input)
    if input._data.dtype.kind not in FLOATING:
        raise no_kernel(kernel, input)
    return apply_inplace(op, (input,), params) if inplace else record(op, (input,), params)


def relu(input: Any, inplace: bool = False) -> Any:
    """max(input, 0).

    Examples
    --------
    >>> torch.nn.functional.relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if not isinstance(input, Variable):
        require_tensor("relu", "input", 1, input)
    kind = input._data.dtype.kind
    if kind == "b":
        raise RuntimeError("Boolean inputs not supported for relu")
    if kind == "c":
        raise NotImplementedError("clamp is not supported for complex types")
    return apply_inplace(elementwise.relu, (input,), {}) if inplace else record(elementwise.relu, (input,), {})


def relu_(input: Any) -> Any:
    """In-place form of `relu`."""
    return relu(input, True)


def relu6(input: Any, inplace: bool = False) -> Any:
    """input limited to 0..6."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """input limited to min_val..max_val."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    require_tensor("hardtanh", "input", 1, input)
    kind = input._data.dtype.kind
    if kind == "b":
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if kind == "c":
        raise NotImplementedError("clamp is not supported for complex types")
    if kind in "iu":
        min_val, max_val = int(min_val), int(max_val)
        if kind == "u" and min_val < 0:
            raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    params = {"min_val": min_val, "max_val": max_val}
    return apply_inplace(ops.hardtanh, (input,), params) if inplace else record(ops.hardtanh, (input,), params)


def hardtanh_(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """In-place form of `hardtanh`."""
    return hardtanh(input, min_val, max_val, True)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """input above 0, alpha * (exp(input) - 1) below [1]_.

    References
    ----------
    .. [1] D. Clevert et al., "Fast and Accurate Deep Network Learning by Exponential Linear Units", 2015.
    """
    return _run(ops.elu, input, {"alpha": alpha, "scale": 1.0, "input_scale": 1.0}, "elu_cpu", inplace, "elu")


def elu_(input: Any, alpha: float = 1.0) -> Any:
    """In-place form of `elu`."""
    return elu(input, alpha, True)


def selu(input: Any, inplace: bool = False) -> Any:
    """The elu whose constants keep mean 0 and variance 1 through layers."""
    return _run(ops.selu, input, {}, "elu_cpu", inplace, "selu")


def selu_(input: Any) -> Any:
    """In-place form of `selu`."""
    return selu(input, True)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """input above 0, alpha * (exp(input / alpha) - 1) below."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _run(ops.celu, input, {"alpha": alpha}, "elu_cpu", inplace, "celu")


def celu_(input: Any, alpha: float = 1.0) -> Any:
    """In-place form of `celu`."""
    return celu(input, alpha, True)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """input above 0, negative_slope * input below."""
    return _run(ops.leaky_relu, input, {"negative_slope": negative_slope}, "leaky_relu_cpu", inplace, "leaky_relu")


def leaky_relu_(input: Any, negative_slope: float = 0.01) -> Any:
    """In-place form of `leaky_relu`."""
    return leaky_relu(input, negative_slope, True)


def rrelu(
    input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Any:
    """leaky_relu with a slope drawn from [lower, upper) for each element; with their mean when not training."""
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return _run(ops.rrelu_eval, input, {"slope": (lower + upper) / 2}, "leaky_relu_cpu", inplace, "rrelu")
    require_tensor("rrelu", "input", 1, input)
    if input._data.dtype.kind not in FLOATING:
        raise no_kernel("rrelu_with_noise_out_cpu", input)
    drawn = record(rrelu_factors, (input,), {"low": lower, "high": upper, "generator": default_generator})
    operands = (input, drawn)
    return apply_inplace(ops.rrelu_with_noise, operands, {}) if inplace else record(ops.rrelu_with_noise, operands, {})


def rrelu_(input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Any:
    """In-place form of `rrelu`."""
    return rrelu(input, lower, upper, training, True)


def gelu(input: Any, *, approximate: str = "none") -> Any:
    """input times the probability that a standard normal variable is below it [1]_; "tanh" is close and cheaper.

    References
    ----------
    .. [1] D. Hendrycks, K. Gimpel, "Gaussian Error Linear Units", 2016.
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return _run(ops.gelu, input, {"approximate": approximate}, "GeluKernelImpl", False, "gelu")


def silu(input: Any, inplace: bool = False) -> Any:
    """input * sigmoid(input), also called swish."""
    require_tensor("silu", "input", 1, input)
    if input._data.dtype.kind not in "fVc":
        raise no_kernel("silu_cpu", input)
    return apply_inplace(ops.silu, (input,), {}) if inplace else record(ops.silu, (input,), {})


def mish(input: Any, inplace: bool = False) -> Any:
    """input * tanh(softplus(input))."""
    return _run(ops.mish, input, {}, "mish_cpu", inplace, "mish")


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta * input)) / beta; input itself where beta * input exceeds `threshold`."""
    return _run(ops.softplus, input, {"beta": beta, "threshold": threshold}, "softplus_cpu", False, "softplus")


def logsigmoid(input: Any) -> Any:
    """log(sigmoid(input)) without overflow."""
    return _run(ops.log_sigmoid, input, {}, "log_sigmoid_cpu", False, "log_sigmoid")


def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """input / 6 + 1/2 limited to 0..1."""
    return _run(ops.hardsigmoid, input, {}, "hardsigmoid_cpu", inplace, "hardsigmoid")


def hardswish(input: Any, inplace: bool = False) -> Any:
    """input * hardsigmoid(input)."""
    return _run(ops.hardswish, input, {}, "hardswish_cpu", inplace, "hardswish")


def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """input moved towards 0 by lambd, 0 within lambd of it."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be in range [0, 3.40282e+38] for input dtype Float, but found {lambd:g}")
    return _run(ops.softshrink, input, {"lambd": lambd}, "softshrink_check", False, "softshrink")


def softsign(input: Any) -> Any:
    """input / (1 + |input|)."""
    require_tensor("softsign", "input", 1, input)
    return arithmetic.div(input, arithmetic.add(arithmetic.abs(input), 1))


def tanhshrink(input: Any) -> Any:
    """input - tanh(input)."""
    require_tensor("tanhshrink", "input", 1, input)
    return arithmetic.sub(input, arithmetic.tanh(input))


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """input above the threshold, else `value`."""
    require_tensor("threshold", "input", 1, input)
    kind = input._data.dtype.kind
    if kind in "bc":
        raise no_kernel("threshold_cpu", input)
    params = {"threshold": threshold, "value": int(value) if kind in "iu" else value}
    return apply_inplace(ops.threshold, (input,), params) if inplace else record(ops.threshold, (input,), params)


def threshold_(input: Any, threshold_: float, value: float) -> Any:
    """In-place form of `threshold`."""
    return threshold(input, threshold_, value, True)


def tanh(input: Any) -> Any:
    """Hyperbolic tangent."""
    return arithmetic.tanh(input)


def sigmoid(input: Any) -> Any:
    """1 / (1 + exp(-input))."""
    return arithmetic.sigmoid(input)


def glu(input: Any, dim: int = -1) -> Any:
    """The first half along `dim` times the sigmoid of the second half."""
    return _run(ops.glu, input, {"dim": dim}, "glu_cpu", False, "glu")


@autocasts("lower")
def _implicit_dim(name: str, ndim: int, stacklevel: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        UserWarning,
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """exp(input) / sum(exp(input)) along `dim`, computed in `dtype` if given.

    Examples
    --------
    >>> torch.nn.functional.softmax(torch.tensor([0.0, 0.0]), dim=0)
    tensor([0.5000, 0.5000])
    """
    if dim is None:
        dim = _implicit_dim("softmax", input.dim(), _stacklevel)
    return S.softmax(input, dim, dtype)


def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """softmax(-input)."""
    if dim is None:
        dim = _implicit_dim("softmin", input.dim(), _stacklevel)
    return S.softmax(arithmetic.neg(input), dim, dtype)


def log_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """log(softmax(input)) along `dim`, exact where softmax underflows."""
    if dim is None:
        dim = _implicit_dim("log_softmax", input.dim(), _stacklevel)
    return S.log_softmax(input, dim, dtype)


def gumbel_softmax(logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Any:
    """A sample from the Gumbel-softmax distribution [1]_; `hard` gives one-hot samples with the soft one's gradient.

    References
    ----------
    .. [1] E. Jang et al., "Categorical Reparameterization with Gumbel-Softmax", 2016.
    """
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    noise = exponential_(wrap(np.empty_like(logits._data)))
    gumbels = (logits - arithmetic.log(noise)) / tau
    soft = S.softmax(gumbels, dim)
    if not hard:
        return soft
    zeros = wrap(np.zeros_like(soft._data))
    chosen = record(argmax, (soft.detach(),), {"dim": dim % max(soft.dim(), 1), "keepdim": True})
    one_hot = record(scatter_fill, (zeros, chosen), {"dim": dim % max(soft.dim(), 1), "value": 1.0})
    return one_hot - soft.detach() + soft
