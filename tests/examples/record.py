"""Records PyTorch's losses of the examples: `python -m tests.examples.record`, from the root of the repository."""

import json

import torch

from tests.examples.programs import GOLDEN, RUNS, STEPS, losses_with_pytorch


def main() -> None:
    """Write one file per run."""
    for name in RUNS:
        losses = losses_with_pytorch(name)
        record = {"torch": torch.__version__, "steps": STEPS, "losses": losses}
        (GOLDEN / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
        print(f"{name}: {losses[0]:.4f} -> {losses[-1]:.4f}")


if __name__ == "__main__":
    main()
