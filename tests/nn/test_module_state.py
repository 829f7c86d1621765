"""`state_dict` and `load_state_dict`, against PyTorch."""

import copy
from collections import OrderedDict
from typing import Any

import pytest

import rushlight as torch
from rushlight import nn
from tests.nn.side_by_side import Log, compare


def _leaf(torch: Any) -> Any:
    class Leaf(torch.nn.Module):
        def __init__(self, size: int = 2) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(size, 3))
            self.bias = torch.nn.Parameter(torch.zeros(size))
            self.register_buffer("count", torch.tensor(0))
            self.register_buffer("scratch", torch.ones(1), persistent=False)

    return Leaf


def test_state_dict_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        net = torch.nn.Sequential(_leaf(torch)(), torch.nn.Sequential(_leaf(torch)()))
        state = net.state_dict()
        log(state, state._metadata, type(state).__name__)
        log(state["0.weight"].requires_grad, net.state_dict(keep_vars=True)["0.weight"].requires_grad)
        state["0.bias"].fill_(5)
        log(net[0].bias, list(net.state_dict(prefix="p.")), net.state_dict(None, "q.", False).keys())
        mine: dict[str, Any] = {"x": 1}
        log(net.state_dict(destination=mine) is mine, list(mine))

    compare(scenario)


def test_loading_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        Leaf = _leaf(torch)
        net = torch.nn.Sequential(Leaf(), torch.nn.Sequential(Leaf()))
        good = {key: value + 1 for key, value in net.state_dict().items()}
        weight = net[0].weight
        log(net.load_state_dict(good), weight is net[0].weight, net.state_dict(), net[0].weight.requires_grad)
        partial = {"0.weight": torch.zeros(2, 3), "z": 1, "1.0.q": 2, "0.weight.x": 3}
        log(net.load_state_dict(partial, strict=False), lambda: net.load_state_dict(partial))
        log(lambda: net.load_state_dict({**good, "0.weight": torch.ones(3, 2)}))
        log(lambda: net.load_state_dict({**good, "0.weight": torch.ones(3, 2), "z": 1}))
        log(lambda: net.load_state_dict({**good, "0.weight": torch.ones(3, 2)}, strict=False))
        log(lambda: net.load_state_dict({**good, "0.weight": [1]}), lambda: net.load_state_dict([]))
        log(lambda: net.load_state_dict({}), lambda: Leaf(3).load_state_dict(Leaf(2).state_dict()))
        log(net.load_state_dict({**good, "0.count": torch.tensor([4])}), net[0].count)
        log(net.load_state_dict({**good, "0.weight": torch.ones(2, 3, dtype=torch.float64)}), net[0].weight.dtype)
        result = net.load_state_dict(good)
        missing, unexpected = result
        log(missing, unexpected, result.missing_keys, str(result))

    compare(scenario)


def test_assign_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        Leaf = _leaf(torch)
        net = Leaf()
        net.bias.requires_grad_(False)
        state = {"weight": torch.ones(2, 3, dtype=torch.float64), "bias": torch.ones(2), "count": torch.tensor(3)}
        log(net.load_state_dict(state, assign=True), net.weight, net.bias, net.count, net.count is state["count"])
        state["weight"].fill_(9)
        log(net.weight, type(net.weight).__name__)
        kept = torch.nn.Parameter(torch.zeros(2))
        net.load_state_dict({**state, "bias": kept}, assign=True)
        log(net.bias is kept, kept.requires_grad)

    compare(scenario)


def test_extra_state_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        class Counts(torch.nn.Module):
            n = 3

            def get_extra_state(self) -> Any:
                return {"n": self.n}

            def set_extra_state(self, state: Any) -> None:
                self.n = state["n"]

        net = torch.nn.Sequential(Counts(), torch.nn.Module())
        log(net.state_dict(), net.load_state_dict({"0._extra_state": {"n": 5}}), net[0].n)
        log(lambda: net.load_state_dict({}), net.load_state_dict({}, strict=False))
        log(lambda: torch.nn.Module().load_state_dict({"_extra_state": 1}))
        log(torch.nn.Module().load_state_dict({"_extra_state": 1}, strict=False))

    compare(scenario)


def test_hooks_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        net = torch.nn.Sequential(_leaf(torch)())
        seen: list[Any] = []
        net[0].register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(("pre", prefix, keep)))
        net[0].register_state_dict_post_hook(lambda m, s, prefix, meta: s.update({prefix + "new": 1}))
        handle = net._register_state_dict_hook(lambda m, s, prefix, meta: OrderedDict(x=sorted(s)))
        log(net.state_dict(), seen)
        handle.remove()
        log(list(net.state_dict()))

        def rename(state: Any, prefix: str, *others: Any) -> None:
            state[prefix + "bias"] = state.pop(prefix + "b")
            seen.append((prefix, len(others)))

        net[0]._register_load_state_dict_pre_hook(rename)
        net[0].register_load_state_dict_pre_hook(lambda module, *a: seen.append((type(module).__name__, len(a))))
        net.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
        state = {"0.weight": torch.ones(2, 3), "0.b": torch.ones(2)}
        log(net.load_state_dict(state), seen, sorted(state), net[0].bias)
        bad = torch.nn.Module()
        bad.register_load_state_dict_post_hook(lambda m, keys: keys)
        bad.register_state_dict_post_hook(lambda *a: 3)
        log(lambda: bad.load_state_dict({}), lambda: bad.state_dict())
        twin = copy.deepcopy(net[0])
        log(twin.load_state_dict({"weight": torch.zeros(2, 3), "b": torch.ones(2), "count": torch.tensor(1)}))

    compare(scenario)


def test_version_reaches_the_loader() -> None:
    def scenario(torch: Any, log: Log) -> None:
        class Second(torch.nn.Module):
            _version = 2

            def _load_from_state_dict(self, state: Any, prefix: str, meta: Any, *rest: Any) -> None:
                log(prefix, meta, rest)
                super()._load_from_state_dict(state, prefix, meta, *rest)

        net = torch.nn.Sequential(Second())
        log(net.state_dict()._metadata, net.load_state_dict(net.state_dict()), net.load_state_dict({}))
        log(net.load_state_dict(net.state_dict(), strict=False, assign=True))

    compare(scenario)


def test_a_size_error_is_a_shape_error_with_the_fix() -> None:
    layer = nn.Module()
    layer.weight = nn.Parameter(torch.ones(2, 3))
    with pytest.raises(ValueError, match="size mismatch for weight") as caught:
        layer.load_state_dict({"weight": torch.ones(3, 2)})
    assert isinstance(caught.value, RuntimeError)
    assert 'state["weight"] = state["weight"].T' in caught.value.__notes__[0]


@pytest.mark.parametrize(("wrap_saved", "fix"), [(True, 'removeprefix("module.")'), (False, '{"module." + name')])
def test_a_prefix_on_all_names_is_recognised(wrap_saved: bool, fix: str) -> None:
    inner = nn.Sequential(_leaf(torch)())
    wrapped = nn.Module()
    wrapped.module = copy.deepcopy(inner)
    saved, target = (wrapped, inner) if wrap_saved else (inner, wrapped)
    with pytest.raises(RuntimeError, match="Missing key") as caught:
        target.load_state_dict(saved.state_dict())
    assert fix in caught.value.__notes__[0]


def test_loading_leaves_the_given_dict_alone() -> None:
    layer = _leaf(torch)()
    layer._register_load_state_dict_pre_hook(lambda state, *rest: state.clear())
    state = layer.state_dict()
    layer.load_state_dict(state, strict=False)
    assert list(state) == ["weight", "bias", "count"]


def test_state_dict_equals_pytorchs_for_layers() -> None:
    def scenario(torch: Any, log: Log) -> None:
        nn = torch.nn
        net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1, bias=False))
        state = net.state_dict()
        log(list(state), state._metadata, state["0.weight"], state["1.num_batches_tracked"])

    compare(scenario)
