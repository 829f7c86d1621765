"""Indices out of range inside compiled steps: eager's error, before anything has changed."""

from __future__ import annotations

import numpy as np
import pytest

import rushlight as torch
from rushlight.compiler.access_index import recipe
from rushlight.compiler.graph import Graph
from rushlight.ops.kinds import OPS
from rushlight.spec import Spec

F = torch.nn.functional
WEIGHT, SCORES, MAPS = torch.ones(10, 4), torch.ones(3, 5), torch.ones(3, 5, 2)


def column(*labels):
    return torch.tensor([[n] for n in labels])


CASES = {
    "embedding": (lambda i: F.embedding(i, WEIGHT) * 2, [[1, 70], [1, -1]], [1, 9]),
    "cast": (lambda i: F.embedding(i.int().long().view(-1, 1), WEIGHT) * 2, [[1, 70]], [1, 9]),
    "computed": (lambda i: F.embedding((i * 1.5).long(), WEIGHT) * 2, [[1, 70]], [1, 2]),
    "cross_entropy": (lambda y: F.cross_entropy(SCORES, y), [[1, 5, 3], [1, -1, 3]], [1, -100, 3]),
    "maps": (lambda y: F.cross_entropy(MAPS, torch.stack([y, y], 1)), [[1, 5, 3]], [1, -100, 3]),
    "ignored": (lambda y: F.cross_entropy(SCORES, y, ignore_index=9), [[1, 8, 3]], [1, 9, 3]),
    "nll": (lambda y: F.nll_loss(SCORES, y), [[1, 12, 3]], [1, 4, 3]),
    "gather": (lambda y: SCORES.gather(1, y.view(-1, 1)) * 2, [[1, 5, 3], [1, -1, 3]], [1, 4, 3]),
    "one_hot": (lambda y: F.one_hot(y, 5) * 2, [[1, 5], [1, -1]], [1, 4]),
    "scatter": (lambda y: torch.zeros(3, 5).scatter(1, y.view(-1, 1), SCORES) * 2, [[1, 5, 3]], [1, 4, 3]),
}


@pytest.mark.parametrize("name", CASES)
def test_error_of_eager_code(name):
    function, bad, good = CASES[name]
    compiled = torch.compile(function)
    for labels in (good, *bad, good):
        y = torch.tensor(labels)
        try:
            wanted = function(y)
        except (IndexError, RuntimeError) as error:
            with pytest.raises(type(error)) as caught:
                compiled(y)
            assert str(caught.value) == str(error)
        else:
            assert torch.allclose(compiled(y).float(), wanted.float())


def test_nothing_changes_in_a_step_with_a_bad_label():
    net = torch.nn.Linear(4, 3)
    opt = torch.optim.Adam(net.parameters(), lr=0.1)
    x = torch.ones(2, 4)

    @torch.compile
    def step(y):
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss

    good = torch.tensor([0, 2])
    before = float(step(good))
    kept = net.weight.detach().clone()
    with pytest.raises(IndexError, match=r"Target 3 is out of bounds\."):
        step(torch.tensor([0, 3]))
    assert torch.equal(net.weight, kept)
    assert float(step(good)) < before


def test_what_is_looked_over_before_the_run():
    graph = Graph()
    index = graph.input(Spec((3,), np.dtype(np.int64)))
    x = graph.input(Spec((3,), np.dtype(np.float32)))
    shifted = graph.call(OPS["add"], (index, 1), {"alpha": 1} if "alpha" in OPS["add"].defaults else {})
    found = graph.call(OPS["cast"], (x,), {"dtype": np.dtype(np.int64)})
    assert recipe(index) == []
    assert recipe(shifted) == [shifted.call]
    assert recipe(found) is None
