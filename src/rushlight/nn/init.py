"""Initial values of parameters: `rushlight.nn.init`.

Every function fills its tensor in place, outside autograd, and returns it. With the same seed the values are PyTorch's:
the formulas below fix only bounds and deviations, the numbers come from the generator in the same order.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

from rushlight.creation import empty_like
from rushlight.errors import explain
from rushlight.generator import Generator
from rushlight.linalg import qr
from rushlight.modes import no_grad
from rushlight.sampling import randperm
from rushlight.tensor import Tensor

__all__ = [
    "calculate_gain",
    "constant",
    "constant_",
    "dirac",
    "dirac_",
    "eye",
    "eye_",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "normal",
    "normal_",
    "ones_",
    "orthogonal",
    "orthogonal_",
    "sparse",
    "sparse_",
    "trunc_normal_",
    "uniform",
    "uniform_",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zeros_",
]  # fmt: skip

_FAN_MODES = ["fan_in", "fan_out"]
_UNIT_GAINS = frozenset(
    ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid")
)
# Above this share of accepted normals, drawing normals anew beats drawing uniforms and rejecting.
_NORMAL_SHARE = 0.3


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Factor by which weights are enlarged to keep the variance through `nonlinearity`.

    Parameters
    ----------
    nonlinearity : str
        Name of a function of `nn.functional`: 1 for linear maps, convolutions and sigmoid, 5/3 for tanh, sqrt(2) for
        relu, sqrt(2 / (1 + param**2)) for leaky_relu, 3/4 for selu.
    param : float, optional
        Negative slope of leaky_relu (default 0.01).

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the name is not known or `param` is not a number.

    Examples
    --------
    >>> torch.nn.init.calculate_gain("leaky_relu", 0.2)
    1.3867504905630728
    """
    if nonlinearity in _UNIT_GAINS:
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "selu":
        return 0.75
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, int | float):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    raise explain(
        ValueError(f"Unsupported nonlinearity {nonlinearity}"),
        expected="one of " + ", ".join(sorted({*_UNIT_GAINS, "tanh", "relu", "leaky_relu", "selu"})),
        received=nonlinearity,
    )


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Any:
    """Fill with uniform numbers from [a, b).

    Examples
    --------
    >>> torch.nn.init.uniform_(torch.empty(3, 5), -1, 1).shape
    torch.Size([3, 5])
    """
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Any:
    """Fill with normal numbers of the given mean and standard deviation."""
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Any:
    """Fill with normal numbers, those outside [a, b] drawn anew.

    Where few normal numbers would be inside, uniform ones from [a, b] are accepted in proportion to the density.

    Examples
    --------
    >>> bool((torch.nn.init.trunc_normal_(torch.empty(100), std=5.0).abs() <= 2).all())
    True
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=2,
        )
    inside = _normal_cdf((b - mean) / std) - _normal_cdf((a - mean) / std)
    with no_grad():
        if inside > _NORMAL_SHARE:
            _redraw_normals(tensor, mean, std, a, b, generator)
        else:
            _accept_uniforms(tensor, mean, std, a, b, generator)
    return tensor


def constant_(tensor: Tensor, val: float) -> Any:
    """Fill with `val`.

    Examples
    --------
    >>> torch.nn.init.constant_(torch.empty(2), 0.3)
    tensor([0.3000, 0.3000])
    """
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Any:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Any:
    """Fill with 0."""
    with no_grad():
        return tensor.zero_()


def eye_(tensor: Tensor) -> Any:
    """Fill a matrix with ones on the diagonal and zeros elsewhere: a linear layer then passes its inputs on.

    Examples
    --------
    >>> torch.nn.init.eye_(torch.empty(2, 3))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    _need_dimensions(tensor, (2,), "Only tensors with 2 dimensions are supported")
    with no_grad():
        tensor.zero_()
        tensor.diagonal().fill_(1.0)
    return tensor


def dirac_(tensor: Tensor, groups: int = 1) -> Any:
    """Fill a convolution's weight so that it passes on as many input channels as it can, in each group of channels.

    Examples
    --------
    >>> torch.nn.init.dirac_(torch.empty(2, 2, 3))
    tensor([[[0., 1., 0.],
             [0., 0., 0.]],
    <BLANKLINE>
            [[0., 0., 0.],
             [0., 1., 0.]]])
    """
    _need_dimensions(tensor, (3, 4, 5), "Only tensors with 3, 4, or 5 dimensions are supported")
    sizes = tensor.shape
    if sizes[0] % groups != 0:
        raise explain(
            ValueError("dim 0 must be divisible by groups"), expected=f"a multiple of {groups}", received=sizes[0]
        )
    per_group = sizes[0] // groups
    centre = tuple(size // 2 for size in sizes[2:])
    with no_grad():
        tensor.zero_()
        for group in range(groups):
            for channel in range(min(per_group, sizes[1])):
                tensor[(group * per_group + channel, channel, *centre)] = 1
    return tensor


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Any:
    """Fill with uniform numbers of variance `gain**2 * 2 / (fan_in + fan_out)`.

    References
    ----------
    .. [1] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """
    bound = math.sqrt(3.0) * _xavier_deviation(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Any:
    """Fill with normal numbers of variance `gain**2 * 2 / (fan_in + fan_out)` (see `xavier_uniform_`)."""
    return normal_(tensor, 0.0, _xavier_deviation(tensor, gain), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Any:
    """Fill with uniform numbers of variance `gain**2 / fan`.

    Parameters
    ----------
    tensor : Tensor
        A weight [out, in, ...].
    a : float
        Negative slope of the leaky_relu that follows.
    mode : {"fan_in", "fan_out"}
        Keep the variance of the forward or of the backward pass.
    nonlinearity : str
        A name that `calculate_gain` knows.
    generator : Generator, optional

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", 2015.
    """
    if _is_empty(tensor):
        return tensor
    bound = math.sqrt(3.0) * _kaiming_deviation(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Any:
    """Fill with normal numbers of variance `gain**2 / fan`; parameters as of `kaiming_uniform_`."""
    if _is_empty(tensor):
        return tensor
    return normal_(tensor, 0.0, _kaiming_deviation(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Any:
    """Fill with a matrix whose rows or columns, whichever are fewer, are orthonormal, times `gain`.

    Dimensions after the first are taken together. The matrix is the orthogonal factor of one of normal numbers, its
    columns signed so that it is distributed uniformly [2]_.

    Notes
    -----
    PyTorch: the normal numbers are the same; the factorisation depends on the LAPACK in use, so the result agrees to
    rounding.

    References
    ----------
    .. [1] A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear
       neural networks", 2013.
    .. [2] F. Mezzadri, "How to generate random matrices from the classical compact groups", 2007.
    """
    if tensor.ndim < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    with no_grad():
        matrix = tensor.new_empty((rows, columns)).normal_(0, 1, generator=generator)
        q, r = qr(matrix.t() if rows < columns else matrix)
        q = q * r.diagonal().sign()
        tensor.copy_((q.t() if rows < columns else q).reshape(tensor.shape))
        tensor.mul_(gain)
    return tensor


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Any:
    """Fill a matrix with normal numbers, of which `ceil(sparsity * rows)` random ones in each column become 0.

    References
    ----------
    .. [1] J. Martens, "Deep learning via Hessian-free optimization", 2010.
    """
    _need_dimensions(tensor, (2,), "Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    with no_grad():
        tensor.normal_(0, std, generator=generator)
        for column in range(columns):
            # PyTorch takes these from the default generator, whichever `generator` is.
            tensor[randperm(rows)[:zeros], column] = 0
    return tensor


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """Inputs that meet in one output, and outputs that one input reaches, for a weight [out, in, ...]."""
    if tensor.ndim < 2:
        raise explain(
            ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions"),
            expected="[out, in, ...]",
            received=tuple(tensor.shape),
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    lowered = mode.lower()
    if lowered not in _FAN_MODES:
        raise ValueError(f"Mode {lowered} not supported, please use one of {_FAN_MODES}")
    return _calculate_fan_in_and_fan_out(tensor)[_FAN_MODES.index(lowered)]


def _xavier_deviation(tensor: Tensor, gain: float) -> float:
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return gain * math.sqrt(2.0 / float(fan_in + fan_out))


def _kaiming_deviation(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan = _calculate_correct_fan(tensor, mode)
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def _is_empty(tensor: Tensor) -> bool:
    if 0 not in tensor.shape:
        return False
    warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
    return True


def _need_dimensions(tensor: Tensor, counts: tuple[int, ...], message: str) -> None:
    if tensor.ndim not in counts:
        raise explain(
            ValueError(message),
            expected=" or ".join(map(str, counts)) + " dimensions",
            received=tuple(tensor.shape),
        )


def _normal_cdf(x: float) -> float:
    return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0


def _redraw_normals(tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Generator | None) -> None:
    """Draw a whole tensor of normal numbers, and another for those outside, until none is."""
    low, high = tensor.new_tensor(a).item(), tensor.new_tensor(b).item()
    tensor.normal_(mean, std, generator=generator)
    while True:
        outside = (tensor < low) | (tensor > high)
        if not outside.any():
            return
        again = empty_like(tensor).normal_(mean, std, generator=generator)
        tensor.copy_(again.where(outside, tensor))


def _accept_uniforms(tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Generator | None) -> None:
    """Draw uniform numbers until each was accepted with the density at its place over the largest density."""
    mode = max(a, min(mean, b))
    peak = -0.5 * ((mode - mean) / std) ** 2
    pending: Any = None
    while pending is None or pending.any():
        candidates = empty_like(tensor).uniform_(a, b, generator=generator)
        tensor.copy_(candidates if pending is None else candidates.where(pending, tensor))
        log_density = ((candidates - mean) / std).pow(2).mul(-0.5).sub(peak)
        rejected = empty_like(tensor).uniform_(generator=generator).log() > log_density
        pending = rejected if pending is None else pending & rejected


def _deprecated(function: Callable[..., Any]) -> Callable[..., Any]:
    old = function.__name__[:-1]

    @functools.wraps(function)
    def warned(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(
            f"`nn.init.{old}` is now deprecated in favor of `nn.init.{function.__name__}`.",
            FutureWarning,
            stacklevel=2,
        )
        return function(*args, **kwargs)

    warned.__name__ = warned.__qualname__ = old
    warned.__doc__ = f"Deprecated name of `{function.__name__}`."
    return warned


uniform = _deprecated(uniform_)
normal = _deprecated(normal_)
constant = _deprecated(constant_)
eye = _deprecated(eye_)
dirac = _deprecated(dirac_)
xavier_uniform = _deprecated(xavier_uniform_)
xavier_normal = _deprecated(xavier_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
kaiming_normal = _deprecated(kaiming_normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)
