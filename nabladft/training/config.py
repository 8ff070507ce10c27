"""Everything that decides a training run, as typed tables of ``config.toml``.

A file has two tables: ``[model]``, the hyperparameters that the model's own ``Config`` declares,
and ``[training]``, the class :class:`TrainingConfig` below. Every value has a default, an unknown
key is refused, and the complete configuration is written into the run folder.

Example:
    >>> config = read_training({"max_epochs": 3, "ema": {"decay": 0.99}}, place="config.toml")
    >>> config.max_epochs, config.ema.decay, config.optimizer.name
    (3, 0.99, 'adamw')
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from nabladft.errors import ConfigError, UnknownNameError
from nabladft.training.options import (
    Bound,
    Fraction,
    NotNegative,
    NotNegativeInt,
    Positive,
    PositiveInt,
    apply_overrides,
    read_table,
    read_toml,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LossKind = Literal["mse", "mae", "huber", "mse+mae", "rmse+mae"]
Logger = Literal["tensorboard", "wandb"]
Subtract = Literal["none", "core", "sap", "minao", "atom", "huckel"]
Precision = Literal["32-true", "64-true", "bf16-mixed"]


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimiser of all parameters.

    Attributes:
        name: AdamW, Adam (weight decay as an L2 term of the gradient), or Muon: orthogonal updates
            of matrices between hidden features, AdamW for everything else.
        learning_rate: At its largest; the schedule multiplies it.
        weight_decay: Strength of the decay.
        betas: Decay of the running means of the gradient and of its square.
        amsgrad: Whether to keep the maximum of the second moment; not of Muon.
        muon_learning_rate: Of the matrices; it follows the same schedule.
        muon_momentum: Weight of the past in the running mean of the gradient of the matrices.
    """

    name: Literal["adamw", "adam", "muon"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 0.0
    betas: tuple[Annotated[float, Bound(at_least=0.0, below=1.0)], ...] = (0.9, 0.999)
    amsgrad: bool = False
    muon_learning_rate: Positive = 2e-2
    muon_momentum: Annotated[float, Bound(at_least=0.0, below=1.0)] = 0.95

    def __post_init__(self) -> None:
        """Check the number of betas, and what Muon does not have."""
        if self.name == "muon" and self.amsgrad:
            message = "amsgrad is an option of adam and adamw, not of muon. Leave it out."
            raise ConfigError(message)
        if len(self.betas) != 2:
            message = f"betas must be two numbers, got {list(self.betas)}."
            raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate changes.

    Attributes:
        name: ``constant``; ``cosine`` falls to ``final_fraction`` at the last of ``max_epochs``;
            ``plateau`` multiplies by ``factor`` when the validation score has not improved for
            more than ``patience`` validations.
        warmup_steps: Steps in which the learning rate rises linearly from zero.
        final_fraction: Of ``cosine``.
        factor: Of ``plateau``.
        patience: Of ``plateau``.
        minimum_learning_rate: Of ``plateau``; it never falls below.
    """

    name: Literal["constant", "cosine", "plateau"] = "cosine"
    warmup_steps: NotNegativeInt = 0
    final_fraction: Fraction = 0.01
    factor: Annotated[float, Bound(above=0.0, below=1.0)] = 0.8
    patience: NotNegativeInt = 10
    minimum_learning_rate: NotNegative = 1e-6


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """How one predicted quantity enters the loss and the validation score.

    Attributes:
        kind: Function of the errors, see :func:`nabladft.training.losses.reduce_errors`.
        weight: Factor of its loss, which is in atomic units.
        validation_weight: Factor of its mean absolute error in the validation score.
        per_atom: Whether energy errors are divided by the number of atoms before the loss.
        huber_delta: Where ``huber`` turns from quadratic to linear, in atomic units.
    """

    kind: LossKind = "mse"
    weight: NotNegative = 1.0
    validation_weight: NotNegative = 1.0
    per_atom: bool = False
    huber_delta: Positive = 0.01


@dataclass(frozen=True, kw_only=True)
class OrbitalLossConfig:
    """Losses of the orbitals that come out of a predicted Hamiltonian, for fine-tuning.

    They are added to that of the Hamiltonian; see :mod:`nabladft.training.orbital_losses`. With
    this table, even an empty one, validations report errors of orbital energies.

    Attributes:
        energy_weight: Factor of the mean absolute error of orbital energies, in hartree.
        n_virtual: Besides the energies of occupied orbitals, so many of the lowest virtual ones
            count.
        alignment_weight: Factor of the error between reference orbitals, which has no unit.
        validation_weight: Factor of the mean absolute error of occupied orbital energies in the
            validation score.
    """

    energy_weight: NotNegative = 0.0
    n_virtual: NotNegativeInt = 4
    alignment_weight: NotNegative = 0.0
    validation_weight: NotNegative = 1.0


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """One table for each quantity that the model predicts; absent ones have the defaults.

    The table ``orbitals`` adds losses of what a Hamiltonian implies; it is off without one.
    """

    formation_energy: TargetConfig | None = None
    forces: TargetConfig | None = None
    hamiltonian: TargetConfig | None = None
    overlap: TargetConfig | None = None
    orbitals: OrbitalLossConfig | None = None


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """Exponential moving average of the weights, used to validate and to predict.

    Attributes:
        decay: Weight of the past at each step; 0 turns the average off. Early in training the
            decay is smaller, (1 + step) / (10 + step), so that the start is forgotten.
    """

    decay: Annotated[float, Bound(at_least=0.0, below=1.0)] = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The table ``[training]``.

    Attributes:
        seed: Of the initial weights, of the order of the data, and of dropout.
        max_epochs: Passes over the training part.
        max_minutes: Stop after this much training time; off by default, because where it stops
            depends on the machine.
        batch_size: Conformations of a training batch, on each device.
        batch_budget: Instead of ``batch_size``: largest sum of sizes of a batch, so that batches of
            large molecules hold fewer of them. A size is the number of atoms, for models of
            Hamiltonians the square of the number of orbitals.
        validation_batch_size: Conformations of a validation batch, without a budget.
        validate_every: Epochs between validations.
        checkpoint_minutes: Time between checkpoints. Another is saved at the end and when training
            is interrupted. When it is saved has no influence on the result.
        early_stopping: Stop when the validation score has not improved for more than this many
            validations; None never stops early.
        gradient_clip: Largest norm of the gradient of all parameters; None does not clip.
        augmentation: ``rotations`` turns each conformation of a training batch at random, with its
            forces and matrices, for models that are not equivariant by construction.
        subtract: What is taken away from Hamiltonians before the network sees them and added to
            what it predicts: ``none``; the ``core`` Hamiltonian, which needs no other program; or a
            guess of PySCF, superposed atomic potentials (``sap``) or the Fock matrix of superposed
            densities (``minao``, ``atom``) or of an extended Hückel matrix (``huckel``). See
            :mod:`nabladft.data.references`.
        precision: Numbers of the network.
        accelerator: Kind of device; ``auto`` is ``cuda`` where there is one.
        devices: Number of processes on each machine, each with one device.
        nodes: Number of machines; start the same command on each with ``torchrun`` or SLURM.
        strategy: ``auto`` is one process for one device, else DDP.
        cpu_threads: Threads of one operation on the CPU; None is torch's choice, all cores. In
            small models threads wait for each other longer than they work.
        num_workers: Processes that load data, for each device.
        in_memory: Whether to read all data before training; by default when they are small.
        loggers: Where to write the learning curve besides ``metrics.csv``.
        optimizer: See :class:`OptimizerConfig`.
        schedule: See :class:`ScheduleConfig`.
        loss: See :class:`LossConfig`.
        ema: See :class:`EmaConfig`.
    """

    seed: NotNegativeInt = 1
    max_epochs: PositiveInt = 100
    max_minutes: Positive | None = None
    batch_size: PositiveInt = 16
    batch_budget: PositiveInt | None = None
    validation_batch_size: PositiveInt = 32
    validate_every: PositiveInt = 1
    checkpoint_minutes: Positive = 1.0
    early_stopping: PositiveInt | None = None
    gradient_clip: Positive | None = None
    augmentation: Literal["none", "rotations"] = "none"
    subtract: Subtract = "none"
    precision: Precision = "32-true"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: PositiveInt = 1
    nodes: PositiveInt = 1
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] = "auto"
    cpu_threads: PositiveInt | None = None
    num_workers: NotNegativeInt = 0
    in_memory: bool | None = None
    loggers: tuple[Logger, ...] = ()
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)

    def targets(self, predicts: frozenset[str]) -> dict[str, TargetConfig]:
        """Give the loss of each predicted quantity, in a fixed order.

        Raises:
            ConfigError: There is a loss for something the model does not predict.
        """
        stated = {
            name: value
            for name, value in vars(self.loss).items()
            if isinstance(value, TargetConfig)
        }
        extra = sorted(set(stated) - predicts)
        if self.loss.orbitals is not None and "hamiltonian" not in predicts:
            extra.append("orbitals of a hamiltonian")
        if extra:
            message = (
                f"[training.loss] has {', '.join(extra)}, which the model does not predict. "
                f"It predicts {', '.join(sorted(predicts))}."
            )
            raise ConfigError(message)
        return {name: stated.get(name, TargetConfig()) for name in sorted(predicts)}


def read_training(table: dict[str, Any], *, place: str) -> TrainingConfig:
    """Read the table ``[training]``.

    Raises:
        ConfigError: See :func:`nabladft.training.options.read_table`.
    """
    return read_table(TrainingConfig, table, table="training", place=place)


def read_config_file(
    path: Path, overrides: Sequence[str] = ()
) -> tuple[dict[str, Any], TrainingConfig]:
    """Read a configuration file.

    Args:
        path: TOML file with the tables ``[model]`` and ``[training]``, both optional.
        overrides: ``"training.max_epochs=3"`` and the like, put over the file.

    Returns:
        The table ``[model]`` as it is (the model's ``Config`` reads it) and the typed
        ``[training]``.

    Raises:
        InputError: There is no such file.
        ConfigError: It is not TOML, or a table, key, type or value is not allowed.
    """
    content = apply_overrides(read_toml(path), overrides)
    place = f"{path} with {' '.join(overrides)}" if overrides else str(path)
    for name in content:
        if name not in {"model", "training"}:
            raise ConfigError(f"{place}: {UnknownNameError('table', name, ['model', 'training'])}")
    return content.get("model", {}), read_training(content.get("training", {}), place=place)
