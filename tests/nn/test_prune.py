"""`nn.utils.prune`, against PyTorch."""

import importlib
from typing import Any

import pytest

import rushlight as torch
from tests.nn.side_by_side import Log, compare


def _prune(torch: Any) -> Any:
    return importlib.import_module(f"{torch.__name__}.nn.utils.prune")


def _layer(torch: Any, out: int = 3, size: int = 4) -> Any:
    layer = torch.nn.Linear(size, out)
    with torch.no_grad():
        layer.weight.copy_(((torch.arange(float(out * size)) * 7) % 11 - 5.2).reshape(out, size))
        layer.bias.copy_(torch.arange(float(out)) - 1.5)
    return layer


def test_one_pruning_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        P = _prune(torch)
        layer = _layer(torch)
        weight = layer.weight
        log(P.is_pruned(layer), P.l1_unstructured(layer, "weight", 0.3) is layer, list(layer.state_dict()))
        log(layer.weight_mask, layer.weight, P.is_pruned(layer), layer.weight_orig is weight)
        log(P.is_pruned(torch.nn.Sequential(layer)))
        layer(torch.ones(1, 4)).sum().backward()
        log(layer.weight_orig.grad, layer.weight.is_leaf, [n for n, _ in layer.named_parameters()])
        log(P.remove(layer, "weight") is layer, list(layer.state_dict()), layer.weight, layer.weight is weight)
        log(P.is_pruned(layer), lambda: P.remove(layer, "weight"), layer._forward_pre_hooks)

    compare(scenario)


def test_each_method_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        P = _prune(torch)
        ways = [
            lambda m: P.l1_unstructured(m, "weight", 5),
            lambda m: P.l1_unstructured(m, "bias", 0),
            lambda m: P.l1_unstructured(m, "weight", 2, importance_scores=torch.arange(12.0).reshape(3, 4)),
            lambda m: P.ln_structured(m, "weight", 0.34, n=2, dim=0),
            lambda m: P.ln_structured(m, "weight", 2, n=1, dim=-1),
            lambda m: P.ln_structured(m, "weight", 1, n=float("-inf"), dim=1),
            lambda m: P.identity(m, "weight"),
            lambda m: P.custom_from_mask(m, "weight", torch.ones(3, 4).triu()),
        ]
        for way in ways:
            m = way(_layer(torch))
            log([b for _, b in m.named_buffers()], m.weight, m.bias)

    compare(scenario)


def test_random_methods_prune_the_right_number() -> None:
    layer = _prune(torch).random_unstructured(_layer(torch), "weight", 5)
    assert layer.weight_mask.sum().item() == 7
    layer = _prune(torch).random_structured(_layer(torch), "weight", 2, dim=1)
    assert sorted(layer.weight_mask.sum(0).tolist()) == [0, 0, 3, 3]


def test_repeated_pruning_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        P = _prune(torch)
        layer = _layer(torch)
        P.l1_unstructured(layer, "weight", 2)
        P.l1_unstructured(layer, "weight", 3)
        log(layer.weight_mask, len(layer._forward_pre_hooks))
        P.ln_structured(layer, "weight", 1, n=2, dim=0)
        (hook,) = layer._forward_pre_hooks.values()
        log(layer.weight_mask, type(hook).__name__, len(hook), [type(m).__name__ for m in hook], hook._tensor_name)
        P.ln_structured(layer, "weight", 1, n=2, dim=0)
        P.l1_unstructured(layer, "bias", 1)
        log(layer.weight_mask, layer.bias, len(layer._forward_pre_hooks), list(layer.state_dict()))
        P.custom_from_mask(layer, "weight", torch.zeros(3, 4))
        log(layer.weight, P.remove(layer, "weight").weight, list(layer.state_dict()))

    compare(scenario)


def test_global_pruning_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        P = _prune(torch)
        a, b = _layer(torch), _layer(torch, 2, 3)
        pairs = [(a, "weight"), (b, "weight")]
        P.global_unstructured(pairs, pruning_method=P.L1Unstructured, amount=0.5)
        log(a.weight_mask, b.weight_mask)
        scores = {(a, "weight"): torch.arange(12.0).reshape(3, 4) / 100}
        P.global_unstructured(pairs, P.L1Unstructured, scores, amount=2)
        log(a.weight_mask, b.weight_mask)
        log(lambda: P.global_unstructured(3, P.L1Unstructured, amount=1))
        log(lambda: P.global_unstructured(pairs, P.L1Unstructured, 3, amount=1))
        log(lambda: P.global_unstructured(pairs, P.RandomStructured, amount=1))

    compare(scenario)


def test_errors_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        P = _prune(torch)
        layer = _layer(torch)
        for amount in (1.5, -1, "a", 99):
            log(lambda a=amount: P.l1_unstructured(layer, "weight", a))
        log(lambda: P.l1_unstructured(layer, "zz", 1), lambda: P.ln_structured(layer, "bias", 1, n=2, dim=0))
        log(lambda: P.ln_structured(layer, "weight", 1, n=2, dim=7), list(layer.state_dict()), P.is_pruned(layer))
        log(lambda: P.l1_unstructured(layer, "weight", 1, importance_scores=torch.ones(2)))
        log(lambda: P.PruningContainer(P.L1Unstructured(1)), P.L1Unstructured(2).prune(torch.arange(4.0)))
        log(P.L1Unstructured(1).prune(torch.arange(4.0), default_mask=torch.tensor([1.0, 1.0, 0.0, 1.0])))

    compare(scenario)


def test_a_refused_pruning_leaves_the_module_as_it_was() -> None:
    prune = _prune(torch)
    layer = prune.l1_unstructured(_layer(torch), "weight", 2)
    before = layer.weight_mask.clone()
    with pytest.raises(ValueError, match="smaller than"):
        prune.l1_unstructured(layer, "weight", 99)
    assert torch.equal(layer.weight_mask, before) and prune.is_pruned(layer)
    layer(torch.ones(1, 4))
