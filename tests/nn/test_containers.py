"""`Sequential`, `ModuleList`, `ModuleDict`, `ParameterList`, `ParameterDict`, against PyTorch."""

import copy
import operator
from collections import OrderedDict
from typing import Any

from tests.nn.side_by_side import Log, compare


def _scale(torch: Any) -> Any:
    class Scale(torch.nn.Module):
        def __init__(self, factor: float = 2.0) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor(float(factor)))

        def extra_repr(self) -> str:
            return f"{self.w.item()}"

        def forward(self, x: Any) -> Any:
            return x * self.w

    return Scale


def test_sequential_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        Scale, Sequential = _scale(torch), torch.nn.Sequential
        s = Sequential(*(Scale(i) for i in (1, 2, 3)))
        log(s, s(torch.ones(2)), len(s), list(s._modules), [c.w.item() for c in s])
        for index in (0, -1, 2, 7, -4, "0", 1.0, True, slice(0, 2), slice(None, None, -1), slice(5, 9)):
            log(lambda i=index: s[i])
        log(lambda: s.insert(1, Scale(9)), lambda: s.insert(-1, Scale(8)), lambda: s.insert(99, Scale()), s)
        log(lambda: s.insert(0, 3), lambda: s.append(3), lambda: s.extend(3), lambda: s.append(Scale(7)) is s)
        log(lambda: s.extend([Scale(4)]) is s, lambda: s.extend(Sequential(Scale(5))))
        log(lambda: s + Sequential(Scale(6)), lambda: s.__add__([Scale()]))
        log(lambda: s.__iadd__(Sequential(Scale())) is s)
        log(lambda: s.__iadd__(3), lambda: s.pop(0), lambda: s.pop(-1), lambda: s.pop(slice(0, 2)))
        log(lambda: s.pop(99), s)
        log(lambda: s.__setitem__(0, Scale(11)), lambda: s.__setitem__(-1, 3), lambda: s.__setitem__(99, Scale()), s)
        log(lambda: s.__delitem__(0), lambda: s.__delitem__(slice(1, 3)), lambda: s.__delitem__(99))
        log(s, list(s._modules))
        t = Sequential(Scale(1), Scale(2))
        log(t * 2, 2 * t, lambda: t * 0, lambda: t * 1.5, lambda: t.__imul__(2) is t, t, lambda: t[0] is t[2])
        log(lambda: Sequential(3), lambda: Sequential([Scale()]), lambda: Sequential({"a": Scale()}), Sequential())
        log(Sequential()(3), lambda: t(1, 2), t[0] in t, [n for n in dir(t) if n.isdigit()])

    compare(scenario)


def test_named_sequential_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        Scale, Sequential = _scale(torch), torch.nn.Sequential
        s = Sequential(OrderedDict([("a", Scale(1)), ("b", Scale(2)), ("c", Scale(3))]))
        log(s, s.a, s[1], s[:2], s[-1], list(s.state_dict()))
        s.append(Scale(4))
        s.add_module("d", Scale(5))
        log(s, s.pop("a") if False else s[0])
        del s[1]
        log(s)

    compare(scenario)


def test_module_list_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        Scale, ModuleList = _scale(torch), torch.nn.ModuleList
        m = ModuleList([Scale(1), Scale(2), Scale(2)])
        log(m, len(m), [c.w.item() for c in m], list(m.state_dict()))
        for index in (0, -1, 9, -9, "0", slice(0, 2), slice(None, None, 2)):
            log(lambda i=index: m[i])
        log(lambda: m.insert(1, Scale(3)), lambda: m.insert(99, Scale(4)), lambda: m.append(3), m)
        log(lambda: m.append(Scale(5)) is m, lambda: m.extend([Scale(5)]) is m, lambda: m.extend(Scale()), m)
        log(lambda: m.extend(3), lambda: m.__add__([Scale(6)]), lambda: m.__iadd__([Scale(6)]) is m, m)
        log(lambda: m.pop(0), lambda: m.pop(-1), lambda: m.pop(slice(0, 2)), lambda: m.pop(99), m)
        log(lambda: m.__setitem__(0, Scale(7)), lambda: m.__setitem__(99, Scale()), lambda: m.__setitem__(0, 3))
        log(lambda: m.__setitem__(slice(0, 1), Scale()), lambda: m.__delitem__(0), lambda: m.__delitem__(99), m)
        log(lambda: m.__delitem__(slice(0, 2)), m, lambda: m(1), ModuleList(), lambda: ModuleList(3))
        log(lambda: ModuleList([3]), ModuleList(Scale(i) for i in range(2)), lambda: m.index(3))
        log(ModuleList([ModuleList([Scale(), Scale()]) for _ in range(2)]))
        log(ModuleList([torch.nn.Sequential(Scale(1), Scale(1)) for _ in range(3)] + [Scale(1)]))
        log([n for n in dir(m) if n.isdigit()], m[0] in m)

    compare(scenario)


def test_module_dict_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        Scale, ModuleDict = _scale(torch), torch.nn.ModuleDict
        d = ModuleDict({"b": Scale(1), "a": Scale(2)})
        log(d, list(d), len(d), "a" in d, "z" in d, list(d.keys()), list(d.values()), list(d.items()), d.a)
        log(lambda: d["z"], lambda: d.pop("z"), lambda: d.pop("a"), lambda: d.__delitem__("z"), d)
        for more in (3, [("x", Scale(3))], [("x", Scale(), 3)], [3], ModuleDict({"q": Scale(4)}), ["ab"]):
            log(lambda m=more: d.update(m))
        log(lambda: d.update({"z": Scale(5), "c": Scale(6)}), lambda: d.update([("v", Scale()), ("u",)]), d)
        log(lambda: d.__setitem__("a.b", Scale()), lambda: d.__setitem__("keys", Scale()), lambda: d(3))
        log(lambda: d.__setitem__("n", 3), lambda: d.__setitem__(3, Scale()), lambda: ModuleDict(3))
        log(lambda: ModuleDict({"training": Scale()}), ModuleDict([["a", Scale()]]), list(d.state_dict()))
        d.clear()
        log(d, len(d))

    compare(scenario)


def test_parameter_list_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        nn, ones = torch.nn, torch.ones
        p = nn.ParameterList([nn.Parameter(ones(2)), ones(3, 4)])
        log(p, len(p), list(p), list(p.state_dict()), isinstance(p[1], nn.Parameter))
        for index in (0, -1, 5, slice(0, 1), slice(None, None, -1)):
            log(lambda i=index: p[i])
        for value in (ones(2), "s", 3, nn.Sequential(), ones(1, dtype=torch.float64)):
            log(lambda v=value: p.append(v))
        log(lambda: p.extend([ones(1)]) is p, lambda: p.extend(ones(2)), lambda: p.extend(3))
        log(lambda: operator.add(p, [ones(1)]))
        log(lambda: p.__iadd__([ones(1)]) is p, lambda: p.pop(), lambda: p.insert(0, ones(1)), lambda: p(3))
        log(lambda: p.__setitem__(0, ones(7)), lambda: p.__setitem__(0, "x"), lambda: p.__setitem__(99, ones(1)))
        log(lambda: p.__setitem__(slice(0, 1), ones(1)), p, nn.ParameterList(), lambda: nn.ParameterList(3))
        log(nn.ParameterList(ones(1) for _ in range(2)), [n for n in dir(p) if n.isdigit()])
        twin = copy.deepcopy(nn.ParameterList([ones(1)]))
        log(twin, twin.append(ones(2)), [name for name, _ in p.named_parameters()])

    compare(scenario)


def test_parameter_dict_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        nn, ones = torch.nn, torch.ones
        ParameterDict = nn.ParameterDict
        d = ParameterDict({"b": ones(2), "a": nn.Parameter(ones(3, 4)), "n": 3})
        log(d, list(d), len(d), d["b"], d.a, "a" in d, list(d.items()), list(d.values()), list(d.state_dict()))
        log(lambda: d["zz"], lambda: d.pop("zz"), lambda: d.pop("b"), lambda: d.popitem(), d)
        log(lambda: d.setdefault("s", ones(1)), lambda: d.setdefault("s"), lambda: d.setdefault("nul"))
        log(d.get("nope", 5))
        log(lambda: d.get("s"), d.fromkeys(["x", "y"], ones(1)), lambda: d.update([("x", ones(1))]), d)
        for more in (3, [3], [("x", 1, 2)], ParameterDict({"k": ones(2)}), {"z": ones(1), "c": ones(1)}):
            log(lambda m=more: d.update(m))
        log(d | {"m": ones(1)}, {"q": 1} | d, d | ParameterDict({"m": ones(1)}), d.copy(), list(reversed(d)))
        log(lambda: d.__ior__({"mm": ones(1)}) is d, d, lambda: d(3), 3 in d, lambda: d.__delitem__("zz"))
        for key in ("a.b", "keys", 3):
            log(lambda k=key: ParameterDict().__setitem__(k, ones(1)))
        log(ParameterDict([("a", ones(1))]), lambda: ParameterDict(3), ParameterDict({"a": nn.Sequential()}))
        log(lambda: ParameterDict({"a": ones(2, dtype=torch.int64)}), copy.deepcopy(ParameterDict({"a": ones(1)})))
        log(ParameterDict(OrderedDict([("z", ones(1)), ("a", ones(2))])))
        d.clear()
        log(d, len(d), list(d.parameters()))

    compare(scenario)


def test_containers_train_and_move_what_they_hold() -> None:
    def scenario(torch: Any, log: Log) -> None:
        nn = torch.nn
        m = nn.Module()
        m.layers = nn.ModuleList([_scale(torch)(), nn.ModuleDict({"x": _scale(torch)(3)})])
        m.weights = nn.ParameterList([torch.ones(2)])
        m.named = nn.ParameterDict({"k": torch.ones(1)})
        log(m, [name for name, _ in m.named_parameters()])
        m.double().eval()
        log([p.dtype for p in m.parameters()], [c.training for c in m.modules()])

    compare(scenario)
