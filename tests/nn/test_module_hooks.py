"""Forward and backward hooks of modules, against PyTorch."""

import copy
import pickle
from typing import Any

import pytest

import rushlight as torch
from rushlight import nn
from tests.nn.side_by_side import Log, compare


def _double(torch: Any) -> Any:
    class Double(torch.nn.Module):
        def forward(self, x: Any, scale: Any = 2) -> Any:
            return x * scale

    return Double()


def double_output(module: Any, args: Any, out: Any) -> Any:
    """Module level, so that it pickles."""
    return out * 2


def test_forward_hooks_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        m, x = _double(torch), torch.ones(2)
        seen: list[Any] = []
        m.register_forward_hook(lambda mod, args, out: seen.append(("a", args, out)))
        m.register_forward_hook(lambda mod, args, out: out + 1)
        m.register_forward_hook(lambda mod, args, kw, out: seen.append((kw, out)), with_kwargs=True, prepend=True)
        m.register_forward_pre_hook(lambda mod, args: (args[0] * 10,))
        m.register_forward_pre_hook(lambda mod, args: args[0] + 1)
        m.register_forward_pre_hook(lambda mod, args, kw: (args, {"scale": 3}), with_kwargs=True, prepend=True)
        log(m(x), m(x, scale=7), seen, m.forward(x))
        for handles in (m._forward_hooks, m._forward_pre_hooks):
            handles.clear()
        log(m(x))

    compare(scenario)


def test_wrong_hook_results_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        x = torch.ones(2, requires_grad=True)
        for answer in (3, (1,), (1, 2, 3)):
            m = _double(torch)
            m.register_forward_pre_hook(lambda mod, args, kw, a=answer: a, with_kwargs=True)
            log(lambda m=m: m(x))
        m = _double(torch)
        m.register_full_backward_hook(lambda mod, gi, go: (1, 2))
        log(lambda: m(x).sum().backward())
        m = _double(torch)
        m.register_full_backward_pre_hook(lambda mod, go: (1, 2))
        log(lambda: m(x).sum().backward())
        m.register_forward_hook(lambda *a: 1 / 0, always_call=True)
        log(lambda: m(x))

    compare(scenario)


def test_always_called_hooks_run_after_an_error() -> None:
    def scenario(torch: Any, log: Log) -> None:
        class Fails(torch.nn.Module):
            def forward(self, x: Any) -> Any:
                raise ValueError("broken")

        seen: list[Any] = []
        m = Fails()
        m.register_forward_hook(lambda mod, args, out: seen.append(out), always_call=True)
        m.register_forward_hook(lambda mod, args, out: seen.append("not called"))
        m.register_forward_hook(lambda mod, args, kw, out: seen.append(kw), always_call=True, with_kwargs=True)
        log(lambda: m(1), lambda: m(x=1), seen)

    compare(scenario)
    m = _double(torch)
    m.register_forward_hook(lambda *a: 1 / 0, always_call=True)
    with pytest.warns(UserWarning, match="always_call=True"), pytest.raises(TypeError):
        m(object())


def test_handles_remove_their_hook() -> None:
    m, x = _double(torch), torch.ones(1)
    with m.register_forward_hook(double_output, always_call=True) as handle:
        assert m(x).item() == 4
    assert m(x).item() == 2 and not m._forward_hooks and not m._forward_hooks_always_called
    handle.remove()
    m.register_forward_hook(double_output)
    twin = copy.deepcopy(m)
    assert twin(x).item() == 4
    twin._forward_hooks.clear()
    assert m(x).item() == 4


def test_a_handle_pickles() -> None:
    m = nn.Module()
    handle = m.register_forward_hook(double_output)
    table, twin = pickle.loads(pickle.dumps((m._forward_hooks, handle)))
    twin.remove()
    assert not table and m._forward_hooks


def test_full_backward_hooks_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        class Two(torch.nn.Module):
            def forward(self, x: Any, y: Any, n: int = 3) -> Any:
                return x * 2, y * n

        x, y = torch.ones(2, requires_grad=True), torch.ones(2)
        m = Two()
        seen: list[Any] = []
        m.register_full_backward_hook(lambda mod, gi, go: seen.append(("hook", gi, go)))
        m.register_full_backward_pre_hook(lambda mod, go: seen.append(("pre", go)))
        a, b = m(x, y, 4)
        log(a, b)
        a.sum().backward()
        log(seen, x.grad)
        seen.clear()
        a, b = m(x, x)
        b.sum().backward()
        log(seen, x.grad)
        m = _double(torch)
        m.register_full_backward_hook(lambda mod, gi, go: (gi[0] * 5,))
        m.register_full_backward_pre_hook(lambda mod, go: (go[0] * 7,))
        m.register_full_backward_hook(lambda mod, gi, go: seen.append((gi, go)), prepend=True)
        z = torch.ones(2, requires_grad=True)
        seen.clear()
        m(z).sum().backward()
        log(z.grad, seen)
        with torch.no_grad():
            log(m(z))

    compare(scenario)


def test_backward_hooks_without_gradients_of_inputs_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        class Own(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.w = torch.nn.Parameter(torch.ones(2))

            def forward(self, x: Any) -> Any:
                return x * self.w

        seen: list[Any] = []
        m = Own()
        m.register_full_backward_hook(lambda mod, gi, go: seen.append((gi, go)))
        m(torch.ones(2)).sum().backward()
        log(seen, m.w.grad)
        m = Own()
        m.register_full_backward_hook(lambda mod, gi, go: (torch.ones(2),))
        log(lambda: m(torch.ones(2)).sum().backward())

        class Dict(torch.nn.Module):
            def forward(self, x: Any) -> Any:
                return {"a": x * 2}

        d = Dict()
        d.register_full_backward_hook(lambda *a: seen.append("not called"))
        log(d(torch.ones(1)), seen)

    compare(scenario)


def test_older_backward_hooks_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        m = _double(torch)
        seen: list[Any] = []
        m.register_backward_hook(lambda mod, gi, go: seen.append((type(mod).__name__, gi[0], go)))
        x = torch.ones(2, requires_grad=True)
        m(x).sum().backward()
        log(seen, x.grad, lambda: m.register_full_backward_hook(lambda *a: None))
        full = _double(torch)
        full.register_full_backward_hook(lambda *a: None)
        log(lambda: full.register_backward_hook(lambda *a: None))

    compare(scenario)


def test_hooks_see_graphs_for_double_backward() -> None:
    def scenario(torch: Any, log: Log) -> None:
        class Square(torch.nn.Module):
            def forward(self, x: Any) -> Any:
                return x * x * x

        m = Square()
        m.register_full_backward_hook(lambda mod, gi, go: (gi[0] * 2,))
        x = torch.tensor([2.0], requires_grad=True)
        (g,) = torch.autograd.grad(m(x).sum(), x, create_graph=True)
        (h,) = torch.autograd.grad(g.sum(), x)
        log(g.detach(), h)

    compare(scenario)


def test_global_hooks_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        register = torch.nn.modules.module
        seen: list[Any] = []
        handles = [
            register.register_module_forward_pre_hook(lambda m, a: seen.append("pre")),
            register.register_module_forward_hook(lambda m, a, out: out + 1),
            register.register_module_forward_hook(lambda m, a, k, out: seen.append(k), with_kwargs=True),
            register.register_module_full_backward_pre_hook(lambda m, go: seen.append(go)),
            register.register_module_full_backward_hook(lambda m, gi, go: seen.append(gi)),
        ]
        m, x = _double(torch), torch.ones(1, requires_grad=True)
        m.register_forward_pre_hook(lambda m, a: seen.append("own"))
        y = m(x, scale=3)
        y.sum().backward()
        log(y.detach(), seen, x.grad)
        log(lambda: register.register_module_backward_hook(lambda *a: None))
        for handle in handles:
            handle.remove()
        seen.clear()
        log(m(x).detach(), seen)

    compare(scenario)


def test_registration_hooks_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        register = torch.nn.modules.module
        seen: list[Any] = []
        handles = [
            register.register_module_parameter_registration_hook(lambda m, n, p: seen.append(("p", n))),
            register.register_module_buffer_registration_hook(lambda m, n, b: b * 2 if b is not None else None),
            register.register_module_module_registration_hook(lambda m, n, c: seen.append(("m", n))),
        ]
        m = torch.nn.Module()
        m.w = torch.nn.Parameter(torch.ones(1))
        m.register_buffer("b", torch.ones(1))
        m.child = torch.nn.Module()
        m.add_module("second", torch.nn.Module())
        for handle in handles:
            handle.remove()
        m.late = torch.nn.Parameter(torch.ones(1))
        log(seen, m.b)

    compare(scenario)
