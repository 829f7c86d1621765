"""`nn.Module`: registration, look-up, walks, repr, copies; against PyTorch."""

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest

import rushlight as torch
from rushlight import nn
from tests.nn.side_by_side import Log, compare


def _net(nn: Any, ones: Any) -> Any:
    """A tree with a shared layer, a shared parameter, buffers of both kinds."""

    class Leaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(ones(2))
            self.register_buffer("b", ones(1))
            self.register_buffer("tmp", ones(1), persistent=False)

        def extra_repr(self) -> str:
            return "size=2"

        def forward(self, x: Any) -> Any:
            return x * self.w + self.b

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = Leaf()
            self.again = self.first
            self.tied = Leaf()
            self.tied.w = self.first.w
            self.nothing = None
            self.register_module("empty", None)
            self.register_parameter("none", None)
            self.own = nn.Parameter(ones(3))

        def forward(self, x: Any) -> Any:
            return self.tied(self.again(self.first(x)))

    return Net()


class Plain(nn.Module):
    """Module level, so that it pickles."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))
        self.v = self.w
        self.register_buffer("b", torch.zeros(1))

    def forward(self, x: Any) -> Any:
        return x * self.w


def test_walks_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        net = _net(torch.nn, torch.ones)
        log([n for n, _ in net.named_parameters()], [n for n, _ in net.named_parameters(prefix="p", recurse=False)])
        log([n for n, _ in net.named_parameters(remove_duplicate=False)], len(list(net.parameters())))
        log([n for n, _ in net.named_buffers()], [n for n, _ in net.named_buffers("q", remove_duplicate=False)])
        log([n for n, _ in net.named_modules()], [n for n, _ in net.named_modules(prefix="m", remove_duplicate=False)])
        log([n for n, _ in net.named_children()], len(list(net.modules())), len(list(net.children())))
        log(len(list(net.buffers())), list(net._modules), list(net._parameters), list(net.__dict__))
        order: list[str] = []
        log(net.apply(lambda m: order.append(type(m).__name__)) is net, order)
        log(net.eval() is net, [m.training for m in net.modules()], net.train().first.training, lambda: net.train(1))
        log(net.requires_grad_(False) is net, [p.requires_grad for p in net.parameters()])
        log(net, net.first, net(torch.ones(2)))

    compare(scenario)


def test_repr_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        nn = torch.nn

        class Lines(nn.Module):
            def extra_repr(self) -> str:
                return "one\ntwo"

        class Named(Lines):
            def _get_name(self) -> str:
                return "Other"

        outer = nn.Module()
        outer.lines = Lines()
        outer.named = Named()
        outer.named.inner = nn.ModuleList([Lines(), Lines()])
        outer.empty = nn.Sequential()
        outer.add_module("with space", nn.Module())
        log(outer, nn.Module())

    compare(scenario)


def test_registration_errors_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        nn = torch.nn

        class NoInit(nn.Module):
            def __init__(self) -> None:
                pass

        bad = NoInit()
        log(lambda: setattr(bad, "w", nn.Parameter(torch.ones(1))), lambda: setattr(bad, "m", nn.Module()))
        log(lambda: bad.register_buffer("b", None), lambda: bad.register_parameter("b", None), lambda: bad.missing)
        log(lambda: setattr(bad, "b", nn.Buffer(torch.ones(1))), lambda: bad(3), lambda: nn.Module()(3))
        log(lambda: nn.Module(3), lambda: nn.Module(1, b=2), lambda: nn.Module(a=3))
        m = _net(nn, torch.ones)
        leaf = m.first
        for register in (leaf.register_buffer, leaf.register_parameter, leaf.add_module):
            for name in (3, "a.b", "", "forward"):
                log(lambda f=register, n=name: f(n, None))
            log(lambda f=register: f("new", 3))
        log(lambda: leaf.register_buffer("w", None), lambda: leaf.register_parameter("q", torch.ones(2)))
        log(lambda: leaf.add_module("w", nn.Module()), lambda: setattr(leaf, "w", torch.ones(2)))
        log(lambda: setattr(leaf, "w", 3), lambda: setattr(leaf, "b", 3), lambda: setattr(m, "first", "s"))
        log(lambda: delattr(m, "zzz"), lambda: m.foo)
        leaf.b = None
        leaf.w = None
        m.first = None
        log(leaf.b, leaf.w, m, list(leaf.state_dict()))
        leaf.b = torch.zeros(4)
        leaf.w = nn.Parameter(torch.ones(1))
        log(leaf.state_dict(), dict(leaf.named_buffers()))

    compare(scenario)


def test_a_non_leaf_is_no_parameter() -> None:
    marked = torch.ones(2, requires_grad=True) * 2
    with pytest.raises(TypeError, match=r"torch\.nn\.Parameter or None required"):
        nn.Module().register_parameter("w", marked)


def test_assignment_moves_a_name_between_tables() -> None:
    def scenario(torch: Any, log: Log) -> None:
        nn = torch.nn
        m = nn.Module()
        m.x = 3
        m.x = nn.Parameter(torch.ones(1))
        log("x" in m.__dict__, list(m._parameters))
        m.x = nn.Module() if False else None
        del m.x
        m.x = nn.Module()
        log(list(m._parameters), list(m._modules))
        m.x = nn.Parameter(torch.ones(1))
        log(list(m._parameters), list(m._modules))
        m.x = None
        m.x = nn.Parameter(torch.zeros(2))
        m.b = nn.Buffer(torch.ones(2), persistent=False)
        log(dict(m.named_buffers()), list(m.state_dict()), type(m.b).__name__)
        m.b = nn.Buffer(torch.ones(3))
        log(list(m.state_dict()), m.b)
        m.b = nn.Parameter(torch.ones(1))
        log(list(m._buffers), list(m._parameters), m._non_persistent_buffers_set)
        log([n for n in dir(m) if n in ("x", "b", "training", "forward", "_modules")])

    compare(scenario)


def test_look_up_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        nn = torch.nn
        net = nn.Sequential(_net(nn, torch.ones), nn.Sequential(nn.Module()))
        for path in ("0.first", "1.0", "", "0.own", "zz", "0.first.zz", "0.first.w.x"):
            log(lambda p=path: type(net.get_submodule(p)).__name__)
        for path in ("0.own", "0.first.w", "0.first.b", "0.training", "zz", "x.y", ""):
            log(lambda p=path: net.get_parameter(p), lambda p=path: net.get_buffer(p))
        log(lambda: net.set_submodule("", nn.Module()), lambda: net.set_submodule("0", 3))
        log(lambda: net.set_submodule("1.0", nn.Sequential()), lambda: net.set_submodule("2", nn.Module(), strict=True))
        log(lambda: net.set_submodule("7.2", nn.Module()), lambda: net.set_submodule("5", nn.Module()))
        log(lambda: net.set_submodule("0.own", nn.Module()), net)

    compare(scenario)


def test_copies_keep_sharing_and_are_independent() -> None:
    def scenario(torch: Any, log: Log) -> None:
        net = _net(torch.nn, torch.ones).eval()
        net.own.requires_grad_(False)
        twin = copy.deepcopy(net)
        with torch.no_grad():
            twin.first.w.fill_(7)
        log(twin.tied.w is twin.first.w, twin.again is twin.first, twin.training, twin.own.requires_grad)
        log(twin.state_dict(), net.state_dict(), type(twin.own).__name__)
        shallow = copy.copy(net)
        log(shallow.first is net.first, shallow.own is net.own)

    compare(scenario)


def test_pickle_keeps_values_flags_and_sharing() -> None:
    module = Plain().eval()
    module.w.requires_grad_(False)
    twin = pickle.loads(pickle.dumps(module))
    assert twin.v is twin.w and not twin.training and not twin.w.requires_grad
    assert torch.equal(twin.w, module.w) and torch.equal(twin.b, module.b)
    assert torch.equal(twin(torch.ones(2)), module(torch.ones(2)))


def test_a_module_is_freed_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        module = nn.Sequential(Plain(), nn.ModuleList([Plain()]))
        gone = weakref.ref(module[0])
        del module
        assert gone() is None
    finally:
        gc.enable()


def test_zero_grad_agrees_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        net = _net(torch.nn, torch.ones)
        net(torch.ones(2)).sum().backward()
        log(net.first.w.grad)
        net.zero_grad(set_to_none=False)
        log(net.first.w.grad, net.own.grad)
        net.zero_grad()
        log(net.first.w.grad)

    compare(scenario)


def test_an_error_in_a_forward_names_the_module_and_the_line() -> None:
    class Inner(nn.Module):
        def forward(self, x: Any) -> Any:
            raise ValueError("broken")

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Sequential(Inner())])

        def forward(self, x: Any) -> Any:
            return self.blocks[0](x)

    with pytest.raises(ValueError, match="broken") as caught:
        Outer()(torch.ones(1))
    assert str(caught.value) == "broken"
    (note,) = caught.value.__notes__
    assert note.splitlines()[0] == "  module     Outer.blocks.0.0"
    assert "at         test_module.py:" in note


def test_an_error_caught_inside_a_forward_leaves_no_trace() -> None:
    class Fails(nn.Module):
        def forward(self) -> Any:
            raise ValueError("first")

    class Retries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = Fails()

        def forward(self) -> str:
            try:
                self.part()
            except ValueError:
                return "ok"
            return "not reached"

    assert Retries()() == "ok"


def test_compile_keeps_results() -> None:
    module = nn.Sequential(Plain())
    before = module(torch.ones(2))
    module.compile()
    assert torch.equal(module(torch.ones(2)), before)
    assert list(copy.deepcopy(module).state_dict()) == list(module.state_dict())


def test_call_super_init_passes_arguments_on() -> None:
    def scenario(torch: Any, log: Log) -> None:
        class Named:
            def __init__(self, name: str) -> None:
                self.name = name

        class Both(torch.nn.Module, Named):
            call_super_init = True

        log(Both("n").name, Both("n").training)

    compare(scenario)


def test_gradients_reach_parameters_after_data_is_replaced() -> None:
    module = Plain()
    module.w.data = torch.full((2,), 3.0)
    module(torch.ones(2)).sum().backward()
    assert torch.equal(module.w.grad, torch.ones(2))
    assert torch.equal(module(torch.ones(2)).detach(), torch.full((2,), 3.0))


def test_the_path_goes_through_modules_in_plain_lists_and_survives_lost_notes() -> None:
    class Leaf(nn.Module):
        def forward(self, x: Any) -> Any:
            error = ValueError("broken")
            error.add_note("  at         elsewhere.py:1")
            raise error

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = [Leaf()]

        def forward(self, x: Any) -> Any:
            try:
                return self.parts[0](x)
            except ValueError as error:
                if x is None:
                    error.__notes__.clear()
                raise

    with pytest.raises(ValueError, match="broken") as caught:
        nn.Sequential(Hidden())(1)
    assert caught.value.__notes__ == ["  at         elsewhere.py:1", "  module     Sequential.0.<Leaf>"]
    with pytest.raises(ValueError, match="broken"):
        nn.Sequential(Hidden())(None)


def test_a_wrong_shape_names_the_layer() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(5, 2)))
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied") as caught:
        net(torch.ones(2, 3))
    notes = "\n".join(caught.value.__notes__)
    assert "module     Sequential.1.0   Linear(in_features=5, out_features=2, bias=True)" in notes
    assert notes.count("test_module.py:") == 1


def test_deepcopied_lazy_layers_are_their_own() -> None:
    layer = nn.LazyLinear(2)
    twin = copy.deepcopy(layer)
    assert twin(torch.ones(1, 3)).shape == (1, 2) and type(twin) is nn.Linear
    assert layer.has_uninitialized_params() and layer(torch.ones(1, 5)).shape == (1, 2)
