"""Records what PyTorch gives for every program: `python -m tests.autograd.record`, from the root of the repository."""

import json
import warnings

import torch
import torch.func
import torch.utils.checkpoint

from tests.autograd.outcome import GOLDEN, outcome
from tests.autograd.programs import PROGRAMS


def main() -> None:
    """Write the golden file, one program a line."""
    warnings.simplefilter("ignore")
    lines = [f" {json.dumps(name)}: {json.dumps(outcome(torch, program))}" for name, program in PROGRAMS.items()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(lines)} programs, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
