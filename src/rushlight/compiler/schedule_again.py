"""Results that are computed again where they are read, because what they are made of lies in memory anyway.

Batch normalisation subtracts the mean of its input, and its gradient needs the difference: to subtract once more costs
nothing beside the traffic, while to keep the difference writes an array as large as the input. In the same way the
mask of a ReLU follows from its result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from rushlight.compiler.fuse_epilogue import epilogue_of
from rushlight.compiler.graph import Call, Value
from rushlight.compiler.loops import Group, Misfit, group_of, joined, separate
from rushlight.compiler.loops_nest import analyse
from rushlight.compiler.loops_nodes import EXPENSIVE
from rushlight.compiler.schedule_units import Unit, Units
from rushlight.ops.kinds import Elementwise

LEAST_BYTES = 128 << 10
MOST_CALLS = 3
SMALL = 16
"""How many times smaller an operand is that counts as nothing."""


@dataclass
class Recipe:
    """How to compute a value: calls in order, the memory they read, and what of it its maker must store for them."""

    value: Value
    calls: list[Call] = field(default_factory=list)
    reads: set[Value] = field(default_factory=set)
    wanted: list[Value] = field(default_factory=list)


def compute_again(units: Units) -> None:
    """Let readers compute what they can instead of having it stored."""
    needed: set[Value] = set()
    for unit in list(units.units.values()):
        if unit.group is None or unit.seed is not None:
            continue
        for value in list(unit.stored):
            recipe = None if value in units.kept or value in needed else _recipe(units, unit, value)
            if recipe is not None and _hand_over(units, unit, recipe):
                needed |= recipe.reads


def _recipe(units: Units, unit: Unit, value: Value) -> Recipe | None:
    """A cheap way to have a large result again from one other array; None if there is none."""
    if _size(value) * value.dtype.itemsize < LEAST_BYTES:
        return None
    recipe = Recipe(value)
    if not _collect(units, unit, recipe, value, MOST_CALLS) or len(recipe.calls) > MOST_CALLS:
        return None
    large = [v for v in recipe.reads if not _is_small(v, value)]
    is_cheap = all(v in unit.stored or v.dtype.itemsize <= value.dtype.itemsize for v in large)
    return recipe if len(large) < 2 and is_cheap else None


def _size(value: Value) -> int:
    return math.prod(value.shape)


def _is_small(value: Value, beside: Value) -> bool:
    return _size(value) * SMALL <= _size(beside)


def _collect(units: Units, unit: Unit, recipe: Recipe, value: Value, depth: int) -> bool:
    """Add the calls that make `value`, operands first; whether all of them are cheap and few."""
    call, group = value.call, unit.group
    if call is None or group is None or not depth or call.op.name in EXPENSIVE:
        return False
    if not isinstance(call.op, Elementwise) and call.op.name != "cast":
        return False
    for source in map(units.root, call.values()):
        is_made = source in group.results
        if not is_made or source in unit.stored or _is_small(source, recipe.value):
            recipe.reads.add(source)
            if is_made and source not in recipe.wanted:
                recipe.wanted.append(source)
        elif all(source is not c.result for c in recipe.calls):
            if not _collect(units, unit, recipe, source, depth - 1):
                return False
    recipe.calls.append(call)
    return True


def _hand_over(units: Units, unit: Unit, recipe: Recipe) -> bool:
    """Let every reader of a value compute it, if all of them can."""
    group, value, space = unit.group, recipe.value, units.space
    assert group is not None
    readers = {units.owner[id(c)] for c in units.users[value]} - {unit}
    if any(r.group is None or value in map(units.root, r.seed.values() if r.seed else ()) for r in readers):
        return False
    stored = [v for v in unit.stored if v is not value]
    stored += [v for v in recipe.wanted if v not in stored]
    mark, made = space.mark(), []
    try:
        live = set(analyse(space, group.nodes, {v: group.results[v] for v in stored}).nodes)
        for reader in readers:
            changed = _with_recipe(units, recipe, reader)
            made.append((reader, changed))
            _check(units, changed, reader, value)
    except Misfit:
        space.undo(mark)
        for _, changed in made:
            separate(changed)
        return False
    unit.stored = stored
    group.calls = [c for c in group.calls if any(group.results[v].node.found() in live for v in c.results)]
    for reader, changed in made:
        reader.group, reader.reads = changed, (reader.reads - {value}) | recipe.reads
        for source in recipe.reads:
            units.readers.setdefault(source, {})[reader.number] = reader
    return True


def _with_recipe(units: Units, recipe: Recipe, reader: Unit) -> Group:
    """The group of `reader` with the value of a recipe computed in its loops; raises `Misfit`."""
    group: Group | None = None
    for call in recipe.calls:
        one = group_of(units.space, call, units.copied)
        group = one if group is None else _after(units, group, one)
    assert group is not None and reader.group is not None
    out = _after(units, group, reader.group)
    # a product comes first; the rest is done call by call where its kernel takes nothing along
    first = 0 if reader.seed is None else 1
    out.calls = [*reader.group.calls[:first], *recipe.calls, *reader.group.calls[first:]]
    return out


def _after(units: Units, first: Group, second: Group) -> Group:
    root = units.root
    return joined(first, second, [(root(v), v) for v in second.loads if root(v) in first.results])


def _check(units: Units, group: Group, reader: Unit, value: Value) -> None:
    """Raise `Misfit` unless `reader` can do what the group does, without the value."""
    form = analyse(units.space, group.nodes, {v: group.results[v] for v in reader.stored}, strict=True)
    if any(n.access is not None and n.access.root is value for n in form.nodes):
        raise Misfit("looks up rows of it")
    if reader.seed is not None:
        epilogue_of(units.space, form, group, reader.stored)
