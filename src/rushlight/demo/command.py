"""The command `rushlight demo`: options, progress on the terminal, and the files it leaves."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rushlight.cli import Command
from rushlight.demo.digits import SOURCE, digit_as_text, split_digits
from rushlight.demo.training import Progress, build_model, scores, train
from rushlight.nn.module import Module
from rushlight.random import manual_seed
from rushlight.serialization import load, save
from rushlight.tensor import Tensor
from rushlight.utils.collect_env import installed_version
from rushlight.utils.data import TensorDataset
from rushlight.utils.plotting import learning_curves
from rushlight.version import __version__

BAR_WIDTH = 24
DIGITS_IN_A_ROW = 4
History = dict[str, list[float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `rushlight demo`."""
    parser.add_argument("--epochs", type=int, default=12, help="passes over the training images (default 12)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split, the weights and the order (default 0)")
    parser.add_argument("--out", type=Path, default=Path("rushlight-demo"), help="folder for checkpoint and picture")
    parser.add_argument("--compile", action="store_true", help="compile the training step, and say what that gains")
    parser.add_argument("--no-plot", action="store_true", help="leave out the picture of the learning curves")


def run(arguments: argparse.Namespace) -> int:
    """Train, save, reload, compare, and show some digits."""
    if arguments.epochs < 1:
        print("rushlight demo: --epochs must be at least 1", file=sys.stderr)
        return 2
    data, test = split_digits(arguments.seed)
    manual_seed(arguments.seed)
    model = build_model()
    print(f"Rushlight {__version__}: a convolutional network learns to read handwritten digits")
    print(f"data        {len(data)} images to train on, {len(test)} to test on ({SOURCE})")
    print(f"model       {sum(p.numel() for p in model.parameters()):,} parameters")
    started = time.perf_counter()
    history, last = train_and_show(model, data, test, arguments.epochs, arguments.seed, arguments.compile)
    seconds = time.perf_counter() - started
    print(f"result      {history['test accuracy'][-1]:.1%} of the test images read correctly after {seconds:.1f} s")
    if arguments.compile:
        compare_with_eager(last, data, test, arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    same = save_and_compare(model, test.tensors[0], arguments.out / "digits.pth")
    if not arguments.no_plot:
        save_picture(history, arguments.out / "learning-curve")
    show_digits(model, test)
    return 0 if same else 1


def train_and_show(
    model: Module, data: TensorDataset, test: TensorDataset, epochs: int, seed: int, compiled: bool
) -> tuple[History, Progress]:
    """Train with a line of progress per epoch, and return the figures of every epoch and the last report."""
    history: History = {"loss": [], "train accuracy": [], "test accuracy": []}
    live = sys.stdout.isatty()
    for progress in train(model, data, test, epochs, seed, compiled):
        if live:
            print("\r" + progress_line(progress, epochs), end="", flush=True)
        if progress.done == 1.0:
            print("" if live else progress_line(progress, epochs), flush=True)
            history["loss"].append(progress.loss)
            history["train accuracy"].append(progress.train_accuracy)
            history["test accuracy"].append(progress.test_accuracy)
    return history, progress


def compare_with_eager(done: Progress, data: TensorDataset, test: TensorDataset, arguments: argparse.Namespace) -> None:
    """Train a second model from the same seed without the compiler, and print what the steps of both took."""
    print("speed       training once more without the compiler, to compare", flush=True)
    manual_seed(arguments.seed)
    *_, eager = train(build_model(), data, test, arguments.epochs, arguments.seed)
    times = (
        f"{done.stepping:.2f} s (the first, which compiles, {done.first_step:.2f} s), eagerly {eager.stepping:.2f} s"
    )
    print(f"speed       all training steps took {times}: compiled {eager.stepping / done.stepping:.1f} times as fast")
    print(f"            last loss {done.loss:.4f}, eagerly {eager.loss:.4f}")


def progress_line(progress: Progress, epochs: int) -> str:
    """One epoch as a bar and its figures so far."""
    bar = ("#" * round(progress.done * BAR_WIDTH)).ljust(BAR_WIDTH, ".")
    line = f"epoch {progress.epoch:>2}/{epochs} [{bar}] loss {progress.loss:.4f}"
    if progress.done == 1.0:
        line += f"  train {progress.train_accuracy:6.1%}  test {progress.test_accuracy:6.1%}  {progress.seconds:.2f} s"
    return line


def save_and_compare(model: Module, images: Tensor, path: Path) -> bool:
    """Save the model's state, load it into a new model, and say whether both give the same scores."""
    save(model.state_dict(), path)
    restored = build_model()
    restored.load_state_dict(load(path))
    same = bool((scores(model, images) == scores(restored, images)).all())
    verdict = "gives the same scores" if same else "DOES NOT give the same scores"
    print(f"checkpoint  {path}; loaded into a new model it {verdict} on all {len(images)} test images")
    return same


def save_picture(history: History, path: Path) -> None:
    """Write the learning curves as SVG, and as PNG too where matplotlib is installed."""
    picture = learning_curves(history, title="Rushlight demo: learning curves")
    files = [picture.save(path.with_suffix(".svg"))]
    if installed_version("matplotlib") is not None:
        files.append(picture.save(path.with_suffix(".png")))
    print(f"picture     {', '.join(map(str, files))}")


def show_digits(model: Module, test: TensorDataset) -> None:
    """Print some test images with what the model reads, then some that it misreads."""
    images, labels = test.tensors
    predictions = scores(model, images).argmax(1)
    wrong = [k for k in range(len(labels)) if predictions[k] != labels[k]]
    print()
    for chosen in (range(DIGITS_IN_A_ROW), wrong[:DIGITS_IN_A_ROW]):
        if not chosen:
            continue
        pictures = [digit_as_text(images[k].numpy()) for k in chosen]
        captions = [caption(int(predictions[k]), int(labels[k])).center(16) for k in chosen]
        print("\n".join("  ".join(parts).rstrip() for parts in zip(*pictures, strict=True)))
        print("  ".join(captions).rstrip(), end="\n\n")


def caption(prediction: int, label: int) -> str:
    """What stands below a digit."""
    return f"read as {prediction}" if prediction == label else f"{label} read as {prediction}"


DEMO = Command("demo", "train a small network on real handwritten digits", run, add_arguments)
