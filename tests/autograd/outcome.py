"""What a program gave, as plain data that JSON keeps: tensors by value, exceptions by type and text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden.json"
DIGITS = 5


def plain(value: Any) -> Any:
    """`value` as lists, dicts, strings and numbers; a tensor as [dtype, shape, values, requires_grad]."""
    if hasattr(value, "requires_grad_"):
        flat = [plain(v) for v in value.detach().reshape(-1).tolist()]
        return [str(value.dtype).removeprefix("torch."), list(value.shape), flat, value.requires_grad]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    if isinstance(value, float):
        return str(value) if value != value or abs(value) == float("inf") else float(f"{value:.{DIGITS}g}") + 0.0
    return value if value is None or isinstance(value, (bool, int, str)) else type(value).__name__


def raised(call: Callable[[], Any]) -> list[Any]:
    """Type and text of what `call` raises, or its value."""
    try:
        got = call()
    except Exception as error:
        return ["raised", type(error).__name__, str(error).split("\n")[0]]
    return ["returned", plain(got)]


def outcome(torch: Any, program: Callable[[Any], Any]) -> Any:
    """What `program` returns with this framework, as it reads back from JSON."""
    torch.manual_seed(0)
    return json.loads(json.dumps(plain(program(torch))))
