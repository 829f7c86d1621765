"""Short-time Fourier transform and its inverse."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.errors import explain
from rushlight.functions.fast import needs_tensor
from rushlight.functions.shape import unsqueeze
from rushlight.ops import fft as transforms
from rushlight.ops import pad
from rushlight.ops.linear import fold_windows, getitem_slice, transpose, unfold, view_as_real
from rushlight.spec import spec_of
from rushlight.tape import wrap


def _span(window: Any, n_fft: int, win_length: int, dtype: Any) -> Any:
    """The window (ones if None) in the middle of n_fft points."""
    values = wrap(np.ones(win_length, dtype)) if window is None else window
    left = (n_fft - win_length) // 2
    return values if win_length == n_fft else pad.constant_pad(values, ((left, n_fft - win_length - left),), 0)


def _check(what: str, input: Any, n_fft: int, hop: int, length: int, window: Any) -> None:
    received = {"n_fft": n_fft, "hop_length": hop, "win_length": length}
    problem = None
    if not 0 < length <= n_fft:
        problem = f"expected 0 < win_length <= n_fft, but got win_length={length}"
    elif hop <= 0:
        problem = f"expected hop_length > 0, but got hop_length={hop}"
    elif window is not None and tuple(window.shape) != (length,):
        problem = (
            f"expected a 1D window tensor of size equal to win_length={length}, but got window with size "
            f"{list(window.shape)}"
        )
    if problem is not None:
        text = ", ".join(f"{name}={value}" for name, value in received.items())
        raise explain(RuntimeError(f"{what}({list(input.shape)}, {text}) : {problem}"))


def _centred(x: Any, n_fft: int, mode: str) -> Any:
    half = n_fft // 2
    if mode == "constant":
        return pad.constant_pad(x, ((half, half),), 0)
    if mode not in pad.PADS:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    return pad.PADS[mode][0](x, ((half, half),))


def stft(
    input: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
    center: bool = True, pad_mode: str = "reflect", normalized: bool = False, onesided: bool | None = None,
    return_complex: bool | None = None, align_to_window: bool | None = None,
) -> Any:  # fmt: skip
    """Spectra of overlapping windows of a signal.

    Parameters
    ----------
    input : Tensor[length] or Tensor[batch, length]
    n_fft : int
        Points of each transform.
    hop_length : int
        Distance of windows, n_fft // 4 by default.
    win_length : int
        Length of `window`, n_fft by default; it is centred in the n_fft points.
    window : Tensor[win_length], optional
        Ones by default.
    center : bool
        Pad the signal by n_fft // 2 on either side, by `pad_mode`, so that window t is centred at t * hop_length.
    normalized : bool
        Divide by the root of n_fft.
    onesided : bool
        Keep the first half of the frequencies; true by default for real input.
    return_complex : bool
        Complex result, else real and imaginary parts along a new last dim.

    Returns
    -------
    Tensor[batch, frequencies, windows]
    """
    x = needs_tensor(input, "stft")
    is_complex = spec_of(x).dtype.kind == "c"
    if spec_of(x).dtype.kind in "biu":
        raise RuntimeError("stft: expected a tensor of floating point or complex values")
    if return_complex is None:
        if not is_complex and (window is None or spec_of(window).dtype.kind != "c"):
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will further require that "
                "return_complex=True in a future PyTorch release."
            )
        return_complex = True
    if align_to_window is not None and center:
        raise RuntimeError("stft align_to_window should only be set when center = false")
    if len(x.shape) not in (1, 2):
        raise RuntimeError(f"stft({list(x.shape)}) : expected a 1D or 2D tensor")
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    single = len(x.shape) == 1
    x = unsqueeze(x, 0) if single else x
    if center:
        x = _centred(x, n_fft, pad_mode)
    _check("stft", x, n_fft, hop, length, window)
    if align_to_window and length < n_fft:
        left = (n_fft - length) // 2
        x = pad.constant_pad(x, ((left, n_fft - length - left),), 0)
    if not 0 < n_fft <= x.shape[-1]:
        size = x.shape[-1]
        raise RuntimeError(f"stft({list(x.shape)}) : expected 0 < n_fft < {size}, but got n_fft={n_fft}")
    frames = unfold(x, 1, n_fft, hop)
    if window is not None or length < n_fft:
        frames = frames * _span(window, n_fft, length, spec_of(x).dtype)
    result = _spectra(frames, "sqrt" if normalized else "none", onesided)
    result = transpose(result, 1, 2)
    result = result[0] if single else result
    return result if return_complex else view_as_real(result.contiguous())


def _spectra(frames: Any, scaling: str, onesided: bool | None) -> Any:
    if spec_of(frames).dtype.kind != "c":
        return transforms.fft_r2c(frames, (2,), scaling, onesided is not False)
    if onesided:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    return transforms.fft_c2c(frames, (2,), scaling, True)


def istft(
    input: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
    center: bool = True, normalized: bool = False, onesided: bool | None = None, length: int | None = None,
    return_complex: bool = False,
) -> Any:  # fmt: skip
    """The signal of which `input` is the `stft` with the same arguments, by least squares.

    Parameters
    ----------
    input : Tensor[frequencies, windows] or Tensor[batch, frequencies, windows], complex
    n_fft, hop_length, win_length, window, center, normalized, onesided
        As for `stft`.
    length : int, optional
        Cut or pad the signal to this length.
    return_complex : bool
        The signal is complex.

    References
    ----------
    .. [1] D. Griffin, J. Lim, "Signal estimation from modified short-time Fourier transform", 1984.
    """
    x = needs_tensor(input, "istft")
    if spec_of(x).dtype.kind != "c":
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    hop = n_fft // 4 if hop_length is None else hop_length
    points = n_fft if win_length is None else win_length
    single = len(x.shape) == 2
    x = unsqueeze(x, 0) if single else x
    half = x.shape[1] != n_fft if onesided is None else onesided
    expected = n_fft // 2 + 1 if half else n_fft
    if x.shape[1] != expected:
        relation = "n_fft / 2 + 1 when onesided=True" if half else "n_fft when onesided=False"
        raise RuntimeError(
            f"istft({list(input.shape)}, n_fft={n_fft}, hop_length={hop}, win_length={points}) : expected the "
            f"frequency dimension (3rd to the last) of the input tensor to match {relation}, but got {x.shape[1]}"
        )
    _check("istft", x, n_fft, hop, points, window)
    frames = _signals(transpose(x, 1, 2), n_fft, "sqrt" if normalized else "n", half, return_complex)
    weights = _span(window, n_fft, points, spec_of(frames).dtype)
    signal = _overlapped(frames * weights, weights, n_fft, hop, center, length)
    return signal[0] if single else signal


def _signals(x: Any, n_fft: int, scaling: str, half: bool, return_complex: bool) -> Any:
    if return_complex:
        if half:
            raise RuntimeError("Cannot have onesided output if window or input is complex")
        return transforms.fft_c2c(x, (2,), scaling, False)
    kept = x if half else getitem_slice(x, (..., slice(0, n_fft // 2 + 1)))
    return transforms.fft_c2r(kept, (2,), scaling, n_fft)


def _overlapped(frames: Any, weights: Any, n_fft: int, hop: int, center: bool, length: int | None) -> Any:
    """Add up the windows and divide by what the squares of the weights add up to."""
    batch, count, _ = frames.shape
    total = n_fft + hop * (count - 1)
    start = n_fft // 2 if center else 0
    stop = total - start if length is None else min(start + length, total)
    summed = fold_windows(frames, (batch, total), 1, n_fft, hop)
    squares = (weights * weights).expand(1, count, n_fft)
    envelope = fold_windows(squares, (1, total), 1, n_fft, hop)
    inside = (slice(None), slice(start, stop))
    signal, envelope = getitem_slice(summed, inside), getitem_slice(envelope, inside)
    if not (np.abs(envelope._data) > 1e-11).all():
        raise explain(
            RuntimeError("istft: window overlap add min: 1"),
            fix="a window without zeros at its ends, a smaller hop_length, or center=True",
        )
    signal = signal / envelope
    missing = 0 if length is None else length - signal.shape[1]
    return pad.constant_pad(signal, ((0, missing),), 0) if missing > 0 else signal
