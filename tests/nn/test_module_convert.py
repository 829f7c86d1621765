"""`Module.to` and its kind, and parameters and buffers as tensors; against PyTorch."""

import copy
import pickle
import warnings
from typing import Any

import pytest

import rushlight as torch
from rushlight import nn
from tests.nn.side_by_side import Log, compare


def _module(torch: Any) -> Any:
    m = torch.nn.Module()
    m.w = torch.nn.Parameter(torch.ones(2))
    m.register_buffer("scale", torch.ones(1))
    m.register_buffer("count", torch.tensor(3))
    m.plain = torch.ones(1)
    m.child = torch.nn.Module()
    m.child.w = torch.nn.Parameter(torch.ones(1), requires_grad=False)
    return m


def test_conversions_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        ways = [
            lambda m: m.to(torch.float64),
            lambda m: m.to("cpu"),
            lambda m: m.to("cpu", torch.float16),
            lambda m: m.to(dtype=torch.bfloat16),
            lambda m: m.to(torch.ones(1, dtype=torch.float64)),
            lambda m: m.to(device="cpu", dtype=torch.float64, non_blocking=True),
            lambda m: m.to(torch.device("cpu")),
            lambda m: m.to(tensor=torch.ones(1, dtype=torch.float16)),
            lambda m: m.to(),
            lambda m: m.to(None, torch.float64),
            lambda m: m.float(),
            lambda m: m.double(),
            lambda m: m.half(),
            lambda m: m.bfloat16(),
            lambda m: m.cpu(),
            lambda m: m.type(torch.float64),
            lambda m: m.share_memory(),
        ]
        for number, way in enumerate(ways):
            m = _module(torch)
            w = m.w
            w.grad = torch.full((2,), 5.0)
            log(number, way(m) is m, m.w is w, [p.dtype for p in m.parameters()], [b.dtype for b in m.buffers()])
            log(m.w.grad, m.w.is_leaf, m.w.requires_grad, m.child.w.requires_grad, m.plain.dtype, m.w.grad.dtype)

    compare(scenario)


def test_to_empty_keeps_dtypes_and_shapes() -> None:
    m = _module(torch)
    w = m.w
    assert m.to_empty(device="cpu") is m and m.w is w
    assert [(p.shape, p.dtype) for p in m.parameters()] == [((2,), torch.float32), ((1,), torch.float32)]
    with pytest.raises(TypeError, match="device"):
        m.to_empty()


def test_wrong_conversions_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        m = _module(torch)
        log(lambda: m.to(torch.int64), lambda: m.to("foo"))
        for way in (lambda: m.to(foo=3), lambda: m.to([1]), lambda: m.to("cpu", 1, 2, 3)):
            with pytest.raises(TypeError, match=r"to\(\) received an invalid combination of arguments"):
                way()

    compare(scenario)


def test_a_gpu_that_is_not_there_is_an_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for way in (lambda m: m.to("cuda"), lambda m: m.cuda(), lambda m: m.cuda(0)):
        with pytest.raises((RuntimeError, AssertionError)):
            way(_module(torch))


def test_training_goes_on_after_a_conversion() -> None:
    m = _module(torch).double()
    (m.w * torch.ones(2, dtype=torch.float64)).sum().backward()
    assert m.w.grad.dtype is torch.float64


def test_parameters_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        P = torch.nn.Parameter
        t = torch.ones(2)
        p = P(t)
        t[0] = 5
        log(p, p.is_leaf, p.requires_grad, isinstance(p, torch.Tensor), isinstance(t, P), p.grad_fn)
        log(p.data_ptr() == t.data_ptr(), type(p * 2).__name__, type(p.data).__name__, type(p.detach()).__name__)
        log(type(p.clone()).__name__, type(p.view(-1)).__name__, type(p[0]).__name__, p * 2)
        log(P(t, requires_grad=False), P(t, False).requires_grad, P(p), P(p) is p, P(), P(None))
        log(lambda: P(torch.arange(3)), P(torch.arange(3), False), lambda: P(3), lambda: P([1.0]))
        log(P(p * 2), P(p * 2).is_leaf, type(copy.copy(p)).__name__, type(copy.deepcopy(p)).__name__)
        q = copy.deepcopy(p)
        with torch.no_grad():
            q.fill_(1)
        log(p, q, P(torch.ones(1), requires_grad=False).requires_grad_())
        t._is_param = True
        log(isinstance(t, P), isinstance(torch.nn.Buffer(t), torch.nn.Buffer), torch.nn.Buffer(t))
        log(P(torch.ones(1, dtype=torch.complex64)), P(torch.ones(0, 3)), str(P(torch.tensor(1.0))))

    compare(scenario)


def test_parameters_pickle_with_what_the_user_set() -> None:
    p = nn.Parameter(torch.tensor([1.0, 2.0]), requires_grad=False)
    p.group = "slow"
    twin = pickle.loads(pickle.dumps(p))
    assert isinstance(twin, nn.Parameter) and not twin.requires_grad and twin.group == "slow"
    assert torch.equal(twin, p)


def test_a_subclass_of_tensor_stays_one_as_a_parameter() -> None:
    class Tagged(nn.Parameter):
        pass

    assert type(Tagged(torch.ones(1))) is Tagged
    assert isinstance(Tagged(torch.ones(1)), nn.Parameter)


def test_lazy_layers_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        nn = torch.nn
        layer = nn.LazyLinear(3)
        log(layer, layer.weight, type(layer.weight).__name__, layer.has_uninitialized_params(), layer.state_dict())
        log(lambda: layer.weight.shape, list(layer.parameters()), copy.deepcopy(layer), layer.double() is layer)
        log(layer.weight.dtype, layer(torch.ones(2, 5, dtype=torch.float64)).shape, layer, layer.weight.dtype)
        log(type(layer).__name__, type(layer.weight).__name__, layer._forward_pre_hooks)
        log(layer._load_state_dict_pre_hooks)
        log(lambda: layer(torch.ones(2, 4, dtype=torch.float64)), hasattr(layer, "_initialize_hook"))
        fresh = nn.LazyLinear(3)
        log(fresh.load_state_dict(nn.Linear(4, 3).state_dict()), fresh.weight.shape, type(fresh).__name__)
        log(fresh(torch.ones(1, 4)).shape, type(fresh).__name__, lambda: nn.LazyLinear(3).share_memory())
        lazy = nn.LazyLinear(3)
        log(lazy.load_state_dict(nn.LazyLinear(3).state_dict()))
        log(lambda: nn.Linear(2, 3).load_state_dict(lazy.state_dict()))

    compare(scenario)


def test_lazy_errors_agree_with_pytorch() -> None:
    def scenario(torch: Any, log: Log) -> None:
        Mixin = torch.nn.modules.lazy.LazyModuleMixin

        class Unfinished(Mixin, torch.nn.Module):
            pass

        class Forgets(Mixin, torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.w = torch.nn.UninitializedParameter()

            def initialize_parameters(self, x: Any) -> None:
                pass

        log(lambda: Unfinished()(1), lambda: Forgets()(1))
        is_lazy = torch.nn.parameter.is_lazy
        log(is_lazy(torch.nn.UninitializedBuffer()), is_lazy(torch.nn.Parameter(torch.ones(1))))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compare(scenario)


def test_uninitialized_tensors_refuse_work_and_materialize() -> None:
    p = nn.UninitializedParameter(dtype=torch.float64)
    for use in (lambda: p + 1, lambda: p.numel(), lambda: p[0], lambda: len(p), lambda: p.exp()):
        with pytest.raises(ValueError, match="Attempted to use an uninitialized parameter"):
            use()
    twin = pickle.loads(pickle.dumps(p))
    assert type(twin) is nn.UninitializedParameter and twin.requires_grad
    p.materialize((2, 3))
    assert type(p) is nn.Parameter and p.shape == (2, 3) and p.dtype is torch.float64 and p.requires_grad
    (p * 2).sum().backward()
    assert torch.equal(p.grad, torch.full((2, 3), 2.0, dtype=torch.float64))
    b = nn.UninitializedBuffer()
    b.materialize((4,), dtype=torch.int64)
    assert type(b) is torch.Tensor and b.dtype is torch.int64
    with pytest.raises(AttributeError):
        p.materialize((1,))


def test_memory_format_is_passed_to_images_only() -> None:
    m = nn.Module()
    m.kernel, m.vector = nn.Parameter(torch.ones(2, 3, 4, 4)), nn.Parameter(torch.ones(2))
    m.to(memory_format=torch.channels_last)
    assert m.kernel.is_contiguous(memory_format=torch.channels_last) and m.vector.is_contiguous()
