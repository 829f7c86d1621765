"""Generic tests over the case table; no op is named in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rushlight
from rushlight.autograd import gradcheck, gradgradcheck
from rushlight.ops.kinds import OPS, Elementwise, View
from rushlight.tape import wrap
from tests.ops.cases import CASES

ROWS = [pytest.param(c, sample, id=f"{c.op}-{k}") for c in CASES.values() for k, sample in enumerate(c.samples)]
GRAD_ROWS = [p for p in ROWS if p.values[0].grad]


def tensors(arrays: list[Any], grad: bool = False) -> list[Any]:
    """Rushlight tensors over copies of the arrays."""

    def make(a: Any) -> Any:
        if isinstance(a, list):
            return [make(e) for e in a]
        if not isinstance(a, np.ndarray):
            return a
        t = wrap(a.copy())
        return t.requires_grad_() if grad and a.dtype.kind in "fc" else t

    return [make(a) for a in arrays]


def flat(values: Any) -> list[Any]:
    """Tensors among possibly nested operands or results."""
    if isinstance(values, (list, tuple)):
        return [t for v in values for t in flat(v)]
    return [values] if hasattr(values, "requires_grad") else []


def theirs(torch: Any, arrays: list[Any], grad: bool = False) -> list[Any]:
    """PyTorch tensors over copies of the arrays."""

    def make(a: Any) -> Any:
        if isinstance(a, list):
            return [make(e) for e in a]
        if not isinstance(a, np.ndarray):
            return a
        t = torch.from_numpy(np.array(a, order="C", copy=True))
        return t.requires_grad_() if grad and a.dtype.kind in "fc" else t

    return [make(a) for a in arrays]


def assert_same(ours: Any, reference: Any, rtol: float = 1e-9, atol: float = 1e-11) -> None:
    """Equal shape and dtype, close values."""
    assert tuple(ours.shape) == tuple(reference.shape)
    assert repr(ours.dtype) == repr(reference.dtype)
    np.testing.assert_allclose(ours.detach().numpy(), reference.detach().numpy(force=True), rtol, atol)


@pytest.mark.parametrize(("case", "sample"), ROWS)
def test_value_equals_pytorch(case, sample):
    torch = pytest.importorskip("torch")
    for dtype, rtol, atol in ((np.float64, 1e-9, 1e-11), (np.float32, 2e-5, 2e-6)):
        arrays = case.draw(sample, dtype)
        ours = OPS[case.op](*tensors(arrays), **sample.params)
        expected = case.reference(torch, *theirs(torch, arrays), **sample.params)
        for a, b in zip(flat(ours), flat(expected), strict=True):
            assert_same(a, b, rtol, atol)


@pytest.mark.parametrize(("case", "sample"), GRAD_ROWS)
def test_gradient_equals_pytorch(case, sample):
    torch = pytest.importorskip("torch")
    arrays = case.draw(sample)
    rng = np.random.default_rng(0)
    ours, expected = tensors(arrays, grad=True), theirs(torch, arrays, grad=True)
    pairs = list(
        zip(
            flat(OPS[case.op](*ours, **sample.params)),
            flat(case.reference(torch, *expected, **sample.params)),
            strict=True,
        )
    )
    total: Any = 0
    other: Any = 0
    for a, b in pairs:
        if not a.requires_grad:
            assert not b.requires_grad
            continue
        weight = rng.standard_normal(tuple(a.shape))
        total = total + (a * wrap(weight)).abs().sum()
        other = other + (b * torch.from_numpy(weight)).abs().sum()
    if not hasattr(total, "backward") or not total.requires_grad:
        pytest.skip("no differentiable result")
    total.backward()
    other.backward()
    for a, b in zip(flat(ours), flat(expected), strict=True):
        if b.grad is None:
            assert a.grad is None or not a.grad.numpy().any()
        else:
            zero = rushlight.zeros_like(a) if a.grad is None else a.grad
            assert_same(zero, b.grad, 1e-7, 1e-9)


def differentiable_call(case, sample):
    """The op as a function of its floating operands alone, and those."""
    values = tensors(case.draw(sample), grad=True)
    leaves = [t for t in flat(values) if t.requires_grad]

    def call(*given: Any) -> Any:
        supply = iter(given)

        def fill(v: Any) -> Any:
            if isinstance(v, list):
                return [fill(e) for e in v]
            return next(supply) if getattr(v, "requires_grad", False) else v

        result = OPS[case.op](*[fill(v) for v in values], **sample.params)
        found = [t for t in flat(result) if t.requires_grad]
        return tuple(found)

    return call, tuple(leaves)


@pytest.mark.parametrize(("case", "sample"), GRAD_ROWS)
def test_gradcheck(case, sample):
    call, leaves = differentiable_call(case, sample)
    if not call(*leaves):
        pytest.skip("no differentiable result")
    assert gradcheck(call, leaves)


@pytest.mark.parametrize(("case", "sample"), [p for p in GRAD_ROWS if p.values[0].second])
def test_gradgradcheck(case, sample):
    call, leaves = differentiable_call(case, sample)
    if not call(*leaves) or any(t.numel() == 0 for t in leaves):
        pytest.skip("nothing to differentiate twice")
    assert gradgradcheck(call, leaves)


@pytest.mark.parametrize(("case", "sample"), ROWS)
def test_arrays_and_tensors_agree(case, sample):
    arrays = case.draw(sample)
    raw = OPS[case.op](*[[e.copy() for e in a] if isinstance(a, list) else a for a in arrays], **sample.params)
    wrapped = OPS[case.op](*tensors(arrays), **sample.params)
    raw = raw if isinstance(raw, tuple) else (raw,)
    op = OPS[case.op]
    # a kernel on arrays may round differently from the body, which runs where the ops within record
    exact = getattr(op, "fast", op.body) is op.body or op.declared
    for a, b in zip(raw, flat(wrapped), strict=True):
        np.testing.assert_allclose(np.asarray(a), b.numpy(), *((0, 0) if exact else (1e-11, 1e-12)))


def strided(a: Any, how: str) -> Any:
    """The same values in another layout: column-major, every second element of a larger array, or reversed memory."""
    if how == "transposed":
        return np.array(a.T, order="C", copy=True).T
    wide = np.zeros((*a.shape[:-1], a.shape[-1] * 2), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


LAYOUT_FREE = [
    p
    for p in ROWS
    if isinstance(p.values[0].op, str)
    and p.values[0].op not in ("as_strided", "take_strided", "view_as", "view_as_complex")
]


@pytest.mark.parametrize("how", ["transposed", "stepped"])
@pytest.mark.parametrize(("case", "sample"), LAYOUT_FREE)
def test_any_layout_gives_the_same(case, sample, how):
    arrays = case.draw(sample)
    plain = OPS[case.op](*tensors(arrays), **sample.params)

    def relaid(a: Any) -> Any:
        if isinstance(a, list):
            return [relaid(e) for e in a]
        return (
            wrap(strided(a, how))
            if isinstance(a, np.ndarray) and a.ndim
            else a
            if not isinstance(a, np.ndarray)
            else wrap(a)
        )

    other = OPS[case.op](*[relaid(a) for a in arrays], **sample.params)
    for a, b in zip(flat(plain), flat(other), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-12, 1e-14)


@pytest.mark.parametrize(("case", "sample"), [p for p in ROWS if isinstance(OPS[p.values[0].op], View)])
def test_views_share_memory(case, sample):
    (x,) = tensors(case.draw(sample))
    for view in flat(OPS[case.op](x, **sample.params)):
        assert view._base is x
        if x.numel():
            assert np.shares_memory(view.numpy(), x.numpy())
            before = view._version
            x.zero_()
            assert view._version == before + 1
            assert not view.numpy().any()


INPLACE = [
    p for p in ROWS if isinstance(OPS[p.values[0].op], Elementwise) and hasattr(rushlight.Tensor, p.values[0].op + "_")
]


@pytest.mark.parametrize(("case", "sample"), INPLACE)
def test_in_place_form(case, sample):
    arrays = case.draw(sample)
    out = OPS[case.op](*tensors(arrays), **sample.params)
    x, *rest = tensors(arrays)
    if out.shape != x.shape or out.dtype != x.dtype:
        pytest.skip("the result does not fit the first operand")
    method = getattr(x, case.op + "_")
    same = method(*rest, **sample.params)
    assert same is x
    assert x._version == 1
    np.testing.assert_allclose(x.numpy(), out.numpy(), 1e-12)


@pytest.mark.parametrize(("case", "sample"), [p for p in INPLACE if p.values[0].grad])
def test_in_place_form_has_the_same_gradient(case, sample):
    arrays = case.draw(sample)
    leaves = [tensors(arrays, grad=True) for _ in range(2)]
    out = OPS[case.op](*leaves[0], **sample.params)
    x = leaves[1][0] * 1
    if out.shape != x.shape or out.dtype != x.dtype:
        pytest.skip("the result does not fit the first operand")
    getattr(x, case.op + "_")(*leaves[1][1:], **sample.params)
    for result in (out, x):
        result.sum().backward()
    for a, b in zip(flat(leaves[0]), flat(leaves[1]), strict=True):
        if a.requires_grad:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), 1e-10, 1e-12)


@pytest.mark.parametrize(("case", "sample"), GRAD_ROWS)
def test_overwriting_a_kept_operand_is_an_error(case, sample):
    op = OPS[case.op]
    arrays = case.draw(sample)
    leaves = tensors(arrays, grad=True)
    used = [
        [e * 1 for e in t] if isinstance(t, list) else t * 1 if getattr(t, "requires_grad", False) else t
        for t in leaves
    ]
    result = [t for t in flat(op(*used, **sample.params)) if t.requires_grad]
    kept = [
        t
        for i, t in enumerate(used)
        if i < len(op.keeps_input) and op.keeps_input[i] and getattr(t, "requires_grad", False)
    ]
    if not result or not kept or not result[0].grad_fn.versions:
        pytest.skip("keeps no operand")
    kept[0].detach().mul_(2)
    versions = [v for _, v, n in result[0].grad_fn.versions if v is not None and v[0] != n]
    if not versions:
        pytest.skip("this operand is not needed for the gradients wanted")
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result[0].sum().backward()


# Ops whose results are unique only up to a choice: the file that tests them.
ELSEWHERE = {
    "svd": "ops/test_linalg.py",
    "eigh": "ops/test_linalg.py",
    "eig": "ops/test_linalg.py",
    "eigvals": "ops/test_linalg.py",
    "lstsq": "ops/test_linalg.py",
    "ldl_factor_ex": "ops/test_linalg.py",
    "weight_norm": "nn/test_nn_utils.py",
    "unique2": "features/test_features.py",
    "unique_dim": "features/test_features.py",
    "unique_consecutive": "features/test_features.py",
    "attention_laid": "compiler/test_attention.py",
    "attention_grad_laid": "compiler/test_attention.py",
    "index_at": "compiler/test_trace.py",
    "index_at_place": "compiler/test_trace.py",
    "index_at_put": "compiler/test_trace.py",
    "write_view": "compiler/test_trace.py",
    "strided_view": "compiler/test_trace.py",
}
# Families with tests of their own: drawn at random, whole sequences at once, or compared over their domains.
WITH_TESTS_OF_THEIR_OWN = {
    "rushlight.ops.decomp": "ops/test_linalg.py",
    "rushlight.ops.special": "ops/test_special.py",
    "rushlight.ops.fft": "ops/test_fft.py",
    "rushlight.ops.random": "random",
    "rushlight.ops.pathwise": "distributions",
    "rushlight.ops.dropout": "nn/test_dense_modules.py",
    "rushlight.ops.attention": "nn/test_dense_attention.py",
    "rushlight.ops.rnn": "nn/test_dense_rnn.py",
    "rushlight.ops.rnn_packed": "compiler/test_recurrent.py",
    "rushlight.ops.ctc": "nn/test_dense_loss.py",
    "rushlight.ops.embedding": "nn/test_dense_lookup.py",
}
# Reached only as the gradient of the op named here, whose row checks them.
GRADIENT_OF = {
    "fold_windows": "unfold",
    "place_strided": "take_strided",
    "masked_scatter_source": "masked_scatter",
    "index_place": "index",
    "cross_entropy_grad": "cross_entropy",
    "softmax_grad": "softmax",
    "log_softmax_grad": "log_softmax",
    "label_counts": "multilabel_margin_loss",
    "gelu_slope": "gelu",
}


def test_every_op_has_a_row():
    for package in ("nn", "linalg", "fft", "special"):
        getattr(rushlight, package)
    bare = {
        name
        for name, op in OPS.items()
        if name not in CASES
        and name not in ELSEWHERE
        and GRADIENT_OF.get(name) not in CASES
        and op.body.__module__ not in WITH_TESTS_OF_THEIR_OWN
        and op.body.__module__.startswith("rushlight.")
    }
    assert bare - {"view_as_dtype"} == set()


@pytest.mark.parametrize("file", sorted({*ELSEWHERE.values(), *WITH_TESTS_OF_THEIR_OWN.values()}))
def test_the_file_that_tests_an_op_is_there(file):
    assert (Path(__file__).parent.parent / file).exists()


def test_every_op_is_documented():
    assert [name for name, op in OPS.items() if not op.__doc__] == []
