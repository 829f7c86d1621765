"""Write `golden.json` from PyTorch: `python -m tests.random.record` in an environment that has it."""

import json
from pathlib import Path

import torch

from tests.random.streams import STREAMS, digest, first_numbers, run

if __name__ == "__main__":
    drawn = {name: run(program, torch) for name, program in STREAMS.items()}
    rows = {name: [digest(value), first_numbers(value)] for name, value in drawn.items()}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    Path(__file__).with_name("golden.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")
