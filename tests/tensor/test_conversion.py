"""Python values, NumPy, copies, dtype conversions, and errors of bad input."""

import copy
import pickle

import numpy as np
import pytest

import rushlight
from tests.tensor.side_by_side import agree, lines

PROGRAMS = lines("""
torch.tensor(«3¦2.5¦True¦1j¦[5]¦[[1.5]]¦[1, 2]¦[]»).item()
torch.tensor(«3¦2.5¦True¦1j¦[5]¦[[1, 2], [3, 4]]¦[]¦[[]]¦[True]¦[1+2j]¦[nan, inf]¦0.1»).tolist()
torch.tensor([0.1, 0.2], dtype=torch.«float16¦bfloat16¦float64¦float32»).tolist()
torch.tensor(0.1, dtype=torch.«float16¦bfloat16¦float64¦float32»).item()
«int¦float¦bool¦complex¦str¦repr¦round¦abs»(torch.tensor(«2.5¦-3¦True¦[2.5]¦0»))
«int¦float¦bool¦complex»(torch.tensor(«[1, 2]¦[]¦1j¦nan»))
bool(torch.tensor([[0.0]])), bool(torch.tensor(0.0)), not torch.tensor(1), torch.tensor(1) and 2
f"{torch.tensor(3.14159):.2f}", f"{torch.tensor(7):5d}", f"{torch.tensor(2.5)}", f"{torch.tensor(True)}", f"{torch.tensor([1, 2])}", "%d %.1f" % (torch.tensor(3), torch.tensor(2.5)), "{}".format(torch.tensor(1))
f"{torch.tensor([1.0, 2.0]):.2f}"
f"{torch.tensor(3, dtype=torch.int32)!r} {torch.tensor(1.5, requires_grad=True)}"
round(torch.tensor(2.567), 1), abs(torch.tensor(-2)), -torch.tensor(1), +torch.tensor(1), divmod(torch.tensor(7), 2), pow(torch.tensor(2), 3), math.floor(torch.tensor(2.5)), math.sqrt(torch.tensor(4.0))
a = torch.tensor(1); b = torch.tensor(1); (hash(a) == hash(b), len({a, b}))
torch.tensor(1) in [torch.tensor(1)], torch.tensor([1, 2]).tolist() == [1, 2]
torch.tensor([1, 2]) in [torch.tensor([1, 2])]
if_ = 1 if torch.tensor([1, 2]) else 2
if_ = 1 if torch.tensor([]) else 2; if_
range(3)[torch.tensor(1)], list(range(torch.tensor(3)))
torch.arange(3).«float¦double¦half¦bfloat16¦int¦long¦short¦char¦byte¦bool¦cfloat¦cdouble»()
torch.tensor([1.7, -1.7, 300.0, 0.0]).«int¦long¦short¦bool¦half»()
torch.tensor([300, -1, 127, 0]).«char¦byte¦bool¦short¦half¦bfloat16»()
torch.arange(3).«type()¦type(torch.float32)¦type("torch.DoubleTensor")¦type(torch.FloatTensor)¦type("a")¦type(torch.bool).type()¦type_as(torch.ones(1))¦to(torch.float64)¦to("cpu", torch.float64)¦to(dtype=torch.int8)¦to(torch.ones(1))¦to(torch.float32, non_blocking=True)¦to("cpu")¦to(device="cpu", dtype=torch.half)¦to()¦to("a")»
x = torch.arange(3); x.to(torch.int64) is x, x.long() is x, x.to("cpu") is x, x.to(torch.int64, copy=True) is x, x.float() is x, x.contiguous() is x, x.cpu() is x, x.detach() is x, x.type(torch.int64) is x, x.type_as(x) is x
x = torch.arange(3.0); a = x.numpy(); a[0] = 9; x[1] = 8; (a, x)
a = np.arange(6).reshape(2, 3); t = torch.from_numpy(a.T); t[0, 0] = 9; (a, t.stride())
torch.arange(6).view(2, 3).t().numpy().strides, torch.arange(6)[::2].numpy(), torch.tensor(3).numpy(), torch.zeros(0, 2).numpy().shape, torch.tensor([True]).numpy().dtype.name, torch.arange(3, dtype=torch.uint8).numpy().dtype.name
torch.ones(2, requires_grad=True).numpy()
torch.ones(2, requires_grad=True).detach().numpy(), torch.ones(2, requires_grad=True).numpy(force=True)
torch.ones(2, dtype=torch.bfloat16).numpy()
np.asarray(torch.arange(3)), np.array(torch.ones(2)), np.asarray(torch.arange(3), dtype=np.float32), np.sum(torch.ones(3).numpy())
np.array([torch.tensor(1), torch.tensor(2)]), np.asarray([torch.tensor(1.5)])
np.asarray(torch.ones(2, requires_grad=True))
np.add(torch.ones(2).numpy(), 1), np.exp(torch.zeros(2).numpy())
np.from_dlpack(torch.arange(3)), torch.from_dlpack(np.arange(3)), torch.utils.dlpack.from_dlpack(torch.arange(2))
a = np.arange(3); t = torch.from_dlpack(a); t[0] = 5; a
t = torch.arange(3); u = torch.from_dlpack(t); u[0] = 5; t
torch.arange(3).__dlpack_device__()[1]
x = torch.arange(3.0, requires_grad=True); y = pickle.loads(pickle.dumps(x)); (y, y is x)
y = pickle.loads(pickle.dumps(torch.arange(6).view(2, 3).t())); y
y = pickle.loads(pickle.dumps([torch.arange(2, dtype=torch.bfloat16).float(), torch.tensor(1.5), torch.float32, torch.Size([1])])); y
x = torch.arange(3.0); y = copy.copy(x); y[0] = 9; (x, y is x)
x = torch.arange(3.0, requires_grad=True); y = copy.deepcopy(x); (y, y.requires_grad, y.is_leaf)
x = torch.arange(4.0); a, b = copy.deepcopy([x, x[1:3]]); a[1] = 9; (b, x)
x = torch.ones(2, requires_grad=True); x.grad = torch.ones(2); y = copy.deepcopy(x); y.grad
copy.deepcopy(torch.ones(2, requires_grad=True) * 2)
copy.deepcopy({"a": torch.ones(1), "b": [torch.zeros(1)]})
x = torch.ones(2, requires_grad=True); x.data = torch.zeros(3); (x.shape, x.requires_grad)
x = torch.ones(2); x.data.fill_(5); x
x = torch.ones(2, requires_grad=True); x.data.mul_(3); (x.detach(), x.is_leaf)
x = torch.ones(2); x.grad, x.grad_fn, x.is_leaf, x.requires_grad, x.output_nr, x.retains_grad
x = torch.ones(2); x.grad = torch.ones(3)
x = torch.ones(2); x.grad = 1
x = torch.ones(2); x.grad = torch.ones(2, dtype=torch.float64)
x = torch.arange(3); x.requires_grad = True
torch.arange(3).requires_grad_()
torch.ones(2).requires_grad_().requires_grad, torch.ones(2).requires_grad_(False).requires_grad
x = torch.ones(2, requires_grad=True) * 2; x.requires_grad = False
x = torch.ones(2, requires_grad=True); x += 1
x = torch.ones(2, requires_grad=True); x.zero_()
x = torch.ones(2, requires_grad=True); x[0] = 1
x = torch.ones(2, requires_grad=True); x.detach().zero_(); x
torch.ones(2).backward()
torch.ones(2, requires_grad=True).backward()
(torch.ones(2, requires_grad=True) * 2).backward()
x = torch.ones(2, requires_grad=True); y = (x * x).sum(); y.backward(); y.backward()
x = torch.ones(2, requires_grad=True); (x * 2).backward(torch.ones(3))
x = torch.ones(2, requires_grad=True); (x * 2).sum().backward(); x.grad
x = torch.ones(2, requires_grad=True); torch.autograd.grad(x.sum(), torch.ones(2))
torch.ones(2).retain_grad()
torch.ones(2).register_hook(lambda g: g)
x = torch.ones(2, requires_grad=True); y = x.exp(); y += 1; y.sum().backward()
torch.ones(2).fill_(«torch.tensor(3)¦torch.ones(2)¦2.5¦True»)
~torch.ones(2).fill_("a")
torch.arange(3).fill_(2.7), torch.zeros(2).zero_(), torch.ones(2).copy_(torch.tensor(5)), torch.ones(2, 3).copy_(torch.arange(3)), torch.zeros(2, dtype=torch.int64).copy_(torch.tensor([1.7, 2.2]))
~torch.ones(2).copy_(torch.ones(3))
~torch.ones(2).copy_([1, 2])
torch.ones(2, 3).«view(4)¦reshape(4)¦view(-1, 4)¦sum(5)¦mean(2)¦max(7)¦softmax(3)¦squeeze(4)¦unsqueeze(5)¦transpose(0, 2)¦permute(0)¦expand(3)¦expand(4, 4)¦flatten(3)¦chunk(0)¦split(0)¦narrow(0, 1, 5)¦select(0, 4)¦index_select(0, torch.tensor([0, 1.5]))¦cumsum(2)¦sort(2)¦topk(9)¦argmax(3)¦unbind(2)¦flip(2)¦roll(1, 2)¦repeat(2)¦std(4)¦norm(dim=3)¦diagonal(0, 0, 2)¦stride(2)¦size(2)¦gather(2, torch.zeros(1, 1, dtype=torch.int64))»
torch.ones(2, 3).«foo¦Foo()¦shape = 1»
torch.ones(2)(3)
torch.zeros(2, 3) @ torch.zeros(2, 3)
torch.cat([torch.zeros(2, 3), torch.zeros(2, 4)])
torch.stack([torch.zeros(2), torch.zeros(3)])
torch.mm(torch.zeros(2), torch.zeros(2, 2))
torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 5))
~torch.«sum¦mean¦max¦reshape¦cat¦stack¦matmul¦exp¦softmax¦transpose¦unsqueeze¦flatten¦argmax¦sort¦cumsum¦where¦mm¦squeeze¦permute¦clone¦std¦topk¦gather¦zeros_like¦masked_fill¦tril¦flip¦unique¦split¦chunk¦dot»("abc")
~torch.«sum¦mean¦max¦exp¦argmax¦sort¦squeeze¦clone¦std¦zeros_like¦tril¦unique»([1.0, 2.0])
~torch.«reshape([1, 2], (2,))¦transpose([1], 0, 1)¦unsqueeze([1], 0)¦softmax([1.0], 0)¦matmul([1.0], [1.0])¦matmul(torch.ones(2), [1.0, 2.0])¦mm(1, 2)¦flatten(3)¦topk([1], 1)¦cumsum([1], 0)¦where([True], 1, 2)¦clamp([1], 0)¦permute([1], (0,))¦gather([1], 0, [0])¦index_select([1], 0, [0])¦masked_select([1], [True])¦chunk([1], 1)¦flip([1], (0,))¦dot([1], [1])¦bmm(1, 2)¦repeat_interleave([1], 2)¦narrow([1], 0, 0, 1)»
~torch.ones(2).sum(foo=1)
~torch.zeros(2, 3, foo=1)
~torch.ones(2).view("a")
~torch.arange(3).float(1, 2, 3)
x = torch.rand(3, requires_grad=True); y = x * 2; y.is_leaf, x.is_leaf, y.grad_fn.name(), y.requires_grad, y.detach().requires_grad, y.detach().grad_fn
type(torch.ones(1)).__name__, torch.Tensor.__module__.split(".")[0] in ("torch", "rushlight"), isinstance(torch.ones(1), torch.Tensor), torch.typename(torch.ones(1))
torch.ones(2).shape == (2,), torch.ones(2).shape == torch.Size([2]), torch.ones(2).dtype == torch.float32, torch.ones(2).dtype is torch.float, torch.ones(2).layout, torch.ones(2).is_sparse, torch.ones(2).is_quantized
str(torch.ones(2, 2)), repr(torch.zeros(0)), repr(torch.tensor(1)), repr(torch.ones(2, dtype=torch.float64)), repr(torch.tensor([1e10, 1.0])), repr(torch.tensor([[1.5, nan], [inf, -2]])), repr(torch.arange(2000)), repr(torch.ones(2, requires_grad=True)), repr(torch.ones(2, requires_grad=True) * 2), repr(torch.tensor([1+2j])), repr(torch.zeros(2, 0)), repr(torch.tensor([True])), repr(torch.tensor(2, dtype=torch.int32))
repr(torch.rand(100, 100) > 2), repr(torch.arange(12).view(2, 2, 3)), repr(torch.linspace(0, 1, 7)), repr(torch.tensor([0.00001, 1.0])), repr(torch.tensor([123456789.0])), repr(torch.tensor([-1.0, 2.5]))
x = torch.ones(2, 3); x.new_tensor([1.0]).requires_grad, x.is_same_size(torch.zeros(2, 3)), x.is_set_to(x), x.apply_(lambda v: v + 1), x.map_(torch.ones(2, 3), lambda a, b: a - b)
torch.ones(2).share_memory_() is None, torch.ones(2).is_pinned(), torch.ones(2).is_inference(), torch.ones(2).is_conj(), torch.ones(2).resolve_conj()
torch.get_num_threads() > 0, torch.__version__ is not None, torch.e, torch.pi, torch.inf, torch.newaxis
torch.is_grad_enabled(), torch.get_printoptions is not None if hasattr(torch, "get_printoptions") else True
""")


@pytest.mark.parametrize("program", PROGRAMS)
def test_same_as_pytorch(program: str) -> None:
    agree(program)


def test_recorded_results_without_pytorch() -> None:
    torch = rushlight
    assert repr(torch.tensor([1.5, float("nan")])) == "tensor([1.5000,    nan])"
    assert (torch.tensor([7, -7]) // 2).tolist() == [3, -4]
    assert torch.tensor([7, -7]).fmod(2).tolist() == [1, -1]
    assert (torch.tensor([250], dtype=torch.uint8) + 10).tolist() == [4]
    assert torch.result_type(torch.tensor([1]), 2.5) is torch.float32
    assert (torch.ones(1, dtype=torch.float16) + torch.ones(1, dtype=torch.bfloat16)).dtype is torch.float32
    assert (torch.tensor(1.0, dtype=torch.float64) * torch.ones(1)).dtype is torch.float32
    with pytest.raises(RuntimeError, match="Negation, the `-` operator, on a bool tensor is not supported"):
        -torch.tensor([True])
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output type Long"):
        x = torch.arange(3)
        x += 0.5
    with pytest.raises(NotImplementedError, match="\"bitwise_and_cpu\" not implemented for 'Float'"):
        torch.ones(2) & torch.ones(2)
    with pytest.raises(RuntimeError, match=r"The size of tensor a \(3\) must match the size of tensor b \(2\)"):
        torch.ones(2, 3) + torch.ones(2)
    with pytest.raises(TypeError, match=r"sum\(\): argument 'input' \(position 1\) must be Tensor, not list"):
        torch.sum([1, 2])


def test_memory_is_shared_with_numpy() -> None:
    array = np.arange(4.0)
    tensor = rushlight.from_numpy(array)
    tensor[0] = 9
    tensor.numpy()[1] = 8
    rushlight.from_dlpack(array)[2] = 7
    assert array.tolist() == [9, 8, 7, 3]


def test_copies_keep_views_views() -> None:
    x = rushlight.arange(4.0)
    whole, part = copy.deepcopy((x, x[1:3]))
    whole[1] = 9
    assert part.tolist() == [9, 2]
    assert x.tolist() == [0, 1, 2, 3]
    assert pickle.loads(pickle.dumps(x[1:3])).tolist() == [1, 2]
