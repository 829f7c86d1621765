"""The pages say what is true: their Python examples run as they stand, their links lead somewhere."""

import re
from pathlib import Path

import pytest

from rushlight.config import PREFIX, VARIABLES
from tests.conftest import ROOT, Run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")], ids=str)
def test_examples_run(page: Path, run_python: Run) -> None:
    done = run_python(str(Path(__file__).with_name("run_page.py")), str(page), check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_the_readme_has_its_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [line for line in text.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith("rushlight demo")
    assert "pytest" in commands[1]


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [page.name for page in (ROOT / "docs").glob("*.md") if page.name != "index.md"]
    assert not [name for name in pages if f"({name})" not in index]


def test_every_environment_variable_is_in_the_table() -> None:
    table = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert not [name for name in VARIABLES if f"`{PREFIX}{name}=" not in table]
