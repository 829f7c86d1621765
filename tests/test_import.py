"""`import rushlight` is light, needs only what it must, and is quiet."""

import pytest

from tests.conftest import Run

# Slow to import, or optional: nothing of it may load before it is needed.
HEAVY = "torch llvmlite matplotlib cupy mpi4py scipy IPython asyncio unittest http.client".split()


def test_nothing_heavy_is_loaded(run_python: Run) -> None:
    code = f"import sys, rushlight; print([name for name in {HEAVY} if name in sys.modules])"
    done = run_python("-c", code)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("missing", ["llvmlite", "matplotlib"])
def test_optional_libraries_may_be_missing(run_python: Run, missing: str) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None  # any import of it fails
import rushlight as torch
x = torch.randn(3, 4, requires_grad=True)
(torch.nn.functional.log_softmax(x, 1) ** 2).sum().backward()
print(x.grad.shape)
"""
    assert run_python("-c", code).stdout == "torch.Size([3, 4])\n"


def test_every_module_can_be_imported(run_python: Run) -> None:
    code = """
import importlib, pkgutil, rushlight
for module in pkgutil.walk_packages(rushlight.__path__, "rushlight."):
    if "for_workers" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
    run_python("-c", code)


def test_the_version_is_stated_once(run_python: Run) -> None:
    out = run_python("-m", "rushlight", "--version").stdout
    version = run_python("-c", "from rushlight.version import __version__; print(__version__)").stdout
    assert out == f"rushlight {version}"
