"""Sparse COO tensors and sparse gradients side by side with PyTorch."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import pytest

import rushlight

torch = pytest.importorskip("torch")

SETUP = """
i = m.tensor([[0, 1, 1, 0], [2, 0, 2, 2]])
v = m.tensor([3.0, 4.0, 5.0, 1.0])
s = m.sparse_coo_tensor(i, v, (2, 3))
h = m.sparse_coo_tensor(m.tensor([[1, 0, 1]]), m.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), (3, 2))
d = m.arange(6.0).reshape(3, 2)
"""
QUESTIONS = [
    "s", "h", "s.coalesce()", "h.coalesce()", "s.to_dense()", "h.to_dense()", "s.shape",
    "s.dtype", "s.is_sparse", "s.layout",
    "s.is_coalesced()", "s.coalesce().is_coalesced()", "s._nnz()", "s.sparse_dim()", "h.dense_dim()", "s.dim()",
    "s.numel()", "s.size(0)", "s.coalesce().indices()", "s.coalesce().values()", "s._indices()", "s._values()",
    "s.indices()", "s.values()", "s @ d", "m.mm(s, d)", "m.matmul(s, d)", "m.sparse.mm(s, d)",
    "s.mm(d)", "s @ d[:, 0]",
    "m.sparse.addmm(m.ones(2, 2), s, d)", "s @ m.ones(2, 2)", "(s * 2).to_dense()", "(2 * s).to_dense()",
    "(s / 2).to_dense()", "(-s).to_dense()", "(s + s).to_dense()", "(s - s).to_dense()", "s + m.ones(2, 3)",
    "m.ones(2, 3) + s", "s.t()",
    "s.transpose(0, 1).to_dense()", "m.sparse.sum(s)", "m.sparse.sum(s, 0)", "m.sparse.sum(h, 1).to_dense()", "s.sum()",
    "s.double()", "s.clone().to_dense()", "m.tensor([[0.0, 1.0], [2.0, 0.0]]).to_sparse()",
    "m.tensor([[0.0, 0.0], [2.0, 0.0]]).to_sparse(1)", "m.ones(2).to_dense()", "isinstance(s, m.Tensor)",
    "m.sparse_coo_tensor(m.tensor([[0, 1]]), m.ones(3), (3,))", "m.sparse_coo_tensor([[0, 4]], [1.0, 2.0])",
    "m.sparse_coo_tensor((2, 3)).to_dense()", "s.requires_grad",
    "m.sparse_coo_tensor(i, v, (2, 3), requires_grad=True)", "m.sparse_coo_tensor(i, v, (2, 3), dtype=m.float64)",
]  # fmt: skip


def outcome(library: Any, question: str) -> str:
    names: dict[str, Any] = {"m": library}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(SETUP, names)
        try:
            return repr(eval(question, names))
        except RuntimeError as error:
            return str(error)


@pytest.mark.parametrize("question", QUESTIONS)
def test_answers(question: str) -> None:
    assert outcome(rushlight, question) == outcome(torch, question)


@pytest.mark.parametrize("program", [
    "(s @ w).pow(2).sum().backward(); [v.grad, w.grad]",
    "s.to_dense().pow(2).sum().backward(); [v.grad]",
    "s.coalesce().values().pow(2).sum().backward(); [v.grad]",
    "p = m.sparse_coo_tensor(i, v.detach(), (2, 3), requires_grad=True); "
    "m.sparse.mm(p, w).pow(2).sum().backward(); [p.grad.to_dense(), w.grad]",
    "w.to_sparse().to_dense().pow(2).sum().backward(); [w.grad]",
])  # fmt: skip
def test_gradients(program: str) -> None:
    answers = []
    for m in (torch, rushlight):
        names: dict[str, Any] = {"m": m}
        exec(SETUP.replace("1.0])\ns", "1.0], requires_grad=True)\ns"), names)
        exec("w = m.arange(6.0).reshape(3, 2).requires_grad_()", names)
        *steps, answer = program.split("; ")
        for step in steps:
            exec(step, names)
        answers.append([g.tolist() for g in eval(answer, names)])
    assert answers[1] == answers[0]


@pytest.mark.parametrize("optimizer", [
    "SGD(p, lr=0.1)", "SGD(p, lr=0.1, momentum=0.9)", "SparseAdam(p, lr=0.1)", "Adagrad(p, lr=0.1)",
])  # fmt: skip
def test_training_an_embedding(optimizer: str) -> None:
    found = []
    for m in (torch, rushlight):
        m.manual_seed(0)
        layer = m.nn.Embedding(6, 3, padding_idx=2, sparse=True)
        made = eval(f"m.optim.{optimizer}", {"m": m, "p": list(layer.parameters())})
        shown = []
        for step in range(4):
            made.zero_grad()
            layer(m.tensor([[1, 1, 2], [step, 4, 5]])).pow(2).sum().backward()
            layer(m.tensor([0])).sum().backward()
            shown.append(layer.weight.grad.coalesce())
            made.step()
        found.append((layer.weight.detach().numpy(), [(g.indices().tolist(), g.values().tolist()) for g in shown]))
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-6)
    for ours, theirs in zip(found[1][1], found[0][1], strict=True):
        assert ours[0] == theirs[0]
        assert rushlight.tensor(ours[1]).allclose(rushlight.tensor(theirs[1]), atol=1e-5)


def test_sparse_and_dense_gradients_add_up() -> None:
    F = rushlight.nn.functional
    for first, second in ((True, False), (False, True), (True, True), (False, False)):
        w = rushlight.ones(4, 2, requires_grad=True)
        for sparse in (first, second):
            F.embedding(rushlight.tensor([1, 1, 3]), w, sparse=sparse).sum().backward()
        both = w.grad.to_dense()
        assert both.tolist() == [[0.0, 0.0], [4.0, 4.0], [0.0, 0.0], [2.0, 2.0]]
        w.grad = None
        rows = rushlight.tensor([1, 1, 3])
        (F.embedding(rows, w, sparse=first) + F.embedding(rows, w, sparse=second)).sum().backward()
        assert w.grad.to_dense().tolist() == both.tolist() and w.grad.is_sparse is (first and second)


def test_what_is_not_there_fails_and_never_densifies() -> None:
    s = rushlight.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 2.0], (2, 2))
    for attempt in (
        lambda: s.exp(), lambda: rushlight.ones(2, 2) @ s, lambda: s.reshape(4), lambda: rushlight.relu(s),
        lambda: s * s, lambda: s.numpy(),
        lambda: rushlight.nn.functional.linear(s, rushlight.ones(2, 2)), lambda: s + 1,
    ):  # fmt: skip
        with pytest.raises((NotImplementedError, RuntimeError, TypeError)):
            attempt()
    w = rushlight.ones(4, 2, requires_grad=True)
    rushlight.nn.functional.embedding(rushlight.tensor([1]), w * 2, sparse=True).sum().backward()
    assert w.grad.to_dense().tolist() == [[0.0, 0.0], [2.0, 2.0], [0.0, 0.0], [0.0, 0.0]]
    out = rushlight.nn.functional.embedding(rushlight.tensor([1]), w.exp(), sparse=True)
    with pytest.raises(NotImplementedError):
        out.sum().backward()


def test_gradients_by_grad_and_hooks() -> None:
    w = rushlight.ones(4, 2, requires_grad=True)
    seen = []
    w.register_hook(lambda g: seen.append(g.is_sparse))
    (g,) = rushlight.autograd.grad(rushlight.nn.functional.embedding(rushlight.tensor([1]), w, sparse=True).sum(), w)
    assert g.is_sparse and g.to_dense().sum().item() == 2 and w.grad is None and seen == [True]


def test_copies_and_pickles() -> None:
    s = rushlight.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 2.0], (2, 2), requires_grad=True)
    for other in (copy.deepcopy(s), pickle.loads(pickle.dumps(s))):
        assert other.to_dense().tolist() == [[0.0, 1.0], [2.0, 0.0]] and other.requires_grad
    layer = rushlight.nn.Embedding(3, 2, sparse=True)
    layer(rushlight.tensor([1])).sum().backward()
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad._nnz() == 0 and layer.weight.grad.to_dense().abs().sum() == 0


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("padding_idx", [None, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_bags_with_sparse_gradients(mode: str, padding_idx: int | None, weighted: bool) -> None:
    found = []
    for m in (torch, rushlight):
        weight = m.arange(12.0).reshape(6, 2).requires_grad_()
        scale = m.arange(1.0, 7.0).requires_grad_() if weighted and mode == "sum" else None
        out = m.nn.functional.embedding_bag(
            m.tensor([1, 2, 2, 5, 0, 1]), weight, m.tensor([0, 3, 3, 5]), mode=mode, sparse=True,
            padding_idx=padding_idx, per_sample_weights=scale,
        )  # fmt: skip
        (out * m.arange(8.0).reshape(4, 2)).sum().backward()
        g = weight.grad
        found.append(
            (g.is_sparse, g._indices().tolist(), g._values().tolist(), None if scale is None else scale.grad.tolist())
        )
    assert found[0] == found[1]


def test_bags_refuse_what_pytorch_refuses() -> None:
    bag = rushlight.nn.functional.embedding_bag
    index, weight = rushlight.tensor([[1, 2]]), rushlight.ones(4, 2, requires_grad=True)
    with pytest.raises(ValueError, match="max mode does not support sparse weights"):
        bag(index, weight, mode="max", sparse=True)
    with pytest.raises(ValueError, match="max mode does not support scaling"):
        bag(index, weight, mode="max", scale_grad_by_freq=True)
    with pytest.raises(RuntimeError, match="scale_grad_by_freq not supported with sparse"):
        bag(index, weight, sparse=True, scale_grad_by_freq=True)
    layer = rushlight.nn.EmbeddingBag(4, 2, sparse=True, mode="sum")
    optimizer = rushlight.optim.SparseAdam(layer.parameters(), lr=0.1)
    before = layer.weight.detach().clone()
    layer(rushlight.tensor([[0, 1], [1, 3]])).sum().backward()
    optimizer.step()
    assert (layer.weight != before).any(1).tolist() == [True, True, False, True]
