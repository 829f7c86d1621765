"""Grad modes in all their forms, per thread."""

import threading
from collections.abc import Iterator
from typing import Any

from tests.autograd.outcome import raised


def as_context_managers(torch: Any) -> Any:
    enabled = torch.is_grad_enabled
    seen = [enabled()]
    with torch.no_grad():
        seen.append(enabled())
        with torch.enable_grad():
            seen.append(enabled())
            with torch.set_grad_enabled(False):
                seen.append(enabled())
            seen.append(enabled())
        seen.append(enabled())
    seen.append(enabled())
    mode = torch.no_grad()
    for _ in range(2):
        with mode:
            seen.append(enabled())
    return [*seen, enabled()]


def as_decorators(torch: Any) -> Any:
    enabled = torch.is_grad_enabled

    @torch.no_grad()
    def off() -> bool:
        return enabled()

    @torch.no_grad
    def bare() -> bool:
        return enabled()

    @torch.enable_grad()
    def on() -> bool:
        return enabled()

    @torch.set_grad_enabled(False)
    def set_off(depth: int) -> list[bool]:
        "What it says."
        return [enabled(), *(set_off(depth - 1) if depth else [])]

    @torch.inference_mode()
    def inference() -> list[bool]:
        return [enabled(), torch.is_inference_mode_enabled()]

    class Model:
        @torch.no_grad()
        def run(self) -> bool:
            return enabled()

    with torch.no_grad():
        nested = on()
    return [
        off(),
        bare(),
        on(),
        nested,
        set_off(2),
        inference(),
        Model().run(),
        enabled(),
        set_off.__name__,
        set_off.__doc__,
    ]


def generators(torch: Any) -> Any:
    enabled = torch.is_grad_enabled

    @torch.no_grad()
    def steps() -> Iterator[Any]:
        got = yield enabled()
        try:
            yield [got, enabled()]
        except ValueError as error:
            yield ["caught", str(error), enabled()]
        return

    g = steps()
    seen = [next(g), enabled(), g.send("sent"), enabled(), g.throw(ValueError("thrown")), enabled()]
    seen.append(list(g))
    closed = []

    @torch.no_grad()
    def cleaning() -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append(enabled())

    c = cleaning()
    next(c)
    c.close()
    return [*seen, closed]


def as_functions(torch: Any) -> Any:
    enabled = torch.is_grad_enabled
    try:
        torch.set_grad_enabled(False)
        seen = [enabled(), (torch.ones(1, requires_grad=True) * 2).requires_grad]
        torch.set_grad_enabled(True)
        seen.append(enabled())
        mode = torch.set_grad_enabled(False)
        seen.append(enabled())
        with mode:
            seen.append(enabled())
        seen.append(enabled())
    finally:
        torch.set_grad_enabled(True)
    torch.autograd.set_grad_enabled(True)
    return seen


def exceptions_restore(torch: Any) -> Any:
    def fail(mode: Any) -> None:
        with mode:
            raise KeyError("x")

    seen = []
    for mode in (torch.no_grad(), torch.set_grad_enabled(False), torch.inference_mode()):
        seen.append(raised(lambda m=mode: fail(m)))
        seen.append([torch.is_grad_enabled(), torch.is_inference_mode_enabled()])
    return seen


def per_thread(torch: Any) -> Any:
    seen: list[Any] = []

    def work() -> None:
        seen.append(torch.is_grad_enabled())
        with torch.no_grad():
            seen.append(torch.is_grad_enabled())
        torch.set_grad_enabled(False)

    with torch.no_grad():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        seen.append(torch.is_grad_enabled())
    return [*seen, torch.is_grad_enabled()]


def what_no_grad_gives(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        y = x * 2
        v = x.view(1, 2)
        z = torch.ones(2, requires_grad=True)
        c = x.clone()
        d = x.detach()
    w = y * x
    return [(t.requires_grad, t.is_leaf) for t in (y, v, z, c, d, w)]


def inference_tensors(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    plain = torch.ones(2)
    with torch.inference_mode():
        a = x * 2
        b = torch.ones(2)
        b.add_(1)
        v = x.view(2)
        w = plain.view(2)
        made = torch.ones(2, requires_grad=True)
        flags = [t.is_inference() for t in (x, a, b, v, plain, made, w)]
        flags += [a.requires_grad, made.requires_grad, torch.is_grad_enabled(), torch.is_inference_mode_enabled()]
    with torch.inference_mode(False):
        flags.append(torch.is_inference_mode_enabled())
    with torch.inference_mode(), torch.inference_mode(False):
        flags += [torch.is_inference_mode_enabled(), torch.is_grad_enabled()]
    return [
        flags,
        raised(lambda: (a * x).sum().backward()),
        raised(lambda: a.add_(1)),
        raised(lambda: b.requires_grad_()),
        raised(lambda: a._version),
        (a + 1).is_inference(),
        (a.clone() * x).requires_grad,
        a.clone().is_inference(),
        raised(lambda: (a + x).requires_grad),
    ]


def inference_mode_and_normal_tensors(torch: Any) -> Any:
    x = torch.ones(3)
    with torch.inference_mode():
        x.add_(1)
        y = x[1:]
        y.mul_(2)
    return [x, x._version, y.is_inference()]


def mode_arguments(torch: Any) -> Any:
    seen = []
    for flag in (True, False):
        with torch.set_grad_enabled(mode=flag):
            seen.append(torch.is_grad_enabled())
        with torch.inference_mode(mode=flag):
            seen.append(torch.is_inference_mode_enabled())

    @torch.inference_mode
    def bare() -> bool:
        return torch.is_inference_mode_enabled()

    return [*seen, bare(), torch.autograd.grad_mode.no_grad is torch.no_grad]


def backward_is_blind_to_the_mode(torch: Any) -> Any:
    x = torch.ones(2, requires_grad=True)
    y = (x * x).sum()
    with torch.no_grad():
        y.backward()
    return [x.grad, x.grad.requires_grad]
