"""The shape of the source: imports point one way, nothing hides, files and functions stay small.

`python tests/test_layers.py` also lists what is over the first, softer budget.
"""

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "rushlight"

# Each part may import from itself and from those before it.
ORDER = """
    version errors config dtypes device size formats layout spec backends generator printing ops modes storage tape
    shared functions method_table tensor session absent_device mps xpu accelerator hub creation
    sampling sparse random types autograd profiler special linalg fft nn multiprocessing func jit distributions
    optim amp cuda cpu utils serialization datasets
    compiler _dynamo distributed debug testing torch_alias cli demo __main__
""".split()
# The compiler's stages, likewise; `loops_nest.py` belongs to `loops`, `passes/cse.py` to `passes`.
STAGES = """
    registry binding graph kernel interpret show target vmath lanes access verify text passes loops kernels fuse
    schedule cache runtime draws plan program trace eager guards explain draw api
""".split()
# The package's own __init__ is the public namespace: it imports all, and only the programs that run on it import it.
UNRANKED = {"__init__"}

# Optional dependencies, and the only files that may import each of them: inside one function, or tried at the top.
OPTIONAL = {
    "llvmlite": {"utils/collect_env.py", "compiler/binding.py"},
    "matplotlib": {"utils/picture.py"},
}
# Parts of the standard library that some systems lack: tried at the top of a file.
PLATFORM = {"fcntl", "msvcrt", "resource"}
FORBIDDEN = {"torch", "tensorflow", "jax"}

# (wanted, allowed)
FILE_LINES, FUNCTION_LINES, CLASS_LINES, NESTING = (400, 700), (40, 80), (250, 400), (3, 4)
# Public classes whose length is the length of PyTorch's own list of methods.
LONG_CLASSES = {"Tensor", "Methods", "Module"}

SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "for_workers" not in path.parts)
NAMES = [str(path.relative_to(PACKAGE)) for path in SOURCES]
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in zip(NAMES, SOURCES, strict=True)}
MODULES = {".".join(Path(name).with_suffix("").parts).removesuffix(".__init__"): name for name in NAMES}


def imports(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Every import statement with the full name of each module or member that it names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def part(name: str) -> str:
    """`nn` of `rushlight.nn.linear` or of `nn/linear.py`."""
    return name.removeprefix("rushlight").strip(".").replace("/", ".").removesuffix(".py").partition(".")[0]


def module_of(imported: str) -> str | None:
    """The module of ours that an imported full name means, relative to the package."""
    name = imported.removeprefix("rushlight").strip(".")
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_one_way(name: str) -> None:
    here, bad = part(name), []
    if here in UNRANKED:
        return
    assert here in ORDER, f"{here} has no place in ORDER yet"
    for node, imported in imports(TREES[name]):
        if imported.partition(".")[0] != "rushlight":
            continue
        there = part(imported)
        if there not in ORDER:
            bad.append(
                f"{name}:{node.lineno} imports {imported}: the public namespace, or a part without place in ORDER"
            )
        elif ORDER.index(there) > ORDER.index(here):
            bad.append(f"{name}:{node.lineno} {here} may not import {there}")
    assert not bad, "\n".join(bad)


def stage(name: str) -> str:
    """`loops` of `compiler/loops_nest.py` or of `rushlight.compiler.loops_nest.Nest`."""
    return name.removeprefix("rushlight.").replace("/", ".").split(".")[1].partition("_")[0]


@pytest.mark.parametrize("name", [name for name in NAMES if part(name) == "compiler" and "__init__" not in name])
def test_stages_of_the_compiler_point_one_way(name: str) -> None:
    here, bad = stage(name), []
    assert here in STAGES, f"{here} has no place in STAGES yet"
    for node, imported in imports(TREES[name]):
        if imported.startswith("rushlight.compiler.") and STAGES.index(stage(imported)) > STAGES.index(here):
            bad.append(f"{name}:{node.lineno} {here} may not import {stage(imported)}")
    assert not bad, "\n".join(bad)


def test_no_module_imports_itself_through_others() -> None:
    edges = {
        module: {
            target
            for _, imported in imports(TREES[name])
            if imported.startswith("rushlight.") and (target := module_of(imported)) not in (None, module)
        }
        for module, name in MODULES.items()
        if name != "__init__.py"
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "import cycle: " + " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for target in sorted(edges.get(module, ())):
                visit(target, (*path, module))
            done.add(module)

    for module in edges:
        visit(module, ())


@pytest.mark.parametrize("name", NAMES)
def test_no_import_hides(name: str) -> None:
    tree, bad = TREES[name], []
    tried = [inner for node in tree.body if isinstance(node, ast.Try) for inner in node.body]
    for node, imported in imports(tree):
        root = imported.partition(".")[0]
        if root in FORBIDDEN:
            bad.append(f"{name}:{node.lineno} imports {root}")
        elif root in OPTIONAL:
            if name not in OPTIONAL[root] or node in tree.body:
                bad.append(f"{name}:{node.lineno} {root} is imported in {sorted(OPTIONAL[root])} only, if it is there")
        elif node not in (tried if root in PLATFORM else tree.body):
            bad.append(f"{name}:{node.lineno} import inside a function or branch")
        if imported.endswith(".*"):
            bad.append(f"{name}:{node.lineno} wildcard import")
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "config.py"])
def test_only_config_reads_the_environment(name: str) -> None:
    reads = [
        f"{name}:{node.lineno}"
        for node in ast.walk(TREES[name])
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "putenv"))
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and any("env" in a.name for a in node.names))
    ]
    assert not reads, "\n".join(reads)


def nesting(node: ast.AST, depth: int = 0) -> int:
    """How deep compound statements stand inside each other; `elif` does not count as deeper."""
    deepest = depth
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        compound = isinstance(child, ast.If | ast.For | ast.While | ast.With | ast.Try | ast.Match)
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, nesting(child, depth + (compound and not is_elif)))
    return deepest


def over_budget(name: str, level: int) -> list[str]:
    """What in a file is over its first (0) or second (1) budget."""
    tree, found = TREES[name], []
    lines = (PACKAGE / name).read_text(encoding="utf-8").count("\n")
    if lines > FILE_LINES[level]:
        found.append(f"{name}: {lines} lines, budget {FILE_LINES[level]}")
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        is_class = isinstance(node, ast.ClassDef)
        budget = (CLASS_LINES if is_class else FUNCTION_LINES)[level]
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > budget and node.name not in LONG_CLASSES:
            found.append(f"{name}:{node.lineno} {node.name}: {length} lines, budget {budget}")
        if not is_class and (depth := nesting(node)) > NESTING[level]:
            found.append(f"{name}:{node.lineno} {node.name}: nested {depth} deep, budget {NESTING[level]}")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_size_budgets(name: str) -> None:
    found = over_budget(name, 1)
    assert not found, "\n".join(found)


def test_every_file_says_what_it_is_for() -> None:
    silent = [name for name, tree in TREES.items() if tree.body and not ast.get_docstring(tree)]
    assert not silent, "\n".join(silent)


if __name__ == "__main__":
    warnings.simplefilter("error")
    print("\n".join(line for name in NAMES for line in over_budget(name, 0)) or "everything is within its first budget")
