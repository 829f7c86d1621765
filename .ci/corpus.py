"""Runs the corpus on Rushlight, and fails when a program that passed before (corpus-passing.txt) passes no more.

    python .ci/corpus.py PATH/TO/check.py [--update]

`--update` writes the programs that pass now into the list.
"""

import re
import subprocess
import sys
from pathlib import Path

LIST = Path(__file__).with_name("corpus-passing.txt")
SOURCE = Path(__file__).parent.parent / "src"


def main() -> int:
    """Run, compare, report."""
    command = [sys.executable, sys.argv[1], "--python", sys.executable, "--module", "rushlight", "--path", str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    passed = set(re.findall(r"^PASS (\S+)", done.stdout, re.MULTILINE))
    if "--update" in sys.argv:
        LIST.write_text("".join(f"{name}\n" for name in sorted(passed)))
        return 0
    expected = set(LIST.read_text().split())
    if new := sorted(passed - expected):
        print(f"pass now, and can be added to {LIST.name}: {' '.join(new)}")
    if lost := sorted(expected - passed):
        print(f"passed before: {' '.join(lost)}", file=sys.stderr)
    return 1 if expected - passed else 0


if __name__ == "__main__":
    sys.exit(main())
