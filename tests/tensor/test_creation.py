"""Making tensors: every form of arguments, side by side with PyTorch."""

import pytest

from tests.tensor.side_by_side import agree, lines

PROGRAMS = lines("""
# tensor and as_tensor
torch.«tensor¦as_tensor»(«3¦3.5¦True¦1j¦[]¦[[]]¦[[], []]¦[1, 2]¦[1, 2.5]¦[True, 2]¦[1, True, 1.5]¦[[1, 2], [3, 4]]¦((1, 2), (3, 4))¦[1, 2j]¦2**40¦-0.0¦nan¦[inf, -inf, nan]¦range(3)»)
torch.tensor(«[1, 2]¦[1.5, 2.5]¦3¦True¦[True, False]», dtype=torch.«float32¦float64¦int64¦int32¦uint8¦int8¦int16¦bool¦float16¦bfloat16¦complex64¦complex128»)
torch.tensor(np.«arange(3)¦arange(3.0)¦float32(2.5)¦float64(2.5)¦int32(3)¦array([True])¦array(2.5)¦arange(6).reshape(2, 3)¦arange(6).reshape(2, 3).T¦arange(4)[::-1]¦array([1, 2], np.uint8)¦array([1, 2], np.float16)¦array([1+2j], np.complex64)¦array([[1.5]], '>f8')»)
torch.tensor([np.«float32(1)¦float64(1)¦int64(1)», np.«float32(1)¦int64(1)»])
torch.tensor([torch.tensor(1), torch.tensor(2.5)])
torch.tensor([torch.tensor(1), 2])
torch.tensor(torch.arange(3))
torch.tensor([[1.0, 2.0]], requires_grad=True)
torch.tensor(1.0, device="cpu").device
torch.tensor([1, 2], dtype=torch.float32, requires_grad=True)
torch.tensor([1, 2], requires_grad=True)
torch.tensor(«None¦"a"¦["a"]¦[None]¦{}¦object¦[[1], 2]¦[1, [2]]¦[[1, 2], [3]]¦[[1], [2, 3]]¦[[[1], [2]], [[3], [4, 5]]]¦{1, 2}¦[1, "a"]¦np.array(["a"])¦np.array([None])¦2**64¦[2**63]¦b"ab"¦[b"ab"]»)
torch.tensor()
torch.tensor(1, 2)
torch.tensor([300], dtype=torch.uint8)
torch.tensor([-1], dtype=torch.uint8)
torch.tensor([200], dtype=torch.int8)
torch.tensor(2.7, dtype=torch.int64)
torch.tensor(-2.7, dtype=torch.int64)
torch.tensor([1e300])
torch.tensor(1j, dtype=torch.float32)
torch.as_tensor(np.arange(3.0), dtype=torch.float32)
a = np.arange(3.0); t = torch.«as_tensor¦from_numpy¦asarray»(a); t[0] = 9; a
a = np.arange(3.0); t = torch.tensor(a); t[0] = 9; a
a = torch.arange(3); torch.as_tensor(a) is a
a = torch.arange(3); torch.as_tensor(a, dtype=torch.int64) is a
torch.asarray([1.0, 2.0], dtype=torch.float64, requires_grad=True)
a = torch.arange(3); b = torch.asarray(a, copy=True); b[0] = 7; a
torch.from_numpy(np.«float64(2)¦array(2.5)¦zeros((0, 3))¦arange(6).reshape(2, 3).T¦arange(8)[::2]¦array(["a"])¦arange(4)[::-1]¦zeros(2, np.float16)¦zeros(2, np.uint16)¦zeros(2, bool)¦zeros(2, np.complex64)¦zeros(2, ">f4")¦broadcast_to(np.arange(3), (2, 3))»)
torch.from_numpy([1, 2])
torch.from_numpy(np.arange(10))[3:]
torch.from_numpy(np.arange(10)[3:])
torch.from_numpy(np.arange(12).reshape(3, 4)[1:, ::2])
torch.frombuffer(bytearray(b"\\x01\\x02\\x03\\x04"), dtype=torch.uint8)
torch.frombuffer(bytearray(8), dtype=torch.int32, count=1, offset=4)
torch.scalar_tensor(3)
torch.scalar_tensor(3, dtype=torch.int64)
# filled
torch.«zeros¦ones»(«2, 3¦(2, 3)¦[2, 3]¦torch.Size([2, 3])¦3¦()¦0¦0, 3¦2, 0, 3¦size=(2, 2)¦torch.tensor(2), 3¦np.int64(2)»)
torch.«zeros¦ones»(2, dtype=torch.«int64¦bool¦float16¦bfloat16¦complex64¦uint8»)
torch.zeros()
torch.zeros(2, 3, requires_grad=True)
torch.zeros(2, requires_grad=True, dtype=torch.int64)
torch.«zeros¦empty¦ones»(-1)
torch.zeros(2, -3)
~torch.zeros(«2.5¦"a"¦None¦[2.5]¦2, "a"»)
torch.zeros(2, out=torch.ones(2, dtype=torch.int32))
torch.empty(2, 3).shape, torch.empty((4,)).dtype, torch.empty(0)
torch.empty(2, 3, 4, 5, memory_format=torch.channels_last).stride()
torch.full(«(2, 2)¦[3]¦()¦(0,)¦torch.Size([1])», «1¦2.5¦True¦1j¦torch.tensor(4)»)
torch.full((2,), «1¦2.7¦True», dtype=torch.«float32¦int64¦bool¦float16»)
~torch.full((2,), "a")
torch.full((2,), 7, out=torch.zeros(2))
torch.«zeros_like¦ones_like»(torch.arange(6).view(2, 3)«¦.t()¦[:, ::2]¦.double()¦.bool()¦[:0]»)
torch.«zeros_like¦ones_like»(torch.arange(3.0, requires_grad=True))
torch.ones_like(torch.arange(3), dtype=torch.float64, requires_grad=True)
torch.zeros_like(torch.arange(24).view(2, 3, 4).permute(2, 0, 1))
torch.zeros_like(torch.arange(3).expand(4, 3))
torch.ones_like(torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)).stride()
torch.full_like(torch.arange(3), «2¦2.5¦True»)
torch.full_like(torch.arange(3.0), 2, dtype=torch.int32)
torch.empty_like(torch.zeros(2, 3).t()).stride()
~torch.zeros_like([1, 2])
torch.empty_strided((2, 3), (1, 2)).stride()
torch.eye(«3¦2, 3¦3, 2¦0¦1, 1»)
torch.eye(2, dtype=torch.«int64¦bool¦float16¦complex64»)
~torch.eye(-1)
torch.eye(2, out=torch.zeros(2, 2, dtype=torch.int64))
# sequences
torch.arange(«5¦0¦5.0¦2.5¦1, 5¦1, 5, 2¦5, 1, -1¦5, 1, -2¦0, 1, 0.25¦1, 2.5, 0.5¦0, 1, 0.1¦-3, 3¦torch.tensor(3)¦torch.tensor(2.5)¦1.0, 4¦start=1, end=4¦start=1, end=10, step=3¦end=3¦True»)
torch.arange(5, dtype=torch.«float32¦float64¦int32¦uint8¦float16¦bfloat16¦int8»)
torch.arange(0, 2, 0.3, dtype=torch.«float32¦float64¦float16¦bfloat16»)
torch.arange(1, 4, requires_grad=True, dtype=torch.float32)
torch.arange(5, out=torch.empty(0, dtype=torch.int64))
torch.arange(«5, 1¦0, 3, 0¦1, 5, -1¦0, inf¦0, nan»)
~torch.arange(«¦"a"¦None»)
torch.arange(10, 0, -3.0)
torch.arange(0.1, 1.05, 0.1)
torch.linspace(«0, 1, 5¦0, 1, 1¦3, 3, 4¦0, 1, 0¦1, -1, 6¦-3, 10, 7¦0, 10, steps=3¦1j, 2, 3¦torch.tensor(0.0), torch.tensor(1.0), 3»)
torch.linspace(0, 10, 5, dtype=torch.«int64¦float64¦float16¦bfloat16¦int32¦complex64»)
torch.linspace(0, 1, -1)
~torch.linspace(0, 1)
torch.linspace(0, 1, 3, requires_grad=True)
torch.logspace(«0, 2, 3¦-2, 2, 5¦0, 3, 4, 2¦1, 1, 1¦0, 1, 0¦0, 2, steps=3, base=3.0»)
torch.logspace(0, 3, 4, base=2, dtype=torch.«float64¦int64¦float16»)
torch.range(1, 4)
torch.range(0, 2, 0.5)
torch.tril_indices(«3, 3¦2, 4, 1¦3, 2, -1»)
torch.triu_indices(«3, 3¦2, 4, 1¦3, 2, -1»)
torch.combinations(torch.arange(4)«¦, 3¦, 2, True¦, r=1»)
torch.vander(torch.tensor([1, 2, 3])«¦, 2¦, N=4, increasing=True»)
torch.cartesian_prod(torch.tensor([1, 2]), torch.tensor([4, 5, 6]))
torch.«hann_window¦hamming_window¦blackman_window¦bartlett_window¦kaiser_window»(«5¦6¦1¦6, False¦6, periodic=True»)
torch.complex(torch.tensor([1.0]), torch.tensor([2.0]))
torch.polar(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 1.5]))
torch.meshgrid(torch.arange(2), torch.arange(3), indexing="«ij¦xy»")
torch.meshgrid([torch.arange(2), torch.arange(2)])
torch.block_diag(torch.ones(2, 2), torch.zeros(1, 2), torch.tensor(3.0))
# like an own one
torch.arange(3).new_«zeros(2, 2)¦ones((2,))¦full((2,), 3)¦tensor([1.5, 2])¦zeros(2, dtype=torch.float64)¦ones(2, dtype=torch.float32, requires_grad=True)¦full((2,), 2.5)»
torch.arange(3.0).new_«zeros(2, 2)¦tensor([1, 2])¦tensor(3)¦tensor([[True]])¦full((1,), 3)»
torch.arange(3.0).new_empty(2, 3).shape
torch.arange(3.0).new(2, 3).shape
torch.arange(3.0).new([1, 2])
# legacy
torch.«Tensor¦FloatTensor¦DoubleTensor¦LongTensor¦IntTensor¦ByteTensor¦BoolTensor¦HalfTensor¦ShortTensor¦CharTensor¦BFloat16Tensor»(«[1, 2, 3]¦[[1, 0], [0, 1]]¦()¦[]¦np.array([1, 2])¦(1, 0)»)
torch.«Tensor¦FloatTensor¦LongTensor»(«2, 3¦torch.Size([2, 3])¦0¦2, 0»).shape
torch.«Tensor¦LongTensor»()
torch.Tensor([[1, 2], [3, 4]])
torch.Tensor(«3.5¦"a"¦None»)
torch.LongTensor([1.7, 2.2])
torch.FloatTensor(torch.tensor([1.0]))
torch.Tensor(torch.arange(3.0))
torch.Tensor(torch.tensor([1.5, 2])).dtype
torch.LongTensor(torch.arange(3))
isinstance(torch.arange(3), torch.«LongTensor¦FloatTensor¦Tensor¦BoolTensor»)
isinstance(torch.arange(3.0), (torch.FloatTensor, torch.DoubleTensor))
torch.FloatTensor.dtype
torch.LongTensor(2, 3).dtype
torch.Tensor.__name__, torch.FloatTensor.__name__
# default dtype
torch.set_default_dtype(torch.float64); r = (torch.zeros(2), torch.tensor(1.5), torch.arange(3.0), torch.tensor([1]) / 2, torch.tensor(1j), torch.linspace(0, 1, 3), torch.ones(1).float(), torch.tensor(True) + 1.5, repr(torch.zeros(1)), repr(torch.zeros(1).float()), torch.Tensor(2).dtype, torch.full((1,), 2.0), torch.eye(1), torch.result_type(torch.tensor(1), 1.0)); torch.set_default_dtype(torch.float32); r
torch.set_default_dtype(torch.float16); r = (torch.zeros(2), torch.tensor(1.5)); torch.set_default_dtype(torch.float32); r
torch.set_default_dtype(torch.bfloat16); r = (torch.zeros(2), torch.tensor(1.5), torch.tensor([1]) / 3, repr(torch.ones(1))); torch.set_default_dtype(torch.float32); r
torch.set_default_dtype(«torch.int64¦torch.bool¦"float32"¦None¦1»)
torch.get_default_dtype()
torch.set_default_tensor_type(torch.DoubleTensor); r = torch.zeros(1).dtype; torch.set_default_tensor_type("torch.FloatTensor"); r, torch.zeros(1).dtype
# devices
torch.device("«cpu¦cuda¦cuda:1¦cuda:0¦mps¦meta¦cpu:0¦cpx¦cuda:-1¦cuda:a¦»")
torch.device("cuda", 1).index, torch.device("cuda").index, torch.device("cuda", 1).type
torch.device(«type="cpu"¦type="cuda", index=2¦torch.device("cpu")»)
torch.device("cpu") == torch.device("cpu"), torch.device("cpu") == "cpu", torch.device("cuda:0") == torch.device("cuda")
str(torch.device("cuda:1")), repr(torch.device("cpu")), hash(torch.device("cpu")) == hash(torch.device("cpu"))
torch.zeros(1, device="cpu").device == torch.device("cpu")
torch.zeros(1).to("cpu").device.type
~torch.zeros(1, device="cuda")
~torch.zeros(1).«cuda()¦to("cuda")¦to("cuda:1")¦to(torch.device("cuda"))»
torch.cuda.is_available(), torch.cuda.device_count()
torch.zeros(1).is_cuda, torch.zeros(1).get_device()
~torch.zeros(1, device="nope")
pickle.loads(pickle.dumps(torch.device("cuda:1")))
# dtypes
repr(torch.«float32¦int64¦bool¦bfloat16¦complex64¦uint8»), torch.«float¦double¦half¦long¦int¦short¦cfloat»
torch.«float32¦int64¦bool¦bfloat16¦complex64¦uint8».«itemsize¦is_floating_point¦is_complex¦is_signed¦to_complex()¦to_real()»
torch.finfo(torch.«float16¦bfloat16¦float32¦float64¦complex64»).«eps¦max¦min¦tiny¦smallest_normal¦resolution¦bits¦dtype»
repr(torch.finfo(torch.«float16¦bfloat16¦float32¦float64»)), repr(torch.iinfo(torch.int32))
torch.iinfo(torch.«uint8¦int8¦int16¦int32¦int64»).«max¦min¦bits¦dtype»
torch.finfo().dtype
torch.finfo(torch.«int64¦bool»)
torch.iinfo(torch.«float32¦bool»)
torch.promote_types(torch.«uint8¦int8¦bool¦int64», torch.«float16¦int16¦uint8¦complex64»)
torch.can_cast(torch.«double¦int¦bool¦uint8¦float», torch.«float¦int¦long¦bool¦int8¦complex64»)
torch.result_type(«torch.tensor([1, 2])¦torch.tensor(1)¦torch.tensor([1.0], dtype=torch.float64)¦1», «1¦1.0¦True¦1j¦torch.tensor(1.5, dtype=torch.float64)»)
pickle.loads(pickle.dumps(torch.float32)) is torch.float32
copy.copy(torch.int64) is torch.int64, copy.deepcopy({1: torch.bool})[1] is torch.bool
torch.is_tensor(torch.zeros(1)), torch.is_tensor([1]), torch.is_floating_point(torch.zeros(1)), torch.is_complex(torch.zeros(1)), torch.is_nonzero(torch.tensor(1)), torch.numel(torch.zeros(2, 3))
# Size
torch.Size([2, 3]), repr(torch.Size([2, 3])), str(torch.Size([])), torch.Size((1,))
torch.Size([2, 3]).numel(), torch.Size([2, 3])[0], torch.Size([2, 3, 4])[1:], torch.Size([2]) + (3,), torch.Size([2]) * 2
(1,) + torch.Size([2])
torch.Size([2, 3]) == (2, 3), torch.Size([2, 3]) == [2, 3], hash(torch.Size([2])) == hash((2,)), len(torch.Size([1, 2])), list(torch.Size([1, 2]))
torch.zeros(2, 3).shape, torch.zeros(2, 3).size(), torch.zeros(2, 3).size(-1), torch.zeros(2, 3).size(dim=0)
torch.zeros(2, 3).size(«2¦-3»)
torch.zeros(()).size(0)
pickle.loads(pickle.dumps(torch.Size([2, 3])))
copy.deepcopy(torch.Size([2]))
""")


@pytest.mark.parametrize("program", PROGRAMS)
def test_same_as_pytorch(program: str) -> None:
    agree(program)
