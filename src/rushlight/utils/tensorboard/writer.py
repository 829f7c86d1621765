"""`SummaryWriter`: values of a training run as event files."""

from __future__ import annotations

import io
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from rushlight.utils.tensorboard import graph, summaries
from rushlight.utils.tensorboard.record_file import EventFile, event

__all__ = ["SummaryWriter"]


class SummaryWriter:
    """Writes values of a run into an event file in `log_dir`, for TensorBoard to show.

    Parameters
    ----------
    log_dir : str or Path, optional
        `runs/` with the time, the machine's name and `comment` if not given.
    comment : str
    purge_step : int, optional
        TensorBoard hides events of this step and later that an interrupted run left.
    max_queue : int
        Events that may wait in memory.
    flush_secs : float
        Seconds after which waiting events are written.
    filename_suffix : str

    Examples
    --------
    >>> import tempfile
    >>> from rushlight.utils.tensorboard import SummaryWriter
    >>> with SummaryWriter(tempfile.mkdtemp()) as writer:
    ...     for step in range(3):
    ...         writer.add_scalar("loss", 1 / (step + 1), step)
    """

    def __init__(
        self, log_dir: Any = None, comment: str = "", purge_step: int | None = None, max_queue: int = 10,
        flush_secs: float = 120, filename_suffix: str = "",
    ) -> None:  # fmt: skip
        if not log_dir:
            now = datetime.now().strftime("%b%d_%H-%M-%S")
            log_dir = Path("runs") / f"{now}_{socket.gethostname()}{comment}"
        self.log_dir = str(log_dir)
        self.purge_step, self.max_queue, self.flush_secs = purge_step, max_queue, flush_secs
        self.filename_suffix = filename_suffix
        self._files: dict[str, EventFile] = {}
        self._file()

    def _file(self, below: str = "") -> EventFile:
        """The event file of the run, or of a folder below it."""
        if below not in self._files:
            folder = Path(self.log_dir) / below if below else Path(self.log_dir)
            self._files[below] = made = EventFile(folder, self.max_queue, self.flush_secs, self.filename_suffix)
            if self.purge_step is not None:
                # Field 7 is a session log; its status 1 is a start.
                made.add(event(b"\x3a\x02\x08\x01", self.purge_step, None))
        return self._files[below]

    def _add(self, encoded: bytes, step: Any, walltime: float | None) -> None:
        self._file().add(event(encoded, None if step is None else int(step), walltime))

    def get_logdir(self) -> str:
        """The folder of the run."""
        return self.log_dir

    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: Any = None, walltime: float | None = None,
        new_style: bool = False, double_precision: bool = False,
    ) -> None:  # fmt: skip
        """A number at a step."""
        self._add(summaries.scalar(tag, scalar_value, new_style, double_precision), global_step, walltime)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: Any = None, walltime: float | None = None
    ) -> None:
        """Several numbers for one plot, each in a run of its own below this one."""
        walltime = time.time() if walltime is None else walltime
        for tag, value in tag_scalar_dict.items():
            below = f"{main_tag.replace('/', '_')}_{tag}"
            step = None if global_step is None else int(global_step)
            self._file(below).add(event(summaries.scalar(main_tag, value), step, walltime))

    def add_histogram(
        self, tag: str, values: Any, global_step: Any = None, bins: Any = "tensorflow",
        walltime: float | None = None, max_bins: int | None = None,
    ) -> None:  # fmt: skip
        """How the elements of a tensor are spread."""
        self._add(summaries.histogram(tag, values, bins, max_bins), global_step, walltime)

    def add_histogram_raw(
        self, tag: str, min: float, max: float, num: float, sum: float, sum_squares: float,
        bucket_limits: Sequence[float], bucket_counts: Sequence[float], global_step: Any = None,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """A histogram counted elsewhere."""
        if len(bucket_limits) != len(bucket_counts):
            raise ValueError("len(bucket_limits) != len(bucket_counts), see the document.")
        encoded = summaries.histogram_raw(tag, min, max, num, sum, sum_squares, bucket_limits, bucket_counts)
        self._add(encoded, global_step, walltime)

    def add_image(
        self, tag: str, img_tensor: Any, global_step: Any = None, walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:  # fmt: skip
        """A picture: floats in [0, 1] or uint8."""
        self._add(summaries.image(tag, img_tensor, dataformats), global_step, walltime)

    def add_images(
        self, tag: str, img_tensor: Any, global_step: Any = None, walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:  # fmt: skip
        """A batch of pictures as one grid."""
        self.add_image(tag, img_tensor, global_step, walltime, dataformats)

    def add_figure(
        self, tag: str, figure: Any, global_step: Any = None, close: bool = True, walltime: float | None = None
    ) -> None:
        """A matplotlib figure, or a list of them, as pictures."""
        for one in figure if isinstance(figure, list | tuple) else [figure]:
            file = io.BytesIO()
            one.savefig(file, format="png")
            data = file.getvalue()
            width, height = struct.unpack(">II", data[16:24])
            self._add(summaries.encoded_image(tag, data, height, width, 4), global_step, walltime)
            if close:
                one.clear()

    def add_text(self, tag: str, text_string: str, global_step: Any = None, walltime: float | None = None) -> None:
        """A text, shown as Markdown."""
        self._add(summaries.text(tag, text_string), global_step, walltime)

    def add_audio(
        self, tag: str, snd_tensor: Any, global_step: Any = None, sample_rate: int = 44100,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """A sound of one channel."""
        self._add(summaries.audio(tag, snd_tensor, sample_rate), global_step, walltime)

    def add_hparams(
        self, hparam_dict: Mapping[str, Any], metric_dict: Mapping[str, Any],
        hparam_domain_discrete: Mapping[str, Sequence[Any]] | None = None, run_name: str | None = None,
        global_step: Any = None,
    ) -> None:  # fmt: skip
        """Settings of the run and what it reached, in a run of its own below this one."""
        if not isinstance(hparam_dict, dict) or not isinstance(metric_dict, dict):
            raise TypeError("hparam_dict and metric_dict should be dictionary.")
        encoded = summaries.hyperparameters(hparam_dict, metric_dict, hparam_domain_discrete)
        folder = Path(self.log_dir) / (run_name or str(time.time()))
        with SummaryWriter(folder) as writer:
            for part in encoded:
                writer._add(part, global_step, None)
            for name, value in metric_dict.items():
                writer.add_scalar(name, value, global_step)

    def add_graph(
        self, model: Any, input_to_model: Any = None, verbose: bool = False, use_strict_trace: bool = True
    ) -> None:
        """The operations of a model, grouped by its modules, as one run on `input_to_model` shows them."""
        nodes = graph.graph_of(model, () if input_to_model is None else input_to_model)
        if verbose:
            print(*nodes, sep="\n")
        self._add(graph.encoded_graph(nodes), None, None)

    def flush(self) -> None:
        """Write all waiting events."""
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        """Write all waiting events and close the files; a later `add_...` opens new ones."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_files"):
            self.close()


def _missing(name: str) -> Callable[..., None]:
    def method(self: SummaryWriter, *args: Any, **options: Any) -> None:
        raise NotImplementedError(f"SummaryWriter.{name} is not implemented")

    method.__name__ = name
    method.__doc__ = "Refuse: not implemented."
    return method


for missing in (
    "add_onnx_graph", "add_embedding", "add_pr_curve", "add_pr_curve_raw", "add_video", "add_mesh",
    "add_custom_scalars", "add_custom_scalars_multilinechart", "add_custom_scalars_marginchart", "add_image_with_boxes",
):  # fmt: skip
    setattr(SummaryWriter, missing, _missing(missing))
