"""Reads and runs the files in sections/: Python sessions with the output that PyTorch gives.

A line that begins with a row's number (F001, E01) opens that row; its lines share their names. Errors are written
`Type: text`, and hold for subclasses of the type; `...` in an output stands for anything.
"""

import builtins
import collections
import contextlib
import copy
import doctest
import io
import math
import pickle
import pprint
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SECTIONS = Path(__file__).parent / "sections"
ROW = re.compile(r"^(F\d{3}|E\d{2})\b.*$", re.MULTILINE)
ERROR = re.compile(r"(\w+): (.*)", re.DOTALL)
NAMES = {
    "np": np,
    "math": math,
    "copy": copy,
    "io": io,
    "pickle": pickle,
    "pprint": pprint,
    "threading": threading,
    "collections": collections,
}


def rows() -> dict[str, str]:
    """The text of each row by its number."""
    found: dict[str, str] = {}
    for path in sorted(SECTIONS.glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        starts = list(ROW.finditer(text))
        ends = [*(match.start() for match in starts[1:]), len(text)]
        for match, end in zip(starts, ends, strict=True):
            assert match[1] not in found, f"{match[1]} stands in two places"
            found[match[1]] = text[match.start() : end]
    return found


def scope(library: Any) -> dict[str, Any]:
    """The names of a session: the library as `torch`, its usual short names, and some modules."""
    library.manual_seed(0)
    return {**NAMES, "torch": library, "nn": library.nn, "F": library.nn.functional, "warned": warned}


def warned(function: Callable[[], Any]) -> None:
    """Print the warnings that a call gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    for warning in caught:
        print(f"{warning.category.__name__}: {str(warning.message).partition(' (Triggered internally')[0]}")


def run(source: str, names: dict[str, Any]) -> str | Exception:
    """What a statement prints, or the error it raises; `from torch.x import` imports from the library at hand."""
    source = source.replace("from torch.", f"from {names['torch'].__name__}.")
    out = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(out):
        warnings.simplefilter("ignore")
        try:
            before, sys.displayhook = sys.displayhook, sys.__displayhook__
            exec(compile(source, "<session>", "single"), names)
        except Exception as error:
            return error
        finally:
            sys.displayhook = before
            vars(builtins).pop("_", None)
    return out.getvalue()


def matches(got: str | Exception, want: str) -> bool:
    """Whether an output is the wanted one."""
    if isinstance(got, Exception):
        error = ERROR.fullmatch(want.rstrip("\n"))
        kinds = [kind.__name__ for kind in type(got).__mro__]
        return error is not None and error[1] in kinds and _same(str(got), error[2])
    return _same(got.replace("rushlight", "torch"), want)


def _same(got: str, want: str) -> bool:
    blank = re.sub(r"(?m)^$", "<BLANKLINE>", got.rstrip("\n"))
    plain = want.rstrip("\n")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return got.rstrip("\n") == plain or doctest.OutputChecker().check_output(plain, blank, flags)


def examples(text: str) -> list[doctest.Example | str]:
    """A row's prose and examples in turn."""
    return doctest.DocTestParser().parse(text)


@contextlib.contextmanager
def every_warning(library: Any) -> Iterator[None]:
    """Let the library repeat warnings that it gives once a process."""
    switch = getattr(library, "set_warn_always", lambda always: None)
    switch(True)
    try:
        yield
    finally:
        switch(False)


def check(text: str, library: Any) -> None:
    """Run a row; raises AssertionError at the first output that differs."""
    with every_warning(library), library.enable_grad():  # whatever mode a row leaves behind
        check_examples(text, library)


def check_examples(text: str, library: Any) -> None:
    """The examples of a row, one after the other."""
    names = scope(library)
    for example in examples(text):
        if isinstance(example, str):
            continue
        got = run(example.source, names)
        if not matches(got, example.want):
            shown = "".join(traceback.format_exception(got)) if isinstance(got, Exception) else got
            raise AssertionError(f">>> {example.source}wanted:\n{example.want}got:\n{shown}")


def written(got: str | Exception) -> str:
    """An output as it stands in a session."""
    if isinstance(got, Exception):
        return f"{type(got).__name__}: {got}\n"
    got = re.sub(r"0x[0-9a-f]+", "0x...", got)
    return re.sub(r"(?m)^$", "<BLANKLINE>", got.rstrip("\n")) + "\n" if got else ""
