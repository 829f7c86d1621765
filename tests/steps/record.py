"""Records the golden losses with PyTorch: `python -m tests.steps.record`, from the root of the repository."""

import json

import torch

from tests.steps.programs import GOLDEN, PROGRAMS, SEED, STEPS, train


def main() -> None:
    """Write one file per program."""
    for name in PROGRAMS:
        losses, sizes = train(torch, name)
        record = {"torch": torch.__version__, "seed": SEED, "steps": STEPS, "losses": losses, "sizes": sizes}
        (GOLDEN / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
        print(f"{name}: {losses[0]:.4f} -> {losses[-1]:.4f}")


if __name__ == "__main__":
    main()
