"""The command line, and programs that say `import torch`."""

from pathlib import Path

import pytest

from tests.conftest import Run

WORKERS = """
import multiprocessing
import torch
from torch.utils.data import Dataset

def square(k):
    import torch.nn.functional as F
    return torch.__name__, F.relu(torch.tensor([float(k * k), -1.0])).tolist()

if __name__ == "__main__":
    for method in ("spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(method, pool.map(square, [3]))
"""


def write(folder: Path, text: str) -> str:
    (folder / "program.py").write_text(text)
    return "program.py"


def test_info_names_versions_and_devices(run_python: Run) -> None:
    out = run_python("-m", "rushlight", "info").stdout
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert {"rushlight", "python", "numpy", "BLAS", "cores", "threads", "devices"} <= set(rows)
    assert rows["devices"].startswith("cpu")


def test_without_a_command_it_says_what_there_is(run_python: Run) -> None:
    out = run_python("-m", "rushlight").stdout
    assert all(word in out for word in ("rushlight", "demo", "info", "run"))


def test_an_unknown_command_is_refused(run_python: Run) -> None:
    done = run_python("-m", "rushlight", "walk", check=False)
    assert done.returncode == 2
    assert "walk" in done.stderr


def test_run_gives_the_program_torch_and_its_arguments(run_python: Run, tmp_path: Path) -> None:
    text = """
import sys, torch
import torch.nn as nn
import torch.nn.functional as F
import torch.utils.data
from torch import optim, Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader
assert torch.nn is nn and torch.nn.functional is F and torch.utils.data.DataLoader is DataLoader
print(torch.__name__, isinstance(torch.ones(1), Tensor), __name__, sys.argv, __file__)
import helper
"""
    (tmp_path / "helper.py").write_text("import torch; print('helper has', torch.__name__)")
    out = run_python("-m", "rushlight", "run", write(tmp_path, text), "--rate", "0.1").stdout
    assert out.splitlines() == [
        "rushlight True __main__ ['program.py', '--rate', '0.1'] program.py",
        "helper has rushlight",
    ]


def test_what_is_not_there_is_an_import_error(run_python: Run, tmp_path: Path) -> None:
    text = """
import torch
for name in ("torch.no_such_thing", "torch.nn.no_such_thing.inner", "torch.manual_seed"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(error)
"""
    out = run_python("-m", "rushlight", "run", write(tmp_path, text)).stdout
    assert out.splitlines()[0] == "No module named 'torch.no_such_thing'"
    assert len(out.splitlines()) == 3


def test_a_traceback_starts_in_the_program(run_python: Run, tmp_path: Path) -> None:
    text = "import torch\n\ndef f():\n    raise KeyError('mine')\n\nf()\n"
    done = run_python("-m", "rushlight", "run", write(tmp_path, text), check=False)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1:5] == [
        '  File "program.py", line 6, in <module>',
        "    f()",
        '  File "program.py", line 4, in f',
        "    raise KeyError('mine')",
    ]
    assert lines[-1] == "KeyError: 'mine'"


@pytest.mark.parametrize("setting", ["short", "full"])
def test_a_traceback_shows_the_programs_frames(run_python: Run, tmp_path: Path, setting: str) -> None:
    text = """import torch

class Net(torch.nn.Module):
    def forward(self, x):
        return x @ torch.ones(5, 2)

try:
    Net()(torch.ones(3, 4))
except RuntimeError as error:
    raise ValueError("mine")
"""
    done = run_python("-m", "rushlight", "run", write(tmp_path, text), check=False, RUSHLIGHT_TRACEBACK=setting)
    places = [line.strip() for line in done.stderr.splitlines() if line.startswith("  File")]
    own = [place for place in places if 'File "program.py"' in place]
    assert [place.rpartition(" line ")[2] for place in own] == ["8, in <module>", "5, in forward", "10, in <module>"]
    assert (places == own) is (setting == "short")
    assert "mat1 and mat2 shapes cannot be multiplied (3x4 and 5x2)" in done.stderr
    assert "During handling of the above exception" in done.stderr
    assert "expected" in done.stderr, "the notes stay"


@pytest.mark.parametrize(("ending", "status"), [("", 0), ("sys.exit(3)", 3), ("sys.exit('why')", 1), ("1 +", 1)])
def test_the_exit_status_is_the_programs(run_python: Run, tmp_path: Path, ending: str, status: int) -> None:
    done = run_python("-m", "rushlight", "run", write(tmp_path, f"import sys\n{ending}\n"), check=False)
    assert done.returncode == status, done.stderr
    assert ("SyntaxError" in done.stderr) == (ending == "1 +")


def test_a_missing_program_is_an_error(run_python: Run) -> None:
    done = run_python("-m", "rushlight", "run", "nowhere.py", check=False)
    assert done.returncode == 2
    assert "nowhere.py" in done.stderr


def test_worker_processes_started_afresh_have_torch_too(run_python: Run, tmp_path: Path) -> None:
    out = run_python("-m", "rushlight", "run", write(tmp_path, WORKERS)).stdout
    assert out.splitlines() == [f"{method} [('rushlight', [9.0, 0.0])]" for method in ("spawn", "forkserver")]


def test_install_as_torch_from_python(run_python: Run) -> None:
    code = """
import rushlight
rushlight.install_as_torch(); rushlight.install_as_torch()
import torch.nn.functional, torch.optim.lr_scheduler
spec = rushlight.nn.__spec__
print(torch is rushlight, spec.name, rushlight.nn.__name__, torch.nn is rushlight.nn)
"""
    assert run_python("-c", code).stdout.split() == ["True", "rushlight.nn", "rushlight.nn", "True"]


def test_install_as_torch_after_pytorch_is_refused(run_python: Run) -> None:
    code = "import sys, types; sys.modules['torch'] = types.ModuleType('torch'); sys.modules['torch'].__file__ = 'x'\n"
    done = run_python("-c", code + "import rushlight; rushlight.install_as_torch()", check=False)
    assert "PyTorch is already imported" in done.stderr


TOGETHER = """
import sys
import time
import torch
import torch.distributed as dist

dist.init_process_group()
rank = dist.get_rank()
x = torch.tensor([float(rank + 1)])
dist.all_reduce(x)
if rank == 0:
    print("sum", x.item(), sys.argv[1:])
if "fail" in sys.argv and rank == 1:
    sys.exit(7)
if "fail" in sys.argv:
    time.sleep(100)
dist.destroy_process_group()
"""


def test_a_program_in_several_processes(run_python: Run, tmp_path: Path) -> None:
    program = write(tmp_path, TOGETHER)
    out = run_python("-m", "rushlight", "launch", "-n", "3", program, "a", "--b").stdout
    assert out == "sum 6.0 ['a', '--b']\n"
    done = run_python("-m", "rushlight", "launch", program, "fail", check=False)
    assert done.returncode == 7
    assert "process 1 ended with status 7" in done.stderr
    assert run_python("-m", "rushlight", "launch", "-n", "0", program, check=False).returncode == 2
