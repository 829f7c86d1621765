"""The code cache: hits, wrong files, other users' files, no folder, eviction, several processes."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rushlight import config
from rushlight.__main__ import main
from rushlight.compiler import cache, target
from rushlight.compiler.binding import ir, is_available

pytestmark = pytest.mark.skipif(not is_available(), reason="needs llvmlite")


class Constant:
    """A source whose function returns a number; counts how often it is built."""

    def __init__(self, number: int, key: str = "") -> None:
        self.number = number
        self.builds = 0
        self.source = cache.Source(key or f"test constant {number}", self.build, "constant")

    def build(self, module: Any, name: str) -> None:
        self.builds += 1
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.PointerType(), ir.IntType(64)]), name)
        b = ir.IRBuilder(function.append_basic_block())
        b.store(ir.IntType(64)(self.number), function.args[0])
        b.ret_void()


def value(loaded: cache.Loaded) -> int:
    ctypes = cache.target.ctypes
    cell = ctypes.c_int64()
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(loaded.address)(ctypes.addressof(cell), 0)
    return cell.value


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    cache.forget()
    with config.config(cache=str(tmp_path / "code")):
        yield tmp_path / "code"
    cache.forget()


def get(*constants: Constant) -> list[int]:
    return [value(f) for f in cache.functions([c.source for c in constants])]


def test_memory_then_disk(folder: Path) -> None:
    a, b = Constant(1), Constant(2)
    assert get(a, b, a) == [1, 2, 1]
    assert get(b) == [2]
    assert (a.builds, b.builds) == (1, 1)
    cache.forget()
    assert get(b, a, Constant(3)) == [2, 1, 3]
    assert (a.builds, b.builds) == (1, 1)
    assert len(list(folder.iterdir())) == 3
    assert all(path.suffix == ".code" for path in folder.iterdir())


def test_the_processor_is_part_of_the_name(folder: Path) -> None:
    a = Constant(1)
    get(a)
    for other in target.narrower():
        with target.use(other):
            assert get(a) == [1]
    assert a.builds == 1 + len(target.narrower())
    assert cache.digest_of("a") != cache.digest_of("b")


@pytest.mark.parametrize("damage", ["empty", "cut", "flip", "longer", "text"])
def test_damaged_files_are_replaced(folder: Path, damage: str) -> None:
    get(Constant(5))
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes({
        "empty": b"", "cut": whole[:-7], "longer": whole + b"x", "text": b"hello",
        "flip": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
    }[damage])  # fmt: skip
    cache.forget()
    again = Constant(5)
    assert get(again) == [5]
    assert again.builds == 1
    assert path.read_bytes()[: len(cache.MAGIC)] == cache.MAGIC
    assert cache.read(folder, path.stem) is not None


def test_no_folder(tmp_path: Path) -> None:
    for setting in (None, str(tmp_path / "file" / "below")):
        (tmp_path / "file").write_text("")
        cache.forget()
        with config.config(cache=setting):
            assert cache.folder_in_use() is None
            assert get(Constant(6)) == [6]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no permissions")
def test_what_others_can_write_is_not_trusted(folder: Path) -> None:
    get(Constant(7))
    assert folder.stat().st_mode & 0o777 == 0o700
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o666)
    assert cache.read(folder, path.stem) is None
    path.chmod(0o600)
    folder.chmod(0o777)
    assert cache.folder_in_use() is None


def test_the_least_recently_used_go_first(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    for i in range(5):
        cache.write(folder, f"n{i}", b"x" * 10000)
        os.utime(folder / f"n{i}.code", (1000 + i, 1000 + i))
    (folder / "dead.tmp").write_bytes(b"")
    os.utime(folder / "dead.tmp", (0, 0))
    assert cache.read(folder, "n0") == b"x" * 10000  # now the most recently used
    cache.trim(folder, 35000)
    assert sorted(path.stem for path in folder.iterdir()) == ["n0", "n3", "n4"]
    assert cache.clear(folder) == 3
    assert not list(folder.iterdir())


def test_memory_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_IN_MEMORY", 3)
    first = cache.functions([Constant(0).source])
    for i in range(1, 6):
        get(Constant(i))
    assert len(cache._latest) == 3
    assert value(first[0]) == 0


def test_refused_code_names_the_kernel(folder: Path) -> None:
    def wrong(module: Any, name: str) -> None:
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), name)
        function.append_basic_block()  # without an end

    with pytest.raises(RuntimeError, match="matmul 3x4"):
        cache.functions([cache.Source("wrong", wrong, "matmul 3x4")])


def test_code_that_calls_what_is_not_there_is_refused(folder: Path) -> None:
    text = (
        "declare double @no_such_function(double)\ndeclare double @sin(double)\n"
        "define double @f(double %x) {\n  %y = call double @sin(double %x)\n  ret double %y\n}\n"
    )
    assert target.undefined(target.compile_text(text, ["f"]).partition(b"\n")[2]) in (["sin"], [])
    if sys.platform == "linux":
        with pytest.raises(RuntimeError, match="no_such_function"):
            target.compile_text(text.replace("call double @sin", "call double @no_such_function"), ["f"])


PROCESS = """
import sys
from tests.compiler.test_cache import *
with config.config(cache=sys.argv[1]):
    for _ in range(3):
        cache.forget()
        assert get(*(Constant(i) for i in range(20))) == list(range(20))
        cache.trim(Path(sys.argv[1]), 200000)
"""


def test_several_processes_at_once(tmp_path: Path) -> None:
    def run(_: int) -> None:
        subprocess.run([sys.executable, "-c", PROCESS, str(tmp_path / "code")], check=True, timeout=60)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(3)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_another_thread_compiles(folder: Path) -> None:
    compiling = threading.Thread(target=lambda: get(*(Constant(i) for i in range(100))))
    compiling.start()
    child = os.fork()
    if child == 0:
        os._exit(0 if get(Constant(1000)) == [1000] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    compiling.join()


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    get(Constant(1), Constant(2))
    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert str(folder) in shown
    assert "entries  2" in shown
    assert main(["cache", "--clear"]) == 0
    assert "removed 2 entries" in capsys.readouterr().out
    with config.config(cache=None):
        assert main(["cache"]) == 0
    assert "not kept" in capsys.readouterr().out


def test_compiling_side_by_side_gives_what_one_thread_gives(folder: Path) -> None:
    constants = [Constant(i) for i in range(40)]
    start = time.perf_counter()
    assert get(*constants) == list(range(40))
    assert time.perf_counter() - start < 10
