"""`docs/compatibility.md` says what is true of this version."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def test_the_table_is_up_to_date(run_python) -> None:
    pytest.importorskip("torch")
    script = str(ROOT / "scripts" / "compatibility.py")
    done = run_python("-W", "ignore", script, "--check", check=False)
    assert done.returncode == 0, f"run {Path(sys.executable).name} scripts/compatibility.py\n{done.stdout}{done.stderr}"
