"""Records the golden values with PyTorch: `python -m tests.optim.record`."""

from __future__ import annotations

import json
import warnings

from tests.optim.cases import GOLDEN, OPTIMIZERS, SCHEDULERS, name_of, schedule, train
from tests.optim.test_lbfgs import SETTINGS, fit


def main() -> None:
    """Write the files."""
    import torch

    warnings.simplefilter("ignore")
    GOLDEN.mkdir(exist_ok=True)
    values = {
        "optimizers": {name_of(c): [p.tolist() for p in train(torch, *c)[0]] for c in OPTIMIZERS},
        "schedulers": {name_of(c): schedule(torch, *c)[0] for c in SCHEDULERS},
        "lbfgs": {str(settings): fit(torch, settings)[0] for settings in SETTINGS},
    }
    for name, content in values.items():
        (GOLDEN / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
