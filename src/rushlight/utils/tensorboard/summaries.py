"""Summary messages: one value of a tag, as TensorBoard's plugins read it."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rushlight.utils.picture import encode_png
from rushlight.utils.tensorboard import wire

DT_FLOAT, DT_DOUBLE, DT_STRING = 1, 2, 7
TYPES = {str: 1, bool: 2, float: 3}
SUCCESS = 1


def array_of(value: Any) -> Any:
    """A tensor, array, sequence or number as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return (value.float() if value.dtype.itemsize == 2 and value.dtype.is_floating_point else value).numpy()
    return np.asarray(value)


def summary(tag: str, *value: bytes) -> bytes:
    """The field of an Event that holds a Summary of one value."""
    return wire.message(5, wire.message(1, wire.text(1, tag), *value))


def _metadata(plugin: str, content: bytes = b"") -> bytes:
    return wire.message(9, wire.message(1, wire.text(1, plugin), *([wire.message(2, content)] if content else [])))


def scalar(tag: str, value: Any, new_style: bool = False, double_precision: bool = False) -> bytes:
    """A number."""
    number = array_of(value)
    if number.size != 1:
        raise AssertionError(f"scalar should be 0D: '{tag}' has {number.size} elements")
    number = float(number.reshape(()))
    if not new_style:
        return summary(tag, wire.single(2, _as_single(number)))
    kind, data = (DT_DOUBLE, wire.doubles(6, [number])) if double_precision else (
        DT_FLOAT, wire.message(5, np.float32(number).tobytes()),
    )  # fmt: skip
    return summary(tag, wire.message(8, wire.integer(1, kind), data), _metadata("scalars"))


def _as_single(number: float) -> float:
    """Rounded to float32, beyond its range infinite."""
    with np.errstate(over="ignore"):
        return float(np.float32(number))


def text(tag: str, words: str) -> bytes:
    """A text, shown as Markdown."""
    shape = wire.message(2, wire.message(2, wire.integer(1, 1)))
    tensor = wire.message(8, wire.integer(1, DT_STRING), shape, wire.message(8, words.encode()))
    return summary(f"{tag}/text_summary", tensor, _metadata("text"))


def default_bins() -> list[float]:
    """Bounds that grow by a tenth each, from 1e-12 to 1e20 and mirrored."""
    bounds, bound = [], 1e-12
    while bound < 1e20:
        bounds.append(bound)
        bound *= 1.1
    return [-b for b in reversed(bounds)] + [0.0, *bounds]


def histogram(tag: str, values: Any, bins: Any = "tensorflow", max_bins: int | None = None) -> bytes:
    """How values are spread: counts between bounds, without empty ends."""
    values = array_of(values).reshape(-1).astype(np.float64)
    if values.size == 0:
        raise ValueError("The input has no element.")
    counts, bounds = np.histogram(values, bins=default_bins() if bins == "tensorflow" else bins)
    if max_bins is not None and len(counts) > max_bins:
        step = len(counts) // max_bins
        counts = np.add.reduceat(counts, np.arange(0, len(counts), step))
        bounds = np.append(bounds[:-1:step], bounds[-1])
    if not counts.any():
        raise ValueError("The histogram is empty, please file a bug report.")
    filled = np.flatnonzero(counts)
    first, last = int(filled[0]), int(filled[-1])
    # TensorBoard reads a bucket as reaching up to its bound: an empty one below the first gives that its lower bound.
    shown = np.concatenate([[0], counts[first : last + 1]])
    return _histogram(tag, values, bounds[first : last + 2], shown)


def _histogram(tag: str, values: Any, limits: Any, counts: Any) -> bytes:
    numbers = (values.min(), values.max(), float(values.size), values.sum(), values.dot(values))
    fields = [wire.double(field, float(number)) for field, number in enumerate(numbers, 1)]
    return summary(tag, wire.message(5, *fields, wire.doubles(6, limits.tolist()), wire.doubles(7, counts.tolist())))


def histogram_raw(
    tag: str, min: float, max: float, num: float, sum: float, sum_squares: float, bucket_limits: Sequence[float],
    bucket_counts: Sequence[float],
) -> bytes:  # fmt: skip
    """A histogram counted elsewhere."""
    fields = [wire.double(field, float(number)) for field, number in enumerate((min, max, num, sum, sum_squares), 1)]
    buckets = wire.doubles(6, map(float, bucket_limits)), wire.doubles(7, map(float, bucket_counts))
    return summary(tag, wire.message(5, *fields, *buckets))


def image(tag: str, picture: Any, dataformats: str = "NCHW", rescale: float = 1) -> bytes:
    """A picture, as PNG; several in a batch form a grid of up to eight a row."""
    values = array_of(picture)
    scale = 1 if values.dtype == np.uint8 else 255
    pixels = rows_columns_channels(values, dataformats).astype(np.float32)
    pixels = (pixels * scale).clip(0, 255).astype(np.uint8)
    if rescale != 1:
        height, width = (max(1, int(n * rescale)) for n in pixels.shape[:2])
        rows, columns = (np.arange(n) * m // n for n, m in zip((height, width), pixels.shape[:2], strict=True))
        pixels = pixels[rows][:, columns]
    return encoded_image(tag, encode_png(pixels), *pixels.shape)


def encoded_image(tag: str, data: bytes, height: int, width: int, channels: int) -> bytes:
    """A picture that is a PNG file already."""
    sizes = wire.integer(1, height), wire.integer(2, width), wire.integer(3, channels)
    return summary(tag, wire.message(4, *sizes, wire.message(4, data)))


def rows_columns_channels(values: Any, dataformats: str) -> Any:
    """Pixels [H, W, 3 or 4] of an array whose dims `dataformats` names, such as CHW."""
    names = dataformats.upper()
    if len(set(names)) != len(names):
        raise AssertionError(f"You can not use the same dimension shordhand twice. input_format: {dataformats}")
    if values.ndim != len(names):
        raise AssertionError(
            f"size of input tensor and input format are different. tensor shape: {values.shape}, "
            f"input_format: {dataformats}"
        )
    if set(names) == set("NHWC"):
        return _three_channels(_grid(values.transpose([names.index(d) for d in "NHWC"])))
    if set(names) == set("HWC"):
        return _three_channels(values.transpose([names.index(d) for d in "HWC"]))
    if set(names) == set("HW"):
        return _three_channels(values.transpose([names.index(d) for d in "HW"])[..., None])
    raise NotImplementedError(f"image dataformats {dataformats!r}: use NCHW, CHW, HW or another order of their dims")


def _three_channels(pixels: Any) -> Any:
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _grid(images: Any) -> Any:
    n, height, width, channels = images.shape
    columns = min(n, 8)
    rows = -(-n // columns)
    canvas = np.zeros((rows * columns, height, width, channels), images.dtype)
    canvas[:n] = images
    return (
        canvas.reshape(rows, columns, height, width, channels)
        .swapaxes(1, 2)
        .reshape(rows * height, columns * width, channels)
    )


def audio(tag: str, sound: Any, sample_rate: int = 44100) -> bytes:
    """A sound of one channel with values in [-1, 1], as a WAV file of 16 bits."""
    samples = (array_of(sound).squeeze().clip(-1, 1) * 32767).astype("<i2")
    if samples.ndim != 1:
        raise AssertionError("input tensor should be 1 dimensional.")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(samples.tobytes())
    sizes = wire.single(1, sample_rate), wire.integer(2, 1), wire.integer(3, len(samples))
    return summary(tag, wire.message(6, *sizes, wire.message(4, file.getvalue()), wire.text(5, "audio/wav")))


def hyperparameters(
    values: Mapping[str, Any], metrics: Mapping[str, Any], domains: Mapping[str, Sequence[Any]] | None = None
) -> list[bytes]:
    """The three messages of a session: the experiment, its start with the values, its end."""
    infos, chosen = [], []
    for name, value in values.items():
        if value is None:
            continue
        value = _plain(name, value)
        domain = [wire.message(1, _value(v)) for v in (domains or {}).get(name, ())]
        discrete = [wire.message(5, *domain)] if domain else []
        kind = wire.integer(4, TYPES[type(value)])
        infos.append(wire.message(4, wire.text(1, name), kind, *discrete))
        chosen.append(wire.message(1, wire.text(1, name), wire.message(2, _value(value))))
    measured = [wire.message(5, wire.message(1, wire.text(2, name))) for name in metrics]
    contents = {
        "_hparams_/experiment": wire.message(2, *infos, *measured),
        "_hparams_/session_start_info": wire.message(3, *chosen),
        "_hparams_/session_end_info": wire.message(4, wire.integer(1, SUCCESS)),
    }
    return [summary(tag, _metadata("hparams", content)) for tag, content in contents.items()]


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, str | bool):
        return value
    if isinstance(value, int | float) or getattr(value, "numel", lambda: getattr(value, "size", 0))() == 1:
        return float(value)
    raise ValueError("value should be one of int, float, str, bool, or torch.Tensor" + f"; '{name}' is not")


def _value(value: Any) -> bytes:
    """A google.protobuf.Value."""
    if isinstance(value, str):
        return wire.text(3, value)
    return wire.integer(4, int(value)) if isinstance(value, bool) else wire.double(2, float(value))
