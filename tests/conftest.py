"""Fixtures for the tests."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import rushlight

ROOT = Path(__file__).parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _same_start_for_every_test() -> None:
    """Every test starts from seed 0 and the default dtype, whatever ran before it in this process."""
    rushlight.set_default_dtype(rushlight.float32)
    rushlight.manual_seed(0)


@pytest.fixture(scope="session")
def byte_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where fresh interpreters keep compiled modules, so that only the first of them compiles the package."""
    return tmp_path_factory.mktemp("byte_code")


@pytest.fixture
def run_python(tmp_path: Path, byte_code: Path) -> Run:
    """Run a fresh interpreter in an empty folder with the package importable: `run_python("-c", "print(1)")`."""

    def run(*arguments: str, check: bool = True, **settings: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONPYCACHEPREFIX": str(byte_code), **settings}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-W", "error", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return run
