"""Printing the compiler's stages: RUSHLIGHT_DEBUG names them, RUSHLIGHT_DUMP writes them to numbered files."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from rushlight.config import get

_numbers = itertools.count()


def is_shown(topic: str) -> bool:
    """Whether a topic is to be printed, dumped or, for `verify` and `guard`, done."""
    named = get("DEBUG")
    if topic in named or topic == "guard":
        return topic in named
    return "all" in named or bool(get("DUMP")) and topic != "verify"


def show(topic: str, text: str, suffix: str = "txt") -> None:
    """Print `text` if RUSHLIGHT_DEBUG names `topic`, and write it to a numbered file of the folder RUSHLIGHT_DUMP."""
    named, folder = get("DEBUG"), get("DUMP")
    if topic in named or "all" in named:
        print(f"-- rushlight: {topic}\n{text}", file=sys.stderr)
    if folder:
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{next(_numbers):03}-{topic}.{suffix}").write_text(text, encoding="utf-8")
