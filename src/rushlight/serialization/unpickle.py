"""An interpreter of pickles that cannot run code.

Only opcodes that move data are known. `REDUCE` calls nothing but the constructors of the allow list, each of which
checks its arguments; `BUILD` touches a few known types. Work and memory are proportional to the length of the pickle:
every length is compared with the bytes that are left, and constructors that copy charge a budget, because a memo
lets a short pickle name the same long string a million times.
"""

from __future__ import annotations

import pickle
import struct
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any, Protocol

MAX_KEY_PARTS = 1000
SCALARS = frozenset((str, int, float, bool, bytes, complex, type(None)))
DICTS = (dict, OrderedDict, Counter, defaultdict)
BUDGET_FACTOR, BUDGET_BASE = 64, 1 << 20

Charge = Callable[[int], None]


class Bytes(Protocol):
    """What `bytes` and `mmap` have in common."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> Any: ...

    def find(self, part: bytes, start: int, end: int) -> int: ...


class Policy(Protocol):
    """What a pickle may name, and what may be done with it."""

    def find(self, module: str, name: str) -> object:
        """The object that a GLOBAL names, or `UnpicklingError`."""

    def call(self, function: object, args: tuple[Any, ...], charge: Charge) -> object:
        """The result of calling `function`, or `UnpicklingError` if it may not be called."""

    def new(self, kind: object, args: tuple[Any, ...], charge: Charge) -> object:
        """A new instance of `kind`, not yet initialised, or `UnpicklingError`."""

    def trusts(self, kind: object) -> bool:
        """Whether the user vouched for the class `kind`, whose instances may then be filled like lists or dicts."""

    def build(self, instance: Any, state: Any, charge: Charge) -> None:
        """Give `instance` its state, or `UnpicklingError`."""


class Machine:
    """One run over one pickle.

    Parameters
    ----------
    data : bytes or mmap
    policy : Policy
    persistent_load : callable
        Gets each persistent id, returns the object.
    encoding : str
        How to read strings written by Python 2; "bytes" leaves them alone.
    """

    def __init__(
        self, data: Bytes, policy: Policy, persistent_load: Callable[[Any], Any], encoding: str = "utf-8"
    ) -> None:
        self.data = data
        self.position = 0
        self.end = len(data)
        self.policy = policy
        self.persistent_load = persistent_load
        self.encoding = encoding
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.budget = 0

    def run(self, position: int = 0) -> Any:
        """The object pickled at `position`; `self.position` is left behind its STOP."""
        self.position = position
        self.stack, self.marks, self.memo = [], [], {}
        self.budget = BUDGET_BASE
        table = OPCODES
        start = position
        try:
            while True:
                code = self.data[self.position] if self.position < self.end else None
                self.position += 1
                if code == STOP:
                    return self.stack.pop()
                if code is None:
                    raise EOFError("Ran out of input")
                step = table.get(code)
                if step is None:
                    raise UnpicklingError(f"Unsupported operand {code}")
                step(self)
        except (IndexError, KeyError):
            raise UnpicklingError(
                f"the pickle is damaged near byte {self.position - start}: it uses an object that it has not made"
            ) from None

    def charge(self, amount: int) -> None:
        """Account for `amount` units of memory taken; the pickle's length pays for it."""
        self.budget -= amount
        if self.budget + BUDGET_FACTOR * self.position < 0:
            raise UnpicklingError("the pickle asks for much more memory than its own length")

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        position = self.position
        if count > self.end - position:
            raise UnpicklingError("pickle data was truncated")
        self.position = position + count
        return bytes(self.data[position : position + count])

    def line(self) -> str:
        """The bytes up to the next newline, as text."""
        stop = self.data.find(b"\n", self.position, min(self.end, self.position + 4096))
        if stop < 0:
            raise UnpicklingError("pickle data was truncated")
        text = self.take(stop - self.position)
        self.position += 1
        return self.decode(text, "utf-8")

    def decode(self, text: bytes, encoding: str) -> str:
        """`text` as a string."""
        try:
            return text.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        except UnicodeDecodeError:
            raise UnpicklingError(
                f"a string in the file is not {encoding}; pass encoding='latin1' or 'bytes' for files of Python 2"
            ) from None

    def pop_mark(self) -> list[Any]:
        """The objects above the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def recall(self, index: int) -> None:
        """Push the object that the memo holds at `index`."""
        self.stack.append(self.memo[index])


def check_key(key: Any) -> Any:
    """`key`, if hashing it is harmless: C code recurses over nested tuples without a limit."""
    if type(key) in SCALARS:
        return key
    todo, seen = [key], 0
    while todo:
        part = todo.pop()
        seen += 1
        if seen > MAX_KEY_PARTS:
            raise UnpicklingError("a key in the file is nested too deeply")
        if isinstance(part, (tuple, frozenset)):
            todo.extend(part)
        elif getattr(type(part), "__hash__", None) is None:
            raise UnpicklingError(f"unhashable type: '{type(part).__name__}'")
    return key


def set_items(m: Machine, target: Any, items: list[Any]) -> None:
    """Store alternating keys and values."""
    if type(target) not in DICTS and not m.policy.trusts(type(target)):
        raise UnpicklingError(
            f"Can only SETITEMS for dict, collections.OrderedDict, collections.Counter, but got {type(target)}"
        )
    if len(items) % 2:
        raise UnpicklingError("odd number of items for SETITEMS")
    for i in range(0, len(items), 2):
        target[check_key(items[i])] = items[i + 1]


def extend(m: Machine, target: Any, items: list[Any]) -> None:
    """Append to a list."""
    if type(target) is not list and not m.policy.trusts(type(target)):
        raise UnpicklingError(f"Can only append to lists, but got {type(target)}")
    target.extend(items)


Step = Callable[[Machine], None]
OPCODES: dict[int, Step] = {}
STOP = pickle.STOP[0]


def opcode(code: bytes) -> Callable[[Step], Step]:
    """Register the decorated function for `code`."""

    def register(step: Step) -> Step:
        OPCODES[code[0]] = step
        return step

    return register


def _constant(code: bytes, make: Callable[[], Any]) -> None:
    OPCODES[code[0]] = lambda m: m.stack.append(make())


def _number(code: bytes, form: str) -> None:
    unpack = struct.Struct(form)

    def step(m: Machine) -> None:
        m.stack.append(unpack.unpack(m.take(unpack.size))[0])

    OPCODES[code[0]] = step


def _counted(code: bytes, form: str, convert: Callable[[Machine, bytes], Any]) -> None:
    """An opcode with a length before its bytes."""
    unpack = struct.Struct(form)

    def step(m: Machine) -> None:
        (count,) = unpack.unpack(m.take(unpack.size))
        if count < 0:
            raise UnpicklingError("a length in the pickle is negative")
        m.stack.append(convert(m, m.take(count)))

    OPCODES[code[0]] = step


def _text(m: Machine, data: bytes) -> str:
    return m.decode(data, "utf-8")


def _python2_text(m: Machine, data: bytes) -> Any:
    return data if m.encoding == "bytes" else m.decode(data, m.encoding)


def _integer(m: Machine, data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


for _code, _make in (
    (pickle.NONE, lambda: None),
    (pickle.NEWTRUE, lambda: True),
    (pickle.NEWFALSE, lambda: False),
    (pickle.EMPTY_TUPLE, tuple),
    (pickle.EMPTY_LIST, list),
    (pickle.EMPTY_DICT, dict),
    (pickle.EMPTY_SET, set),
):
    _constant(_code, _make)
for _code, _form in ((pickle.BININT, "<i"), (pickle.BININT1, "<B"), (pickle.BININT2, "<H"), (pickle.BINFLOAT, ">d")):
    _number(_code, _form)
for _code, _form, _convert in (
    (pickle.LONG1, "<B", _integer),
    (pickle.LONG4, "<i", _integer),
    (pickle.SHORT_BINUNICODE, "<B", _text),
    (pickle.BINUNICODE, "<I", _text),
    (pickle.BINUNICODE8, "<Q", _text),
    (pickle.SHORT_BINBYTES, "<B", lambda m, data: data),
    (pickle.BINBYTES, "<I", lambda m, data: data),
    (pickle.BINBYTES8, "<Q", lambda m, data: data),
    (pickle.BYTEARRAY8, "<Q", lambda m, data: bytearray(data)),
    (pickle.SHORT_BINSTRING, "<B", _python2_text),
    (pickle.BINSTRING, "<i", _python2_text),
):
    _counted(_code, _form, _convert)


@opcode(pickle.PROTO)
def _proto(m: Machine) -> None:
    version = m.take(1)[0]
    if version > pickle.HIGHEST_PROTOCOL:
        raise UnpicklingError(f"unsupported pickle protocol: {version}")


@opcode(pickle.FRAME)
def _frame(m: Machine) -> None:
    if struct.unpack("<Q", m.take(8))[0] > m.end - m.position:
        raise UnpicklingError("pickle data was truncated")


@opcode(pickle.MARK)
def _mark(m: Machine) -> None:
    m.marks.append(len(m.stack))


@opcode(pickle.POP)
def _pop(m: Machine) -> None:
    if m.marks and m.marks[-1] == len(m.stack):
        m.marks.pop()
    else:
        m.stack.pop()


@opcode(pickle.POP_MARK)
def _pop_mark(m: Machine) -> None:
    m.pop_mark()


@opcode(pickle.DUP)
def _dup(m: Machine) -> None:
    m.stack.append(m.stack[-1])


@opcode(pickle.BINPUT)
def _binput(m: Machine) -> None:
    m.memo[m.take(1)[0]] = m.stack[-1]


@opcode(pickle.LONG_BINPUT)
def _long_binput(m: Machine) -> None:
    m.memo[struct.unpack("<I", m.take(4))[0]] = m.stack[-1]


@opcode(pickle.MEMOIZE)
def _memoize(m: Machine) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


@opcode(pickle.BINGET)
def _binget(m: Machine) -> None:
    m.recall(m.take(1)[0])


@opcode(pickle.LONG_BINGET)
def _long_binget(m: Machine) -> None:
    m.recall(struct.unpack("<I", m.take(4))[0])


@opcode(pickle.TUPLE)
def _tuple(m: Machine) -> None:
    m.stack.append(tuple(m.pop_mark()))


@opcode(pickle.TUPLE1)
def _tuple1(m: Machine) -> None:
    m.stack.append((m.stack.pop(),))


@opcode(pickle.TUPLE2)
def _tuple2(m: Machine) -> None:
    last = m.stack.pop()
    m.stack.append((m.stack.pop(), last))


@opcode(pickle.TUPLE3)
def _tuple3(m: Machine) -> None:
    last, middle = m.stack.pop(), m.stack.pop()
    m.stack.append((m.stack.pop(), middle, last))


@opcode(pickle.LIST)
def _list(m: Machine) -> None:
    m.stack.append(m.pop_mark())


@opcode(pickle.DICT)
def _dict(m: Machine) -> None:
    items = m.pop_mark()
    made: dict[Any, Any] = {}
    set_items(m, made, items)
    m.stack.append(made)


@opcode(pickle.FROZENSET)
def _frozenset(m: Machine) -> None:
    m.stack.append(frozenset(check_key(item) for item in m.pop_mark()))


@opcode(pickle.APPEND)
def _append(m: Machine) -> None:
    item = m.stack.pop()
    extend(m, m.stack[-1], [item])


@opcode(pickle.APPENDS)
def _appends(m: Machine) -> None:
    items = m.pop_mark()
    extend(m, m.stack[-1], items)


@opcode(pickle.ADDITEMS)
def _additems(m: Machine) -> None:
    items = m.pop_mark()
    if type(m.stack[-1]) is not set:
        raise UnpicklingError(f"Can only add items to sets, but got {type(m.stack[-1])}")
    m.stack[-1].update(check_key(item) for item in items)


@opcode(pickle.SETITEM)
def _setitem(m: Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    set_items(m, m.stack[-1], [key, value])


@opcode(pickle.SETITEMS)
def _setitems(m: Machine) -> None:
    items = m.pop_mark()
    set_items(m, m.stack[-1], items)


@opcode(pickle.GLOBAL)
def _global(m: Machine) -> None:
    module = m.line()
    m.stack.append(m.policy.find(module, m.line()))


@opcode(pickle.STACK_GLOBAL)
def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise UnpicklingError("STACK_GLOBAL requires str")
    m.stack.append(m.policy.find(module, name))


def _pop_call(m: Machine) -> tuple[Any, tuple[Any, ...]]:
    args, function = m.stack.pop(), m.stack.pop()
    if type(args) is not tuple:
        raise UnpicklingError(f"arguments of a call must be a tuple, but got {type(args)}")
    return function, args


@opcode(pickle.REDUCE)
def _reduce(m: Machine) -> None:
    function, args = _pop_call(m)
    m.stack.append(m.policy.call(function, args, m.charge))


@opcode(pickle.NEWOBJ)
def _newobj(m: Machine) -> None:
    kind, args = _pop_call(m)
    m.stack.append(m.policy.new(kind, args, m.charge))


@opcode(pickle.BUILD)
def _build(m: Machine) -> None:
    state = m.stack.pop()
    m.policy.build(m.stack[-1], state, m.charge)


@opcode(pickle.BINPERSID)
def _binpersid(m: Machine) -> None:
    m.stack.append(m.persistent_load(m.stack.pop()))
