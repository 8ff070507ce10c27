"""Learning curves for TensorBoard and Weights & Biases, for those who ask for them.

``metrics.csv`` is always written and needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from nabladft.errors import missing_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


class _Writer(Protocol):
    def log(self, row: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Loggers:
    """Several listeners of the learning curve.

    Args:
        names: ``"tensorboard"`` (into ``<run>/tensorboard``) and ``"wandb"`` (its login applies).
        folder: The run folder.
        config: The complete configuration, shown beside the curve.

    Raises:
        MissingExtraError: One of them is not installed.
    """

    def __init__(self, names: Sequence[str], *, folder: Path, config: Mapping[str, Any]) -> None:
        """See the class."""
        makers: dict[str, Callable[[Path, Mapping[str, Any]], _Writer]] = {
            "tensorboard": _TensorBoard,
            "wandb": _Wandb,
        }
        self._writers = [makers[name](folder, config) for name in names]

    def log(self, row: Mapping[str, float]) -> None:
        """Write a row of the learning curve; ``row["step"]`` is its place."""
        for writer in self._writers:
            writer.log(row)

    def close(self) -> None:
        """Write what is pending."""
        for writer in self._writers:
            writer.close()


class _TensorBoard:
    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:  # noqa: ARG002
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional, slow
        except ImportError as error:
            raise missing_extra("The TensorBoard logger", "loggers", error) from error
        self._writer = SummaryWriter(str(folder / "tensorboard"))  # type: ignore[no-untyped-call,unused-ignore]

    def log(self, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            self._writer.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        try:
            import wandb  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        except ImportError as error:
            raise missing_extra("The Weights & Biases logger", "loggers", error) from error
        self._run = wandb.init(
            project="nabladft", name=folder.name, dir=str(folder), config=dict(config)
        )

    def log(self, row: Mapping[str, float]) -> None:
        self._run.log(dict(row), step=int(row["step"]))

    def close(self) -> None:
        self._run.finish()
