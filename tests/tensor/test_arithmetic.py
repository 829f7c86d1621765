"""Operators: promotion over the table of dtypes, division and overflow of integers, in-place forms, refusals."""

import pytest

from tests.tensor.side_by_side import agree, compare, lines

DTYPES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"
)  # fmt: skip
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "==", "<", "&", "|", "^", "<<", ">>", "@")
SCALARS = (
    "3",
    "2.5",
    "True",
    "(1+2j)",
    "-2",
    "0",
    "torch.tensor(3)",
    "torch.tensor(2.5)",
    "np.float32(2)",
    "np.int64(2)",
    "np.float64(1.5)",
)
METHODS = (
    "add", "sub", "mul", "div", "floor_divide", "remainder", "fmod", "pow", "atan2", "maximum", "fmin", "eq", "logical_and",
    "bitwise_xor", "copysign", "hypot", "xlogy", "float_power", "gcd", "true_divide", "ldexp",
)  # fmt: skip
UNARY = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "sin", "cos", "tan", "asin", "acos", "atan",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "erfinv", "lgamma", "digamma", "sigmoid", "relu",
    "floor", "ceil", "trunc", "round", "frac", "sign", "sgn", "reciprocal", "square", "deg2rad", "rad2deg", "abs", "neg",
    "isnan", "isinf", "isfinite", "isposinf", "isneginf", "signbit", "logical_not", "bitwise_not", "angle", "conj",
    "conj_physical", "positive", "nan_to_num", "isreal", "i0", "sinc", "logit",
)  # fmt: skip
LEFT = "torch.tensor([1, 0, 1, 2]).to(torch.{})"
COMPLEX_LEFT = "torch.tensor([1, 3, 1, 2]).to(torch.{})"  # dividing by a complex 0 differs between C libraries
RIGHT = "torch.tensor([1, 1, 2, 3]).to(torch.{})"


def table() -> dict[str, list[str]]:
    """All programs of the promotion table, by left dtype."""
    programs: dict[str, list[str]] = {}
    for a in DTYPES:
        left = (COMPLEX_LEFT if "complex" in a else LEFT).format(a)
        rows = [f"{left} {op} {RIGHT.format(b)}" for op in OPERATORS for b in DTYPES]
        rows += [f"{left} {op} {s}" for op in OPERATORS[:-1] for s in SCALARS]
        rows += [f"{s} {op} {left}" for op in OPERATORS[:-1] for s in SCALARS]
        rows += [f"{left}[0] {op} torch.tensor(1).to(torch.{b})" for op in ("+", "/", "//") for b in DTYPES]
        rows += [
            f"x = {left}; x {op}= {RIGHT.format(b)}; x"
            for op in OPERATORS[:-1]
            if op not in ("==", "<")
            for b in DTYPES
        ]
        rows += [f"x = {left}; x {op}= {s}; x" for op in OPERATORS[:-1] if op not in ("==", "<") for s in SCALARS]
        rows += [f"{left}.{m}({RIGHT.format(b)})" for m in METHODS for b in ("int64", "float32", "uint8", a)]
        rows += [f"~torch.{m}({left})" for m in UNARY]
        # PyTorch has a complex32, which NumPy does not
        rows = [r for r in rows if not (a == "float16" and "(1+2j)" in r)]
        programs[a] = [
            r for r in rows if not (a == "bool" and r.endswith(("//= 0; x", "%= 0; x")))
        ]  # two errors at once
    return programs


PROGRAMS = lines("""
# integer division and remainder
torch.tensor([7, -7, 7, -7]) «//¦%¦/» torch.tensor([2, 2, -2, -2])
torch.tensor([7, -7, 7, -7]).«fmod¦remainder¦floor_divide»(torch.tensor([2, 2, -2, -2]))
torch.tensor([7, -7]).div(torch.tensor([2, 2]), rounding_mode=«None¦"floor"¦"trunc"¦"nearest"»)
torch.tensor([7.5, -7.5, 0.0, -0.0, inf, nan]) «//¦%¦/» torch.tensor([2.0, 2.0, 3.0, 3.0, 2.0, 1.0])
torch.tensor([7.5, -7.5, 1.0, 5.0, -5.0]).«fmod¦remainder¦floor_divide»(torch.tensor([2.0, -2.0, 0.0, inf, inf]))
torch.tensor([1, 0, -1]) «//¦%» «0¦torch.tensor(0)¦torch.tensor([0, 0, 0])»
torch.tensor([1, 0, -1]) / 0
torch.tensor([1.0, 0.0, -1.0]) «/¦//¦%» 0
torch.tensor([1, 2]).fmod(0)
«7¦-7¦7.5» «//¦%¦/¦-¦**» torch.tensor([2, 3])
torch.tensor([-2**63]) // -1
torch.tensor([250, 5], dtype=torch.uint8) «+¦-¦*¦//¦%¦/» «10¦torch.tensor([10, 10], dtype=torch.uint8)¦-1¦300»
-torch.tensor([1, 200], dtype=torch.uint8)
torch.tensor([127], dtype=torch.int8) + 1
torch.tensor([2**31 - 1], dtype=torch.int32) + 1
torch.tensor([2**62]) * 4
torch.tensor([2, -3]) ** torch.tensor([3, 2])
torch.tensor([2, 3]) ** «-1¦torch.tensor([-1, 2])¦0¦2.0¦0.5¦1j¦True»
torch.tensor([-8.0, 4.0]) ** «0.5¦2¦-1¦3.0¦torch.tensor([1/3, 0.5])»
torch.tensor([0, 1, 2], dtype=torch.int32) ** torch.tensor(2, dtype=torch.int64)
2 ** torch.tensor([1, 2, 3])
2.0 ** torch.tensor([1, -2])
torch.tensor(0.0) ** 0, torch.tensor(0) ** 0
True ** torch.tensor([True, False])
# bool
torch.tensor([True, False]) «+¦*¦/¦//¦%¦**¦-¦&¦^¦<» torch.tensor([True, True])
-torch.tensor([True]), 1
~torch.tensor([True, False])
~torch.tensor([1.0])
+torch.tensor([True])
~torch.tensor([1, -2, 0])
torch.tensor([True, False]) «+¦-¦*¦/» «1¦True¦2.5»
«1¦True¦2.5» «+¦-¦*¦/» torch.tensor([True, False])
torch.tensor([True]).«sub¦add»(torch.tensor([True]), alpha=«2¦True¦1.5»)
x = torch.tensor([True, False]); x «+=¦*=¦-=¦/=¦|=¦&=» torch.tensor([True, True]); x
# alpha, out
torch.tensor([1, 2]).«add¦sub»(torch.tensor([3, 4]), alpha=«2¦-1¦2.5¦True»)
torch.tensor([1.0, 2.0]).«add¦sub»(3, alpha=«2¦2.5»)
torch.«add¦sub¦rsub»(torch.tensor([1, 2]), 3, alpha=2)
torch.«add¦sub¦mul¦div¦maximum¦pow¦eq¦atan2¦remainder»(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0]), out=torch.zeros(2))
torch.«add¦div¦eq»(torch.tensor([1, 2]), torch.tensor([3, 5]), out=torch.zeros(2, dtype=torch.float64))
torch.add(torch.tensor([1.5, 2]), 1, out=torch.zeros(2, dtype=torch.«int64¦float16¦bool¦complex64»))
torch.add(torch.ones(2), 1j, out=torch.zeros(2))
out = torch.zeros(2); r = torch.add(torch.ones(2), 1, out=out); r is out
out = torch.zeros(0); torch.add(torch.ones(2), 1, out=out); out
out = torch.zeros(2, 4); torch.add(torch.ones(2, 2), 1, out=out[:, ::2]); out
torch.exp(torch.zeros(2), out=torch.zeros(2, dtype=torch.float64))
torch.exp(torch.zeros(2, requires_grad=True), out=torch.zeros(2))
~torch.add(torch.ones(2), 1, out=torch.zeros(2, requires_grad=True))
torch.exp(torch.zeros(2), out=torch.zeros(2, dtype=torch.int64))
# in place
x = torch.«arange(3)¦arange(3.0)»; x «+=¦-=¦*=¦/=¦//=¦%=¦**=» «2¦2.5¦torch.tensor(2.5)¦torch.tensor([1, 2, 3])»; x
x = torch.arange(3); y = x; y += 1; x is y, x
x = torch.zeros(2, 3); x += torch.ones(3); x
x = torch.zeros(3); x += torch.ones(2, 3); x
x = torch.zeros(1, 3).expand(2, 3); x += 1; x
x = torch.zeros(3); x[:2] += 1; x
x = torch.arange(3); x.add_(1.5)
x = torch.arange(3.0); x.add_(torch.ones(3), alpha=2)
x = torch.arange(3.0); x.«mul_(2)¦div_(2)¦sub_(1)¦pow_(2)¦clamp_(1, 2)¦neg_()¦exp_()¦sqrt_()¦zero_()¦fill_(3)¦floor_()¦round_()¦abs_()¦sigmoid_()¦lerp_(torch.ones(3), 0.5)¦addcmul_(torch.ones(3), torch.ones(3), value=2)¦addcdiv_(torch.ones(3), torch.ones(3))¦remainder_(2)¦clamp_min_(1)¦relu_()¦copysign_(-1)¦fmod_(2)¦floor_divide_(2)¦logical_not_()¦eq_(1)¦gt_(1)»; x
x = torch.arange(3); x.«mul_(2)¦div_(2)¦sqrt_()¦exp_()¦neg_()¦clamp_(0, 1)¦floor_()¦sigmoid_()¦reciprocal_()¦pow_(2)¦abs_()¦sign_()¦bitwise_and_(1)¦lt_(2)¦floor_divide_(2)¦div_(2, rounding_mode="floor")»
x = torch.arange(3, dtype=torch.uint8); x -= 1; x
x = torch.arange(3.0)[1]; x += 5; x
x = torch.arange(3.0); x.T.mul_(2); x
x = torch.arange(6.0).view(2, 3); x.t().add_(torch.arange(3.0)[:, None]); x
x = torch.arange(4.0); x[1:] += x[:-1]; x
x = torch.arange(4.0); x[1:].copy_(x[:-1].clone()); x
# numbers and comparisons
torch.tensor([1, 2, 3]) «==¦!=¦<¦<=¦>¦>=» «2¦2.5¦torch.tensor([1.0, 2.5, 3])¦True»
torch.tensor([1.0, nan]) == torch.tensor([1.0, nan])
torch.tensor([1, 2]) == "a", torch.tensor([1, 2]) != None
torch.tensor([1j]) < 1
torch.ones(2) «+¦-¦*¦/¦//¦%¦**¦@¦&¦<» «"a"¦None¦[1, 2]¦(1, 2)¦{}»
«"a"¦None¦[1, 2]¦{}» «+¦-¦*¦/¦//¦%¦**» torch.ones(2)
torch.ones(2) + np.ones(2)
torch.ones(2) * np.float64(2), torch.ones(2) * np.float32(2)
type(np.float64(2) * torch.ones(2)).__name__
np.float64(2) * torch.ones(2)
torch.«add¦mul¦sub¦div»(torch.ones(2), «"a"¦None¦[1]»)
~torch.«add¦mul¦exp¦sin¦abs»(«"a"¦None¦[1]¦1.5»)
torch.«exp¦sin¦sqrt¦relu¦sum¦mean¦abs»(«2.0¦[1.0]¦None»)
torch.ones(2, 3) «+¦*¦==¦/» torch.ones(2)
torch.ones(2, 3) + torch.ones(3, 2)
torch.ones(4, 2, 3) + torch.ones(5, 1, 3)
torch.maximum(torch.ones(2), torch.ones(3))
torch.where(torch.tensor([True, False]), torch.ones(2), torch.ones(3))
# limits
torch.tensor([1, 5, 9]).clamp(«2, 6¦min=2¦max=6¦2.5, 6¦6, 2¦min=torch.tensor(2)¦torch.tensor([2, 2, 2]), torch.tensor([3, 6, 8])¦max=2.5¦None, 4»)
torch.tensor([1.0, nan, 9]).clamp(2, 6)
torch.ones(2).clamp()
torch.clip(torch.tensor([1.0, 5]), max=2)
torch.clamp_min(torch.tensor([1.0, 5]), 2), torch.clamp_max(torch.tensor([1, 5]), 2)
torch.round(torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5]))
torch.round(torch.tensor([1.2345, -1.255]), decimals=2)
torch.round(torch.tensor([1234.0]), decimals=-2)
torch.nan_to_num(torch.tensor([nan, inf, -inf, 1.0])«¦, nan=2.0¦, posinf=5.0¦, 0.0, 1.0, -1.0»)
torch.lerp(torch.tensor([1.0, 2]), torch.tensor([3.0, 4]), «0.5¦torch.tensor([0.1, 0.9])¦torch.tensor(0.25)¦2»)
torch.addcmul(torch.tensor([1.0, 2]), torch.tensor([3.0, 4]), torch.tensor([5.0, 6]), value=0.5)
torch.addcdiv(torch.tensor([1, 2]), torch.tensor([3, 4]), torch.tensor([5, 6]))
torch.where(torch.tensor([True, False]), «1¦1.5¦torch.tensor([1, 2])¦torch.tensor([1.5, 2])», «0¦2.5¦torch.tensor([3, 4])¦torch.tensor(2.5)¦torch.tensor([1j, 2])»)
torch.where(torch.tensor([[True, False], [False, True]]))
torch.where(torch.tensor([1, 0]), 1, 2)
torch.tensor([1.0, 2]).where(torch.tensor([True, False]), 0)
torch.isclose(torch.tensor([1.0, nan, inf]), torch.tensor([1.0 + 1e-9, nan, inf])«¦, equal_nan=True¦, rtol=0, atol=0»)
torch.allclose(torch.tensor([1.0]), torch.tensor([1.0 + 1e-7])), torch.allclose(torch.tensor([1.0]), torch.tensor([1.1]))
torch.isclose(torch.tensor([1.0]), torch.tensor([1]))
torch.equal(torch.tensor([1, 2]), torch.tensor([1, 2])), torch.equal(torch.tensor([1]), torch.tensor([1, 1])), torch.equal(torch.tensor([nan]), torch.tensor([nan]))
torch.equal(torch.tensor([1]), torch.tensor([1.0]))
torch.gcd(torch.tensor([12, -8]), torch.tensor([18, 12])), torch.lcm(torch.tensor([4, 6]), torch.tensor([6, 10]))
torch.tensor([1, 2]) << 2, torch.tensor([8, -8]) >> 1, 1 << torch.tensor([1, 2])
torch.logical_«and¦or¦xor»(torch.tensor([0, 1, 2]), torch.tensor([1.0, 0.0, 2.0]))
torch.bitwise_«and¦or¦xor¦left_shift¦right_shift»(torch.tensor([12, 10]), «torch.tensor([10, 3])¦3»)
torch.heaviside(torch.tensor([-1.0, 0, 1]), torch.tensor([0.5]))
torch.nextafter(torch.tensor([1.0]), torch.tensor([2.0])) == 1.0 + 2**-23
torch.tensor([3+4j]).«abs()¦angle()¦real¦imag¦conj()¦sgn()¦sqrt()¦exp()¦log()¦reciprocal()¦sin()¦tanh()¦square()»
torch.tensor([1.0]).«real¦conj()¦imag»
torch.tensor([1+2j]) «+¦-¦*¦/¦**¦==» «2¦1j¦torch.tensor([2.0])»
torch.tensor([1+2j]).«float()¦int()¦to(torch.float64)¦bool()»
torch.sign(torch.tensor([-2.0, 0.0, 3.0, nan])), torch.sign(torch.tensor([True, False])), torch.sgn(torch.tensor([-2]))
torch.«floor¦ceil¦round¦trunc¦abs¦sign¦square»(torch.tensor([1, -2]))
torch.frac(torch.tensor([1.5, -1.5]))
torch.floor_divide(torch.tensor([7.0]), 2), torch.true_divide(torch.tensor([7]), 2)
torch.abs(torch.tensor([-128], dtype=torch.int8))
torch.«ones¦zeros»(3, dtype=torch.«bfloat16¦float16») «+¦*¦/» «0.1¦torch.tensor(0.1)¦torch.ones(3)»
torch.tensor([65504.0], dtype=torch.float16) * 2
torch.tensor([0.1, 0.2, 0.3], dtype=torch.«bfloat16¦float16»).«sum()¦mean()¦exp()¦sqrt()¦softmax(0)¦std()¦prod()¦cumsum(0)¦norm()¦max()¦sort()¦tolist()¦pow(2)¦sigmoid()¦tanh()»
""")


@pytest.mark.parametrize("program", PROGRAMS)
def test_same_as_pytorch(program: str) -> None:
    agree(program)


@pytest.mark.parametrize("dtype", DTYPES)
def test_promotion_table(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    wrong = [f"{p}: {found[0]}" for p in table()[dtype] if (found := compare(p, torch))]
    assert not wrong, f"{len(wrong)} programs differ:\n" + "\n".join(wrong[:20])
