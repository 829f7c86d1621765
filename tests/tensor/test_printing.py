"""Text of tensors: recorded strings, and PyTorch side by side on random arrays."""

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rushlight
from rushlight import printing
from rushlight.printing import get_printoptions, printoptions, set_printoptions, tensor_repr

f32 = np.float32
ramp = np.arange(2000, dtype=f32).reshape(20, 100) / 7

GOLDEN = {
    "integers as floats": (np.array([1, 2, 3], f32), {}, "tensor([1., 2., 3.])"),
    "fixed": (np.array([1, 2.5], f32), {}, "tensor([1.0000, 2.5000])"),
    "rounding": (np.array([0.00005, 0.12345], np.float64), {}, "tensor([5.0000e-05, 1.2345e-01], dtype=torch.float64)"),
    "nan and inf": (np.array([1, np.nan, -np.inf], f32), {}, "tensor([1., nan, -inf])"),
    "only nan": (np.array([np.nan, np.inf], f32), {}, "tensor([nan, inf])"),
    "wide ratio": (np.array([1, 1001], f32), {}, "tensor([1.0000e+00, 1.0010e+03])"),
    "zeros": (np.zeros(2, f32), {}, "tensor([0., 0.])"),
    "minus zero": (np.array([-0.0, 1], f32), {}, "tensor([-0., 1.])"),
    "0-d": (np.array(3.14159, f32), {}, "tensor(3.1416)"),
    "0-d integer": (np.array(7), {}, "tensor(7)"),
    "0-d grad": (np.array(2, f32), {"grad_fn": "SumBackward0"}, "tensor(2., grad_fn=<SumBackward0>)"),
    "bool": (np.array([True, False]), {}, "tensor([ True, False])"),
    "uint8": (np.array([1, 200], np.uint8), {}, "tensor([  1, 200], dtype=torch.uint8)"),
    "negative": (np.array([[-1, 10], [3, 4]]), {}, "tensor([[-1, 10],\n        [ 3,  4]])"),
    "three dims": (np.arange(2).reshape(2, 1, 1), {}, "tensor([[[0]],\n\n        [[1]]])"),
    "empty": (np.zeros(0, f32), {}, "tensor([])"),
    "empty rows": (np.zeros((0, 3), f32), {}, "tensor([], size=(0, 3))"),
    "empty integers": (np.zeros(0, np.int64), {}, "tensor([], dtype=torch.int64)"),
    "leaf": (np.ones(2, f32), {"requires_grad": True}, "tensor([1., 1.], requires_grad=True)"),
    "device": (np.ones(1, f32), {"device": "cuda:0"}, "tensor([1.], device='cuda:0')"),
    "complex": (np.array([1 + 2j, -1.5 - 0.25j], np.complex64), {}, "tensor([ 1.0000+2.0000j, -1.5000-0.2500j])"),
    "half": (np.array([0.1], np.float16), {}, "tensor([0.1000], dtype=torch.float16)"),
    "bfloat16": (np.array([0.1], ml_dtypes.bfloat16), {}, "tensor([0.1001], dtype=torch.bfloat16)"),
    "suffixes wrap": (
        np.full(6, 0.125, f32),
        {"grad_fn": "NativeLayerNormBackward0"},
        "tensor([0.1250, 0.1250, 0.1250, 0.1250, 0.1250, 0.1250],\n       grad_fn=<NativeLayerNormBackward0>)",
    ),
    "summary": (
        ramp,
        {},
        "tensor([[0.0000e+00, 1.4286e-01, 2.8571e-01,  ..., 1.3857e+01, 1.4000e+01,\n"
        "         1.4143e+01],\n"
        "        [1.4286e+01, 1.4429e+01, 1.4571e+01,  ..., 2.8143e+01, 2.8286e+01,\n"
        "         2.8429e+01],\n"
        "        [2.8571e+01, 2.8714e+01, 2.8857e+01,  ..., 4.2429e+01, 4.2571e+01,\n"
        "         4.2714e+01],\n"
        "        ...,\n"
        "        [2.4286e+02, 2.4300e+02, 2.4314e+02,  ..., 2.5671e+02, 2.5686e+02,\n"
        "         2.5700e+02],\n"
        "        [2.5714e+02, 2.5729e+02, 2.5743e+02,  ..., 2.7100e+02, 2.7114e+02,\n"
        "         2.7129e+02],\n"
        "        [2.7143e+02, 2.7157e+02, 2.7171e+02,  ..., 2.8529e+02, 2.8543e+02,\n"
        "         2.8557e+02]])",
    ),
}


@pytest.fixture(autouse=True)
def _default_options() -> Iterator[None]:
    yield
    set_printoptions(profile="default")


@pytest.mark.parametrize("name", GOLDEN)
def test_recorded_text(name: str) -> None:
    array, how, text = GOLDEN[name]
    assert tensor_repr(array, **how) == text


def test_options_are_set_read_and_restored() -> None:
    before = get_printoptions()
    with printoptions(precision=2, sci_mode=True, linewidth=40):
        assert tensor_repr(np.array([1.0, 2.0], f32)) == "tensor([1.00e+00, 2.00e+00])"
        assert get_printoptions()["precision"] == 2
    assert get_printoptions() == before
    set_printoptions(profile="short")
    assert tensor_repr(np.array([0.5], f32)) == "tensor([0.50])"
    set_printoptions(sci_mode=False, profile="full")
    assert tensor_repr(np.array([1e-5, 1e5], f32)) == "tensor([     0.0000, 100000.0000])"
    assert printing.PRINT_OPTS.threshold == float("inf")
    set_printoptions()
    assert get_printoptions()["sci_mode"] is None


def test_tensors_name_their_node_class_and_module() -> None:
    x = rushlight.tensor([1.0, 2.0], requires_grad=True)
    assert repr(x * 0.25) == "tensor([0.2500, 0.5000], grad_fn=<MulBackward0>)"
    assert str(x.detach()) == "tensor([1., 2.])"
    assert repr(rushlight.nn.Parameter(x.detach())) == ("Parameter containing:\ntensor([1., 2.], requires_grad=True)")
    assert f"{x.sum():.3f} {x.sum()}" == "3.000 3.0"
    assert repr(type("Picture", (rushlight.Tensor,), {})([1.0])).startswith("Picture([1.])")


def test_a_large_array_is_not_read_whole() -> None:
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, f32), (1 << 20, 1 << 20), (0, 0))
    assert tensor_repr(huge).count("0.") == 36


NUMPY = [
    np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int64, np.int32, np.int8, np.uint8, np.bool_,
    np.complex64, np.complex128,
]  # fmt: skip
special = st.sampled_from([0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e-4, 1e8, 1000.0, 1e-30, 0.99995])


@st.composite
def arrays(draw: Any) -> Any:
    dtype = np.dtype(draw(st.sampled_from(NUMPY)))
    shape = tuple(draw(st.lists(st.integers(0, 9), max_size=4)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = 10.0 ** draw(st.integers(-6, 9))
    values = rng.normal(size=shape) * scale
    if draw(st.booleans()):
        values = np.round(values)
    if draw(st.booleans()) and values.size:
        flat = values.reshape(-1)
        flat[rng.integers(0, flat.size, 2)] = draw(special)
        values = flat.reshape(shape)
    if dtype.kind == "c":
        values = values + 1j * rng.normal(size=shape) * 10.0 ** draw(st.integers(-3, 3))
    if dtype.kind in "iu":
        values = np.clip(np.nan_to_num(values), np.iinfo(dtype).min / 2, np.iinfo(dtype).max / 2)
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(dtype).reshape(shape)


options = st.fixed_dictionaries(
    {
        "precision": st.sampled_from([4, 4, 0, 2, 8]),
        "threshold": st.sampled_from([1000, 0, 20]),
        "edgeitems": st.sampled_from([3, 3, 1, 0]),
        "linewidth": st.sampled_from([80, 80, 30, 200]),
        "sci_mode": st.sampled_from([None, None, True, False]),
    }
)


@given(array=arrays(), how=options, leaf=st.booleans())
@settings(max_examples=400, deadline=None)
def test_same_text_as_pytorch(array: Any, how: dict[str, Any], leaf: bool) -> None:
    torch = pytest.importorskip("torch")
    if array.dtype == ml_dtypes.bfloat16:
        theirs = torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    else:
        theirs = torch.from_numpy(array.copy())
    leaf = leaf and (theirs.is_floating_point() or theirs.is_complex())
    theirs.requires_grad_(leaf)
    torch.set_printoptions(**how)
    try:
        with printoptions(**how):
            assert tensor_repr(array, requires_grad=leaf) == repr(theirs)
    finally:
        torch.set_printoptions(profile="default")
