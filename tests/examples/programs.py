"""The programs in examples/ that say `import torch`, and how the tests run them."""

import contextlib
import io
import re
import runpy
import sys
from pathlib import Path
from unittest import mock

STEPS = 20
FOLDER = Path(__file__).parents[2] / "examples"
GOLDEN = Path(__file__).parent / "golden"
LOSS = re.compile(r"(?:loss|test) (-?\d+\.\d+)\b(?!%)")

RUNS: dict[str, tuple[str, ...]] = {
    "gpt": ("gpt.py", "--write", "0"),
    "lstm_language_model": ("word_language_model.py", "--tied"),
    "gru_language_model": ("word_language_model.py", "--model", "GRU"),
    "transformer_language_model": ("word_language_model.py", "--model", "Transformer"),
    "vae": ("vae.py",),
    "dcgan": ("dcgan.py",),
    "resnet": ("resnet.py",),
    "vit": ("vit.py",),
    "actor_critic": ("actor_critic.py",),
    "time_sequence": ("time_sequence.py",),
}


def command_of(name: str) -> list[str]:
    """Program and options of a run, for 20 steps."""
    program, *options = RUNS[name]
    return [str(FOLDER / program), *options, "--steps", str(STEPS)]


def losses_in(text: str) -> list[float]:
    """All losses that a program printed."""
    return [float(value) for value in LOSS.findall(text)]


def losses_with_pytorch(name: str) -> list[float]:
    """Run the program in this process, where `import torch` gives PyTorch itself."""
    command = command_of(name)
    out = io.StringIO()
    with mock.patch.object(sys, "argv", command), contextlib.redirect_stdout(out):
        runpy.run_path(command[0], run_name="__main__")
    return losses_in(out.getvalue())
