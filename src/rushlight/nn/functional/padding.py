"""Padding of the last dims of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rushlight.errors import ShapeError
from rushlight.nn.functional.arguments import int_tuple, require_tensor
from rushlight.ops.pad import PADS, constant_pad
from rushlight.tensor import Tensor


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Surround the last dims of a tensor.

    Parameters
    ----------
    pad : sequence of ints
        (before, after) of the last dim, then of the one before it, and so on. Negative amounts crop.
    mode : {"constant", "reflect", "replicate", "circular"}
        What the new places show: `value`, the mirror image without the edge, the edge, or the opposite end.
    value : float, optional
        The constant; 0 if omitted.

    Raises
    ------
    ShapeError
        If `pad` is odd or longer than two numbers per dim, or the amounts do not fit the mode.

    Examples
    --------
    >>> torch.nn.functional.pad(torch.tensor([[1.0, 2, 3]]), (1, 2))
    tensor([[0., 1., 2., 3., 0., 0.]])
    >>> torch.nn.functional.pad(torch.tensor([[1.0, 2, 3]]), (1, 2), mode="reflect")
    tensor([[2., 1., 2., 3., 2., 1.]])
    """
    require_tensor("pad", "input", 1, input)
    if isinstance(pad, int):
        raise TypeError("pad(): argument 'pad' (position 2) must be tuple of ints, not int")
    amounts = int_tuple("pad", "pad", pad, 2)
    if len(amounts) % 2:
        raise ShapeError("Padding length must be divisible by 2")
    if len(amounts) > 2 * input.dim():
        raise ShapeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(amounts)} and input of dimension {input.dim()}"
        )
    pairs = tuple(zip(amounts[::2], amounts[1::2], strict=True))[::-1]
    if mode == "constant":
        return constant_pad(input, pairs, 0 if value is None else _as_element(value, input))  # type: ignore[no-any-return]
    if mode not in PADS:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if not 1 <= len(pairs) <= 3 or input.dim() not in (len(pairs) + 1, len(pairs) + 2):
        raise NotImplementedError(
            f"Padding size {len(amounts)} is not supported for {input.dim()}D input tensor.\n"
            "Supported combinations for non-constant padding:\n"
            "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
            "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )
    if mode != "circular" and input._data.dtype.kind == "b":
        raise NotImplementedError(f"\"{PADS[mode][len(pairs) - 1].name}\" not implemented for 'Bool'")
    return PADS[mode][len(pairs) - 1](input, pairs)  # type: ignore[no-any-return]


def _as_element(value: Any, x: Tensor) -> Any:
    """A padding value as an element of x: integers drop the fraction, as PyTorch's fill does."""
    value = value.item() if isinstance(value, Tensor) else value
    return int(value) if x._data.dtype.kind in "iu" and not isinstance(value, complex) else value
