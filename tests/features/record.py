"""Writes PyTorch's output into the sessions: `python -m tests.features.record`, from the root of the repository."""

import sys

import torch

from tests.features.session import ROW, SECTIONS, examples, matches, run, scope, written


def recorded(text: str) -> str:
    """The text with PyTorch's output after each example; an output that holds already stays as it is."""
    names: dict[str, object] = {}
    pieces = []
    for example in examples(text):
        if isinstance(example, str):
            pieces.append(example)
            if ROW.search(example):
                names = scope(torch)
            continue
        first, *more = example.source.splitlines()
        pieces.append("\n".join([f">>> {first}", *(f"... {line}".rstrip() for line in more)]) + "\n")
        got = run(example.source, names)
        pieces.append(example.want if matches(got, example.want) else written(got))
    return "".join(pieces)


def main() -> None:
    """Record the files named on the command line, or all."""
    torch.set_warn_always(True)
    for path in sorted(SECTIONS.glob("*.txt")):
        if len(sys.argv) == 1 or path.stem in sys.argv[1:]:
            path.write_text(recorded(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
