"""The command line: what a command is, and the commands `info`, `run` and `cache`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from rushlight import config
from rushlight.compiler import cache
from rushlight.distributed.launch import launch
from rushlight.errors import shorten_tracebacks
from rushlight.torch_alias import install_as_torch
from rushlight.utils.collect_env import get_pretty_env_info
from rushlight.version import __version__


@dataclass(frozen=True)
class Command:
    """One subcommand: `add_arguments` declares its options, `run` receives them and returns the exit status."""

    name: str
    help: str
    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None


def main(commands: Sequence[Command], arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: the process's) name; without one, show what there is."""
    parser = argparse.ArgumentParser(prog="rushlight", description="Deep learning with PyTorch's API, in Python.")
    parser.add_argument("--version", action="version", version=f"rushlight {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in commands:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    chosen = parser.parse_args(arguments)
    if not hasattr(chosen, "run"):
        print(get_pretty_env_info(), end="\n\n")
        parser.print_help()
        return 0
    status: int = chosen.run(chosen)
    return status


def show_info(arguments: argparse.Namespace) -> int:
    """Print versions, CPU features, threads and devices."""
    print(get_pretty_env_info())
    return 0


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rushlight run`."""
    parser.add_argument("script", type=Path, help="a Python program that says `import torch`")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="passed to the program")


def run_script(arguments: argparse.Namespace) -> int:
    """Run a program as `python script.py args` would, with `torch` being Rushlight."""
    script: Path = arguments.script
    try:
        source = script.read_bytes()
    except OSError as error:
        print(f"rushlight run: {error}", file=sys.stderr)
        return 2
    main_module = ModuleType("__main__")  # multiprocessing finds the program through this module
    main_module.__file__ = str(script)
    main_module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main_module
    sys.argv = [str(script), *arguments.args]
    sys.path[0] = str(script.resolve().parent)
    install_as_torch()
    try:
        execute(source, script, main_module)
    except Exception as error:
        error.__traceback__ = without_our_frames(error.__traceback__)
        if config.get("TRACEBACK") == "short":
            shorten_tracebacks(error)
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rushlight launch`."""
    parser.add_argument("-n", "--processes", type=int, default=2, help="how many processes (default 2)")
    parser.add_argument("--port", type=int, help="port of the first process, on which the others find it")
    add_run_arguments(parser)


def launch_script(arguments: argparse.Namespace) -> int:
    """Run a program in several processes, each as `rushlight run` would."""
    if arguments.processes < 1:
        print("rushlight launch: at least one process is needed", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "rushlight", "run", str(arguments.script), *arguments.args]
    return launch(command, arguments.processes, arguments.port)


def execute(source: bytes, script: Path, main_module: ModuleType) -> None:
    """Compile and run the program in its module."""
    code: CodeType = compile(source, str(script), "exec", dont_inherit=True)
    exec(code, main_module.__dict__)


def without_our_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the program's own first line on, as if Python had run it."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rushlight cache`."""
    parser.add_argument("--clear", action="store_true", help="remove all of it")


def show_cache(arguments: argparse.Namespace) -> int:
    """Print where compiled code is kept and how much there is, or remove it."""
    folder = cache.folder_in_use()
    if folder is None:
        print("compiled code is not kept: RUSHLIGHT_CACHE=0, or no folder that only you can write to")
        return 0
    if arguments.clear:
        print(f"removed {cache.clear(folder)} entries from {folder}")
        return 0
    sizes = [size for _, size, _ in cache.entries(folder)]
    print(f"folder   {folder}\nentries  {len(sizes)}\nbytes    {sum(sizes)} of at most {cache.MOST_BYTES}")
    return 0


INFO = Command("info", "print versions, CPU features, threads and devices", show_info)
RUN = Command("run", "run a program that says `import torch` on Rushlight", run_script, add_run_arguments)
CACHE = Command("cache", "show or clear the compiled code kept on disk", show_cache, add_cache_arguments)
LAUNCH = Command(
    "launch", "run a program in several processes that use torch.distributed", launch_script, add_launch_arguments
)
