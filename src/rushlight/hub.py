"""`torch.hub`: fetching code and weights from the network, which this package does not do."""

from __future__ import annotations

from typing import Any


def _refuse(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"torch.hub.{name} is not implemented: it would fetch and run code or weights from the network; download the "
        "file yourself and use load_state_dict(torch.load(path))"
    )


def load(repo_or_dir: Any, model: Any, *args: Any, **options: Any) -> Any:
    """Refuse."""
    raise _refuse("load")


def list(github: Any, *args: Any, **options: Any) -> Any:
    """Refuse."""
    raise _refuse("list")


def help(github: Any, model: Any, *args: Any, **options: Any) -> Any:
    """Refuse."""
    raise _refuse("help")


def load_state_dict_from_url(url: str, *args: Any, **options: Any) -> Any:
    """Refuse."""
    raise _refuse("load_state_dict_from_url")


def download_url_to_file(url: str, dst: str, *args: Any, **options: Any) -> None:
    """Refuse."""
    raise _refuse("download_url_to_file")


def get_dir() -> str:
    """Refuse."""
    raise _refuse("get_dir")


def set_dir(d: Any) -> None:
    """Refuse."""
    raise _refuse("set_dir")
