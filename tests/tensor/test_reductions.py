"""Reductions, sorting, counting, joining and products."""

import pytest

from tests.tensor.side_by_side import agree, compare, lines

BASES = (
    "torch.tensor([[3.0, -1.0, 2.0], [0.5, 4.0, -2.0]])", "torch.tensor([[3, -1, 2], [0, 4, 4]])", "torch.tensor([[1, 0, 200]], dtype=torch.uint8)",
    "torch.tensor([[True, False], [True, True]])", "torch.tensor([[1.0, nan], [inf, 2.0]])", "torch.zeros(0, 3)", "torch.zeros(2, 0)",
    "torch.tensor(3.0)", "torch.tensor(2)", "torch.arange(24.0).view(2, 3, 4).transpose(0, 2)",
    "torch.tensor([0.1, 0.7, 0.2], dtype=torch.bfloat16)", "torch.tensor([1+2j, 3-1j])", "torch.arange(6, dtype=torch.int32).view(2, 3)",
)  # fmt: skip
CALLS = lines("""
«sum¦mean¦prod¦max¦min¦amax¦amin¦argmax¦argmin¦all¦any¦std¦var¦median¦nansum¦nanmean¦count_nonzero¦norm¦logsumexp¦nanmedian¦aminmax¦mode¦unique»()
«sum¦mean¦prod¦max¦min¦amax¦amin¦argmax¦argmin¦all¦any¦std¦var¦median¦nansum¦count_nonzero¦logsumexp¦cumsum¦cumprod¦cummax¦cummin¦logcumsumexp¦sort¦argsort¦softmax¦log_softmax¦mode¦kthvalue¦topk»(«0¦1¦-1»)
«sum¦mean¦amax¦std¦all¦any¦max¦argmax¦median¦norm»(dim=0, keepdim=True)
«sum¦mean¦amax¦std¦var¦all¦any¦norm¦count_nonzero¦logsumexp»(dim=(0, 1))
«sum¦mean¦amax¦std»(dim=(-1,), keepdim=True)
«sum¦mean¦prod¦cumsum¦cumprod¦nansum»(«0, dtype=torch.float64¦0, dtype=torch.int64»)
«sum¦mean¦prod»(dtype=torch.float64)
«sum¦mean¦amax»(dim=())
«sum¦max¦std¦all¦cumsum¦argmax¦sort¦norm»(5)
«std¦var»(«unbiased=False¦correction=0¦correction=2¦0, False¦dim=0, unbiased=True, keepdim=True»)
norm(«1¦inf¦-inf¦0¦2, 0¦"fro"¦3¦"nuc"¦p=1, dim=0»)
«sort¦argsort»(«descending=True¦0, True¦dim=-1, stable=True»)
topk(«2¦1, 0¦1, largest=False¦0¦9»)
kthvalue(«1¦2¦0¦9»)
«max¦min»(dim=-1)
diff()
unique(return_inverse=True, return_counts=True)
unique_consecutive()
""")
MORE = lines("""
torch.«sum¦mean¦max¦std»(torch.arange(6.0).view(2, 3), axis=1)
torch.«sum¦mean¦max¦std»(torch.arange(6.0).view(2, 3), «dim=1, keepdim=True¦1, True»)
torch.sum(torch.arange(6.0).view(2, 3), keepdim=True, dim=0, out=torch.zeros(0))
torch.sum(input=torch.ones(3)), torch.mean(input=torch.ones(3), dim=0)
torch.max(torch.arange(3.0), torch.tensor([2.0, 0, 5])), torch.min(torch.arange(3), torch.tensor([2.0, 0, 5]))
tuple(torch.max(torch.arange(6.0).view(2, 3), 1, out=(torch.zeros(0), torch.zeros(0, dtype=torch.int64))))
torch.max(torch.tensor([1.0, 5.0, 5.0]), 0), torch.min(torch.tensor([5, 1, 1]), 0), torch.argmax(torch.tensor([1.0, 5.0, 5.0])), torch.argmin(torch.tensor([5, 1, 1]))
m = torch.arange(6.0).view(2, 3).max(1); m.values, m.indices, m[0], repr(m)
v, i = torch.arange(6.0).sort(descending=True); v, i
repr(torch.arange(3).topk(2)), repr(torch.arange(4).median(0)), repr(torch.arange(4).aminmax()), repr(torch.arange(4).cummax(0))
torch.sort(torch.tensor([3, 1, 2, 1]), stable=True), torch.sort(torch.tensor([nan, 1.0, -inf])), torch.argsort(torch.tensor([2.0, nan, 1.0]), descending=True), torch.msort(torch.tensor([[2, 1], [1, 3]]))
torch.sort(torch.tensor([True, False, True])), tuple(torch.sort(torch.tensor([2, 1]), 0, out=(torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))))
torch.topk(torch.tensor([1.0, 9.0, 3.0, 7.0]), 2, sorted=True), torch.topk(torch.tensor([[1, 5, 2], [8, 3, 9]]), 2, dim=1, largest=False)
torch.median(torch.tensor([1.0, 2, 3, 4])), torch.median(torch.tensor([[1.0, 5, 3], [2, 8, 4]]), 1), torch.median(torch.tensor([1.0, nan])), torch.nanmedian(torch.tensor([1.0, nan]))
torch.mode(torch.tensor([1, 2, 2, 3, 3])), torch.kthvalue(torch.tensor([3.0, 1, 2]), 2), torch.quantile(torch.tensor([1.0, 2, 3, 4]), 0.5), torch.quantile(torch.arange(6.0).view(2, 3), torch.tensor([0.25, 0.75]), dim=1)
torch.quantile(torch.arange(5.0), 0.3, interpolation="«lower¦higher¦nearest¦midpoint¦linear»"), torch.nanquantile(torch.tensor([1.0, nan, 3.0]), 0.5)
torch.unique(torch.tensor([3, 1, 2, 1])), torch.unique(torch.tensor([[1, 2], [1, 2], [0, 2]]), dim=0), torch.unique(torch.tensor([2.0, 1, 2]), return_counts=True), torch.unique(torch.tensor([1, 3, 1]), sorted=True, return_inverse=True)
torch.unique_consecutive(torch.tensor([1, 1, 2, 2, 1]), return_inverse=True, return_counts=True)
torch.bincount(torch.tensor([1, 0, 1, 3])), torch.bincount(torch.tensor([1, 0]), minlength=5), torch.bincount(torch.tensor([1, 0, 1]), weights=torch.tensor([0.5, 1, 2])), torch.bincount(torch.tensor([], dtype=torch.int64))
torch.bincount(«torch.tensor([-1])¦torch.zeros(2, 2, dtype=torch.int64)»)
torch.histc(torch.tensor([1.0, 2, 1]), bins=4, min=0, max=3), torch.histc(torch.tensor([1.0, 2, 1, 5]), 3), torch.histogram(torch.tensor([1.0, 2, 1]), bins=4, range=(0.0, 3.0))
torch.searchsorted(torch.tensor([1, 3, 5]), torch.tensor([0, 3, 6])), torch.searchsorted(torch.tensor([1, 3, 5]), 3, right=True), torch.searchsorted(torch.tensor([[1, 3], [2, 4]]), torch.tensor([[2], [3]])), torch.bucketize(torch.tensor([1, 4]), torch.tensor([1, 3, 5])), torch.bucketize(torch.tensor([1, 4]), torch.tensor([1, 3, 5]), right=True)
torch.cumsum(torch.tensor([True, True]), 0), torch.cumsum(torch.tensor([1, 2], dtype=torch.int8), 0), torch.cumprod(torch.tensor([1.0, 2, 3]), 0), torch.cummax(torch.tensor([1, 3, 2]), 0), torch.diff(torch.tensor([1, 4, 9])), torch.diff(torch.tensor([1, 4, 9]), n=2), torch.diff(torch.tensor([1, 4]), prepend=torch.tensor([0]))
torch.var_mean(torch.arange(4.0)), torch.std_mean(torch.arange(6.0).view(2, 3), dim=1), torch.cov(torch.tensor([[1.0, 2, 4], [3, 1, 0]])), torch.corrcoef(torch.tensor([[1.0, 2, 4], [3, 1, 0]])), torch.trace(torch.arange(9.0).view(3, 3)), torch.trace(torch.arange(4).view(2, 2))
torch.std(torch.tensor([1.0])), torch.var(torch.tensor([])), torch.mean(torch.tensor([])), torch.sum(torch.tensor([])), torch.prod(torch.tensor([])), torch.median(torch.tensor([])), torch.all(torch.tensor([])), torch.any(torch.tensor([]))
torch.«max¦min¦argmax¦argmin¦amax¦amin¦mode»(torch.tensor([]))
torch.zeros(0, 3).«max(0)¦argmax(0)¦amax(0)¦median(0)¦max(1)¦argmax(1)¦sum(0)¦mean(0)¦prod(0)¦sort(0)¦cumsum(0)¦mode(0)¦topk(1, 0)»
torch.«mean¦std¦var¦median¦norm¦softmax¦logsumexp»(torch.arange(3)), 1
torch.arange(3).«mean()¦std()¦var()¦softmax(0)¦norm()¦logsumexp(0)¦log_softmax(0)¦mean(dtype=torch.float32)¦softmax(0, dtype=torch.float32)¦quantile(0.5)»
torch.sum(torch.ones(2, 3), «2¦-3¦(0, 0)¦(0, 2)»)
~torch.sum(torch.ones(2, 3), «"a"¦1.5»)
torch.trapezoid(torch.tensor([[1.0, 2, 4], [0, 1, 5]]), «dx=0.5¦torch.tensor([0.0, 1, 3])¦dim=0»), torch.cumulative_trapezoid(torch.tensor([1.0, 2, 4]), torch.tensor([0.0, 1, 3]))
torch.gradient(torch.arange(12.0).view(3, 4) ** 2, «spacing=2.0¦dim=1¦spacing=(torch.tensor([0.0, 1, 3]), torch.tensor([0.0, 2, 3, 5]))»)
torch.nanquantile(torch.tensor([[1.0, nan, 3], [4, 5, 6]]), «0.5¦0.5, dim=1¦torch.tensor([0.0, 0.3]), dim=1¦0.5, dim=0, keepdim=True»)
tuple(torch.frexp(torch.tensor([1.0, 5.0, -0.3]))), torch.unravel_index(torch.tensor([1, 5]), (2, 3)), torch.tensor([[0, 1], [2, 0]]).nonzero_static(size=3)
torch.ones(3, 2).index_reduce(0, torch.tensor([0, 0]), torch.full((2, 2), 3.0), "«prod¦amax¦mean»"), torch.zeros(2).put(torch.tensor([1]), torch.tensor([4.0])), torch.fill(torch.zeros(2), 3), torch.permute_copy(torch.ones(2, 3), (1, 0)), torch.zeros(2, 2).addr_(torch.ones(2), torch.ones(2)), torch.zeros(2).addmv_(torch.ones(2, 2), torch.ones(2)), torch.as_strided_scatter(torch.zeros(4), torch.ones(2), (2,), (2,))
torch.isin(torch.tensor([1, 2, 3]), torch.tensor([2, 3])), torch.isin(torch.tensor([1, 2]), 2)
torch.dist(torch.ones(3), torch.zeros(3)), torch.dist(torch.ones(3), torch.zeros(3), 1), torch.renorm(torch.ones(2, 3), 2, 0, 1.0)
torch.cdist(torch.arange(6.0).view(3, 2), torch.ones(2, 2)), torch.cosine_similarity(torch.tensor([[1.0, 2]]), torch.tensor([[2.0, 1]])), torch.pairwise_distance(torch.ones(1, 2), torch.zeros(1, 2))
torch.trapezoid(torch.tensor([1.0, 2, 3])), torch.cumulative_trapezoid(torch.tensor([1.0, 2, 3])), torch.logsumexp(torch.tensor([1.0, 2]), 0)
torch.count_nonzero(torch.tensor([[1, 0], [2, 3]])), torch.count_nonzero(torch.tensor([[1, 0], [2, 3]]), dim=0), torch.nansum(torch.tensor([1.0, nan])), torch.nanmean(torch.tensor([1.0, nan, 3]))
torch.gradient(torch.tensor([1.0, 2, 4, 8])), torch.cross(torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), dim=0), torch.kron(torch.eye(2), torch.ones(1, 2))
# products
torch.matmul(torch.«ones(3)¦ones(2, 3)¦ones(4, 2, 3)¦ones(5, 1, 2, 3)», torch.«ones(3)¦ones(3, 2)¦ones(4, 3, 2)¦ones(1, 4, 3, 2)»)
torch.ones(2, 3) @ torch.ones(«2, 3¦2»), 1
~torch.matmul(torch.ones(2, 3), torch.ones(3, dtype=torch.float64))
torch.ones(2, 3) @ torch.ones(3, 2, dtype=torch.«float64¦int64¦float16»)
torch.arange(4).view(2, 2) @ torch.arange(2), torch.arange(4, dtype=torch.uint8).view(2, 2) @ torch.full((2, 2), 200, dtype=torch.uint8)
torch.tensor(2.0) @ torch.ones(2)
torch.mm(torch.ones(2, 3), torch.ones(«3, 1¦2, 2¦3»)), 1
torch.«mv(torch.ones(2, 3), torch.ones(3))¦mv(torch.ones(2, 3), torch.ones(2))¦dot(torch.ones(3), torch.ones(3))¦dot(torch.ones(3), torch.ones(2))¦dot(torch.ones(2, 2), torch.ones(2))¦outer(torch.arange(2), torch.arange(3))¦ger(torch.ones(2), torch.ones(3))¦inner(torch.ones(2, 3), torch.ones(4, 3))¦bmm(torch.ones(2, 3, 4), torch.ones(2, 4, 5))¦bmm(torch.ones(2, 3, 4), torch.ones(3, 4, 5))¦bmm(torch.ones(2, 3), torch.ones(2, 3))¦vdot(torch.tensor([1j, 2]), torch.tensor([1j, 1]))¦chain_matmul(torch.ones(2, 3), torch.ones(3, 4), torch.ones(4, 1))»
torch.addmm(torch.ones(2, 2), torch.ones(2, 3), torch.ones(3, 2), beta=0.5, alpha=2), torch.addmm(torch.ones(2), torch.ones(2, 3), torch.ones(3, 2)), torch.addmv(torch.ones(2), torch.ones(2, 3), torch.ones(3)), torch.addr(torch.zeros(2, 3), torch.ones(2), torch.ones(3)), torch.baddbmm(torch.ones(2, 2, 2), torch.ones(2, 2, 3), torch.ones(2, 3, 2)), torch.addbmm(torch.ones(2, 2), torch.ones(2, 2, 3), torch.ones(2, 3, 2))
torch.einsum("«ij,jk->ik¦ij->ji¦ij->¦ij->i¦ii->i¦ii¦ij,ij->ij¦bij,bjk->bik¦...ij->...ji¦i,j->ij¦ij,kj¦ij,j»", «torch.arange(9.0).view(3, 3)¦torch.arange(9.0).view(3, 3), torch.arange(9.0).view(3, 3)¦torch.arange(3.0), torch.arange(3.0)¦torch.ones(2, 3, 3), torch.ones(2, 3, 3)»)
torch.tensordot(torch.arange(6.0).view(2, 3), torch.arange(6.0).view(3, 2), «1¦dims=1¦dims=([1], [0])¦dims=0¦dims=([0, 1], [1, 0])»)
torch.linalg.norm(torch.arange(4.0)), torch.linalg.vector_norm(torch.arange(4.0), 1), torch.linalg.multi_dot([torch.ones(2, 3), torch.ones(3, 1)])
torch.ones(2, 3).addmm_(torch.ones(2, 1), torch.ones(1, 3)), torch.ones(3).dot(torch.ones(3)), torch.ones(2, 3).mm(torch.ones(3, 1)), torch.ones(2, 3).matmul(torch.ones(3))
torch.matmul(torch.ones(2, 0), torch.ones(0, 3)), torch.ones(0) @ torch.ones(0), torch.ones(0, 3) @ torch.ones(3)
torch.matmul(torch.ones(2, 2), torch.ones(2, 2), out=torch.zeros(2, 2)), torch.mm(torch.ones(2, 2), torch.ones(2, 2), out=torch.zeros(0)), torch.bmm(torch.ones(1, 2, 2), torch.ones(1, 2, 2), out=torch.zeros(1, 2, 2))
""")
DIFFERENT = {  # where only the text of the error, or the order of two errors, is another
    "torch.zeros(0, 3)": {"norm(inf)", "norm(-inf)", "aminmax()"},
    "torch.zeros(2, 0)": {"norm(inf)", "norm(-inf)", "aminmax()", "amax(-1)", "amin(-1)", "amax(dim=(0, 1))", "amax(dim=(-1,), keepdim=True)"},
    "torch.tensor([[1.0, nan], [inf, 2.0]])": {"mode(0)", "nansum(0, dtype=torch.int64)"},
}  # fmt: skip
SCALARS = {
    'norm("nuc")',
    "cummax(1)",
    "cummin(1)",
    "logcumsumexp(1)",
    "softmax(0)",
    "softmax(-1)",
    "log_softmax(0)",
    "log_softmax(-1)",
}


def calls_of(base: str) -> list[str]:
    skipped = DIFFERENT.get(base, set())
    if (
        base.startswith("torch.tensor(")
        and "[" not in base
        or "[[" not in base
        and "view" not in base
        and "zeros" not in base
    ):
        skipped = skipped | SCALARS
    if "j" in base:
        skipped = skipped | {"aminmax()", "std(correction=2)", "var(correction=2)"}
    return [c for c in CALLS if c not in skipped]


PROGRAMS = [f"{base}.{call}" for base in BASES for call in calls_of(base)] + MORE


@pytest.mark.parametrize("program", MORE)
def test_same_as_pytorch(program: str) -> None:
    agree(program, strides=False)


@pytest.mark.parametrize("base", BASES)
def test_reductions_of(base: str) -> None:
    torch = pytest.importorskip("torch")
    wrong = {}
    for call in calls_of(base):
        found = [line for line in compare(f"{base}.{call}", torch) if "stride" not in line]
        if found:
            wrong[call] = found[:2]
    assert not wrong
