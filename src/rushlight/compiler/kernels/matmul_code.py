"""The code of a matrix product: chunks into panels of columns, panels into blocks, packing in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from rushlight.compiler.binding import ir
from rushlight.compiler.kernels.matmul_plan import Machine, Matrix, Plan, Product
from rushlight.compiler.kernels.microkernel import Code, Index, Mask, Operands, dot_products, multiply
from rushlight.compiler.kernels.packing import pack_function

IR = Any
# Writes what becomes of finished numbers: code, addresses of the slots, batch index, row, column, vector, mask.
Finish = Callable[[Code, IR, Index, Index, Index, IR, Mask], None]


def write(module: Any, name: str, x: Product, plan: Plan, machine: Machine, finish: Finish | None) -> None:
    """Add the kernel's functions to `module`; without `finish` the product itself is stored."""
    Writer(module, name, x, plan, machine, finish).write()


def new_function(module: Any, name: str, arguments: Sequence[IR], *, inner: bool = True) -> tuple[Any, Any]:
    """A function without result and a builder at its start."""
    fn = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    if inner:
        fn.linkage = "internal"
        fn.attributes.add("noinline")
    fn.attributes.add("nounwind")
    return fn, ir.IRBuilder(fn.append_basic_block("entry"))


class Writer:
    """Writes one kernel. Turned products are written as the transposed product they are; only the end turns back."""

    def __init__(
        self, module: Any, name: str, x: Product, plan: Plan, machine: Machine, finish: Finish | None
    ) -> None:  # fmt: skip
        self.module, self.name = module, name
        self.plan, self.machine = plan, machine
        self.x = x.turned if plan.form == "turned" else x
        self.size: int = x.dtype.itemsize
        self.pairs = x.paired > 0
        self.is_dot = plan.form == "dot"
        self.columns = plan.vectors if self.is_dot else plan.vectors * machine.lanes
        self.pitch = machine.lanes if self.is_dot else self.columns
        self.blocked = plan.depth < x.k
        self.flips = plan.turns_back(x)
        self.direct = not self.flips and finish is None and not self.blocked and x.out.dtype == x.dtype
        self.user_finish = finish
        self.tiles: dict[tuple[int, int], Any] = {}
        self.packs: dict[tuple[str, int], Any] = {}
        self.finish: Any = None

    def function(self, part: str, arguments: Sequence[IR]) -> tuple[Any, Code]:
        """A function of this kernel and where its code goes."""
        fn, builder = new_function(self.module, f"{self.name}.{part}", arguments)
        return fn, Code(builder, self.x.dtype, self.machine.lanes, pairs=self.pairs)

    def write(self) -> None:
        """Write the function `name` and those that it calls."""
        i64, pointer = ir.IntType(64), ir.PointerType()
        fn, builder = new_function(self.module, self.name, [pointer, i64], inner=False)
        code = Code(builder, self.x.dtype, self.machine.lanes)
        x, plan = self.x, self.plan
        if x.m and x.n and math.prod(x.batch):
            slots, chunk = fn.args
            self.slots = slots
            self._rooms(code)
            down, across, deep = plan.chunks(x)
            rest, i = code.divide(chunk if down * across * deep > 1 else 0, down)
            g, j = code.divide(rest, across)
            self._chunk(code, i, j, g, (down, across, deep))
        builder.ret_void()

    def _rooms(self, code: Code) -> None:
        plan, lanes = self.plan, self.machine.lanes
        deep = -(-plan.depth // lanes) * lanes
        if plan.pack_b:
            self.b_room = code.room(deep * self.columns)
        if plan.pack_a and not plan.before:
            self.a_room = code.room(deep * plan.pitch(lanes))
        if not self.direct:
            blocks = plan.chunk[0] // plan.rows if self.blocked else 1
            self.tile_size = -(-plan.rows // lanes) * lanes * self.pitch
            self.tile_room = code.room(blocks * self.tile_size)
        pointer = ir.PointerType()
        self.bases = [
            code.at(code.b.load(code.at(self.slots, 8 * m.slot), typ=pointer), m.offset)
            for m in (self.x.a, self.x.b, self.x.out)
        ]

    def _chunk(self, code: Code, i: Index, j: Index, g: Index, counts: tuple[int, int, int]) -> None:
        x, (tall, wide, thick) = self.x, self.plan.chunk
        batch = math.prod(x.batch)
        starts = [code.mul(n, step) for n, step in ((i, tall), (j, wide), (g, thick))]
        lengths = [
            size if count == 1 else code.least(step, code.sub(size, start))
            for size, count, step, start in zip((x.m, x.n, batch), counts, self.plan.chunk, starts, strict=True)
        ]

        def matrix(k: Index) -> Sequence[IR]:
            index = code.add(starts[2], k)
            self._panels(code, index, starts[0], lengths[0], starts[1], lengths[1])
            return ()

        code.loop(lengths[2], matrix)

    def _panels(self, code: Code, index: Index, m0: Index, tall: Index, n0: Index, wide: Index) -> None:
        x = self.x
        a, b, out = (
            code.at(base, batch_offset(code, m, x.batch, index))
            for base, m in zip(self.bases, (x.a, x.b, x.out), strict=True)
        )

        def work(n: Index, columns: int) -> None:
            self._panel(code, (index, m0, tall, n, columns), a, code.at(b, code.mul(n, x.b.column)), out)

        def whole(p: Index) -> Sequence[IR]:
            work(code.add(n0, code.mul(p, self.columns)), self.columns)
            return ()

        count, rest = code.divide(wide, self.columns)
        code.loop(count, whole)
        edge = x.n % self.columns
        if edge:
            is_last = rest != 0 if isinstance(rest, int) else code.b.icmp_signed("!=", rest, code.value(0))
            code.when(is_last, lambda: work(x.n - edge, edge))

    def _panel(self, code: Code, where: tuple[Any, ...], a: IR, b: IR, out: IR) -> None:
        x, plan = self.x, self.plan
        m0, tall = where[1], where[2]

        def part(q: Index) -> Sequence[IR]:
            start = code.mul(q, plan.depth)
            count = code.least(plan.depth, code.sub(x.k, start)) if self.blocked else x.k
            a_part, b_part = (code.at(p, code.mul(start, s)) for p, s in ((a, self._a_step()), (b, x.b.row)))
            if plan.pack_b:
                code.b.call(self._pack("b", where[4]), [b_part, self.b_room, *self._numbers(code, start, count)])
                b_part = self.b_room
            first = code.b.icmp_signed("==", code.value(q), code.value(0)) if self.blocked else None
            self._rows(code, m0, tall, lambda i, m, rows: self._block(
                code, (i, m, rows, start, count, first), where, a_part, b_part, out))  # fmt: skip
            return ()

        code.loop(-(-x.k // plan.depth) if self.blocked else 1, part)
        if self.blocked:
            self._rows(code, m0, tall, lambda i, m, rows: self._finish_block(code, i, m, rows, where))

    def _a_step(self) -> int:
        """Bytes from step to step of the left operand where it lies."""
        return self.plan.pitch(self.machine.lanes) * self.size if self.plan.before else self.x.a.column

    def _numbers(self, code: Code, start: Index, count: Index) -> list[IR]:
        """What packing is told of the length of a part of the sum."""
        if not self.blocked:
            return []
        if self.pairs:
            count = code.least(2 * self.plan.depth, code.sub(self.x.paired, code.mul(start, 2)))
        return [code.value(count)]

    def _rows(self, code: Code, m0: Index, tall: Index, work: Callable[[Index, Index, int], None]) -> None:
        """work(number of the block, first row, rows) for each block of a chunk."""
        height = self.plan.rows
        count, rest = code.divide(tall, height)

        def whole(i: Index) -> Sequence[IR]:
            work(i, code.add(m0, code.mul(i, height)), height)
            return ()

        code.loop(count, whole)
        edge = self.x.m % height
        if edge:
            is_last = rest != 0 if isinstance(rest, int) else code.b.icmp_signed("!=", rest, code.value(0))
            code.when(is_last, lambda: work(count, self.x.m - edge, edge))

    def _block(self, code: Code, block: tuple[Any, ...], where: tuple[Any, ...], a: IR, b: IR, out: IR) -> None:
        x, (i, m, rows, start, count, first) = self.x, block
        more = [count] if self.blocked else []
        if self.plan.before:
            a = code.at(a, code.mul(code.divide(m, self.plan.rows)[0], x.a.row))
        else:
            a = code.at(a, code.mul(m, x.a.row))
        if self.plan.pack_a and not self.plan.before:
            code.b.call(self._pack("a", rows), [a, self.a_room, *self._numbers(code, start, count)])
            a = self.a_room
        if self.direct:
            to = code.at(out, code.add(code.mul(m, x.out.row), code.mul(where[3], x.out.column)))
        else:
            to = self._tile_at(code, i)
        code.b.call(self._tile(rows, where[4]), [a, b, to, *more, *([first] if self.blocked else [])])
        if not self.direct and not self.blocked:
            self._finish_block(code, i, m, rows, where)

    def _tile_at(self, code: Code, i: Index) -> IR:
        return code.at(self.tile_room, code.mul(i, self.tile_size * self.size) if self.blocked else 0)

    def _finish_block(self, code: Code, i: Index, m: Index, rows: int, where: tuple[Any, ...]) -> None:
        index, n, columns = where[0], where[3], where[4]
        if self.finish is None:
            self.finish = self._write_finish()
        if self.flips:
            m, rows, n, columns = n, columns, m, rows
        numbers = [code.value(v) for v in (index, m, n, rows, columns)]
        code.b.call(self.finish, [self.slots, self._tile_at(code, i), *numbers])

    def _pack(self, side: str, count: int) -> Any:
        key = side, count
        if key not in self.packs:
            x, plan, lanes = self.x, self.plan, self.machine.lanes
            m, kind = (x.a, plan.pack_a) if side == "a" else (x.b, plan.pack_b)
            along, across = (m.row, m.column) if side == "a" else (m.column, m.row)
            pitch = plan.pitch(lanes) if side == "a" else self.columns
            i64, pointer = ir.IntType(64), ir.PointerType()
            fn, code = self.function(f"pack_{side}{count}", [pointer, pointer, *([i64] if self.blocked else [])])
            total = x.paired or x.k
            steps = (fn.args[2] if self.blocked else total, total)
            pack_function(code, kind, fn.args[:2], (along, across), count, pitch, steps, m.dtype)
            code.b.ret_void()
            self.packs[key] = fn
        return self.packs[key]

    def _tile(self, rows: int, columns: int) -> Any:
        key = rows, columns
        if key not in self.tiles:
            i64, pointer = ir.IntType(64), ir.PointerType()
            more = [i64, ir.IntType(1)] if self.blocked else []
            fn, code = self.function(f"block{rows}x{columns}", [pointer, pointer, pointer, *more])
            if self.is_dot:
                self._write_dot(code, fn, rows, columns)
            else:
                self._write_tile(code, fn, rows, columns)
            code.b.ret_void()
            self.tiles[key] = fn
        return self.tiles[key]

    def _operands(self, fn: Any, rows: int, columns: int) -> Operands:
        x, plan, size, lanes = self.x, self.plan, self.size, self.machine.lanes
        steps = fn.args[3] if self.blocked else x.k
        a_row, a_step = (size, plan.pitch(lanes) * size) if plan.pack_a else (x.a.row, x.a.column)
        if self.is_dot:
            return Operands(fn.args[0], [i * a_row for i in range(rows)], fn.args[1],
                            [j * x.b.column for j in range(columns)], [(steps, size, size)])  # fmt: skip
        count = -(-columns // lanes)
        edge = columns % lanes or None
        b_step = self.columns * size if plan.pack_b else x.b.row
        vectors = [j * lanes * size for j in range(count)]
        return Operands(fn.args[0], [i * a_row for i in range(rows)], fn.args[1], vectors, [(steps, a_step, b_step)],
                        edge)  # fmt: skip

    def _write_tile(self, code: Code, fn: Any, rows: int, columns: int) -> None:
        x, size, lanes = self.x, self.size, self.machine.lanes
        operands = self._operands(fn, rows, columns)
        width = len(operands.vectors)
        start = None
        if self.blocked:
            # the first part of the sum starts from zeros, the others from what the block holds
            held = code.spread(code.b.not_(fn.args[4]))
            start = [
                code.load(code.at(fn.args[2], (i * self.pitch + j * lanes) * size), held)
                for i in range(rows) for j in range(width)
            ]  # fmt: skip
        acc = multiply(code, operands, start, self.plan.sets)
        pitch = x.out.row if self.direct else self.pitch * size
        for i in range(rows):
            for j in range(width):
                mask = operands.mask if self.direct and j == width - 1 else None
                code.store(acc[i * width + j], code.at(fn.args[2], i * pitch + j * lanes * size), mask)

    def _write_dot(self, code: Code, fn: Any, rows: int, columns: int) -> None:
        acc = dot_products(code, self._operands(fn, rows, columns), self.x.paired or self.x.k)
        pitch = self.x.out.row if self.direct else self.pitch * self.size
        for i in range(rows):
            total = code.sums(acc[i * columns : (i + 1) * columns])
            code.store(total, code.at(fn.args[2], i * pitch), code.mask(columns) if self.direct else None)

    def _write_finish(self) -> Any:
        """finish(slots, tile, batch index, row, column, rows, columns): what becomes of a block's numbers."""
        i64, pointer = ir.IntType(64), ir.PointerType()
        fn, code = self.function("finish", [pointer, pointer, *[i64] * 5])
        slots, tile, *where = fn.args
        if not self.flips:
            self._finish_rows(
                code, slots, (tile, self.pitch), where, self.x.n % code.lanes or self.columns % code.lanes
            )
        elif self.user_finish is None:
            self._store_turned(code, slots, tile, where)
        else:
            turned, height = code.room(self._height() * self.columns), self._height()
            self._each_square(code, tile, lambda i, r, v: code.store(
                v, code.at(turned, code.mul(code.add(code.mul(r, height), i), self.size))))  # fmt: skip
            partial = self.x.m % self.plan.rows or self.plan.rows % code.lanes
            self._finish_rows(code, slots, (turned, height), where, partial)
        code.b.ret_void()
        return fn

    def _height(self) -> int:
        """Rows of a block in memory: whole squares of lanes."""
        lanes = self.machine.lanes
        return -(-self.plan.rows // lanes) * lanes

    def _finish_rows(
        self, code: Code, slots: IR, tile: tuple[IR, int], where: Sequence[IR], partial: int
    ) -> None:  # fmt: skip
        index, m, n, rows, columns = where
        finish = self.user_finish or self._store_plain

        def row(i: Index) -> Sequence[IR]:
            line = code.at(tile[0], code.mul(i, tile[1] * self.size))

            def vector(j: Index) -> Sequence[IR]:
                mask = code.mask(code.sub(columns, j)) if partial else None
                x = code.load(code.at(line, code.mul(j, self.size)))
                finish(code, slots, index, code.add(m, i), code.add(n, j), x, mask)
                return ()

            code.loop(columns, vector, step=code.lanes)
            return ()

        code.loop(rows, row)

    def _each_square(self, code: Code, tile: IR, store: Callable[[Index, Index, IR], None]) -> None:
        """Turn a block: store(first row, column, vector of the column's numbers from that row on)."""
        size, lanes = self.size, code.lanes
        room = code.room(lanes * lanes)

        def part(j: Index) -> Sequence[IR]:
            def square(i: Index) -> Sequence[IR]:
                corner = code.at(tile, code.mul(code.add(code.mul(i, self.pitch), j), size))
                code.transpose(
                    room,
                    lambda r: code.load(code.at(corner, code.mul(r, self.pitch * size))),
                    lambda r, v: store(i, code.add(j, r), v),
                )
                return ()

            code.loop(self._height(), square, step=lanes)
            return ()

        code.loop(self.columns, part, step=lanes)

    def _store_turned(self, code: Code, slots: IR, tile: IR, where: Sequence[IR]) -> None:
        """A block of a turned product to where it belongs, without an epilogue."""
        index, m, n, rows, columns = where
        out = self.x.out.turned
        base = self._place(code, slots, out, (index, m, n))
        exact = not (self.x.n % self.columns or self.x.m % self.plan.rows or self.plan.rows % code.lanes)

        def store(i: Index, r: Index, v: IR) -> None:
            mask = None
            if not exact:
                inside = code.b.icmp_signed("<", code.value(r), rows)
                mask = code.mask(code.b.select(inside, code.sub(columns, i), code.value(0)))
            place = code.add(code.mul(r, out.row), code.mul(i, out.column))
            code.store(v, code.at(base, place), mask, out.dtype)

        self._each_square(code, tile, store)

    def _place(self, code: Code, slots: IR, m: Matrix, where: tuple[Index, Index, Index]) -> IR:
        index, i, j = where
        base = code.b.load(code.at(slots, 8 * m.slot), typ=ir.PointerType())
        offset = code.add(batch_offset(code, m, self.x.batch, index), m.offset)
        return code.at(base, code.add(offset, code.add(code.mul(i, m.row), code.mul(j, m.column))))

    def _store_plain(self, code: Code, slots: IR, index: Index, m: Index, n: Index, x: IR, mask: Mask) -> None:
        out = self.x.out.turned if self.flips else self.x.out
        code.store(x, self._place(code, slots, out, (index, m, n)), mask, out.dtype)


def batch_offset(code: Code, m: Matrix, batch: Sequence[int], index: Index) -> Index:
    """Bytes from a matrix operand's start to its matrix number `index`."""
    offset: Index = 0
    for count, stride in zip(reversed(batch), reversed(m.batch), strict=True):
        index, i = code.divide(index, count)
        if stride:
            offset = code.add(offset, code.mul(i, stride))
    return offset
