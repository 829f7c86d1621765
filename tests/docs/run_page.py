"""Runs the Python examples of one Markdown page, from top to bottom: `python run_page.py PAGE`."""

import doctest
import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def run_block(page: Path, line: int, code: str, namespace: dict[str, object]) -> int:
    """Run a block and return the number of its failures: with prompts it is a session, without a program."""
    if ">>>" not in code:
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)
        return 0
    test = doctest.DocTestParser().get_doctest(code, namespace, page.name, str(page), line - 1)
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    runner.run(test, clear_globs=False)
    namespace.update(test.globs)
    return runner.summarize(verbose=False).failed


def main(page: Path) -> int:
    """Run all blocks in one namespace."""
    text = page.read_text(encoding="utf-8")
    namespace: dict[str, object] = {"__name__": "__main__"}
    failures = 0
    for match in BLOCK.finditer(text):
        failures += run_block(page, text.count("\n", 0, match.start(1)) + 1, match[1], namespace)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
