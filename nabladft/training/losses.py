"""From predictions and labels to a loss to descend and an error to report.

Both are computed here for every quantity, so that what is trained and what is validated cannot
drift apart. Everything is in atomic units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from nabladft.data.blocks import value_weights
from nabladft.errors import ModelError, RunError
from nabladft.models.contract import PREDICTABLE_MATRICES
from nabladft.training.orbital_losses import REPORTED, OrbitalObjective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from nabladft.data.batch import Batch
    from nabladft.training.config import LossKind, OrbitalLossConfig, TargetConfig


def reduce_errors(
    errors: Tensor, weights: Tensor | None, kind: LossKind, *, huber_delta: float
) -> Tensor:
    """Reduce errors e with weights w (1 by default) to one number.

    ``mse`` is Σ w e² / Σ w, ``mae`` is Σ w |e| / Σ w, ``rmse`` the square root of ``mse``;
    ``huber`` averages e² / 2 for |e| < delta and delta (|e| - delta / 2) beyond; ``a+b`` is their
    sum.

    Args:
        errors: Predicted minus reference, shape (n,) or (n, 3).
        weights: Shape of ``errors``, or None.
        kind: Name of the function.
        huber_delta: Where ``huber`` changes, in the unit of ``errors``.

    Returns:
        Scalar; squared unit of ``errors`` for ``mse`` and ``huber``.
    """

    def mean(values: Tensor) -> Tensor:
        return values.mean() if weights is None else (values * weights).sum() / weights.sum()

    if kind == "huber":
        zeros = torch.zeros_like(errors)
        return mean(
            torch.nn.functional.huber_loss(errors, zeros, reduction="none", delta=huber_delta)
        )
    total = torch.zeros((), dtype=errors.dtype, device=errors.device)
    for term in kind.split("+"):
        if term == "mae":
            total = total + mean(errors.abs())
        else:
            square = mean(errors**2)
            total = total + (square if term == "mse" else torch.sqrt(square + _TINY))
    return total


#: Keeps the derivative of a square root finite at zero error.
_TINY: Final = 1e-24


class Objective:
    """The loss of a batch, and sums from which mean absolute errors are made.

    Args:
        targets: Configuration of each predicted quantity.
        orbitals: Further losses of predicted Hamiltonians, or None.
    """

    def __init__(
        self, targets: Mapping[str, TargetConfig], orbitals: OrbitalLossConfig | None = None
    ) -> None:
        """See the class."""
        self.targets = dict(targets)
        self._orbitals = None if orbitals is None else OrbitalObjective(orbitals)

    @property
    def fields(self) -> tuple[str, ...]:
        """Labels that batches must have."""
        extra = {"overlap"} if self._orbitals is not None else set()
        return tuple(sorted(extra.union(self.targets)))

    @property
    def reported(self) -> dict[str, float]:
        """Quantities with a mean absolute error, and the weight of each in the score."""
        weights = {name: target.validation_weight for name, target in self.targets.items()}
        if self._orbitals is not None:
            weights |= dict.fromkeys(REPORTED, 0.0)
            weights[REPORTED[0]] = self._orbitals.config.validation_weight
        return weights

    def loss(self, predicted: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Sum the weighted losses of all quantities; scalar.

        Raises:
            ModelError: A prediction is absent or of another shape than its label.
        """
        total: Tensor | None = None
        for name, target in self.targets.items():
            errors, weights = _errors(name, predicted, batch)
            if target.per_atom and name == "formation_energy":
                errors = errors / (batch.atom_offsets[1:] - batch.atom_offsets[:-1])
            term = target.weight * reduce_errors(
                errors, weights, target.kind, huber_delta=target.huber_delta
            )
            total = term if total is None else total + term
        assert total is not None
        if self._orbitals is not None:
            total = total + self._orbitals.loss(predicted["hamiltonian"], batch)
        return total

    def absolute_errors(self, predicted: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Sum the absolute errors and count them.

        Energies count once per conformation, forces once per component, matrices once per
        element of the full matrix, occupied orbitals each once.

        Returns:
            Shape (n_reported, 2), float64: sum and count, in the order of :attr:`reported`.

        Raises:
            ModelError: A prediction is absent or of another shape than its label.
        """
        rows = []
        for name in self.targets:
            errors, weights = _errors(name, predicted, batch)
            values = errors.detach().double().abs()
            factors = torch.ones_like(values) if weights is None else weights.double()
            rows.append(torch.stack([(values * factors).sum(), factors.sum()]))
        sums = torch.stack(rows)
        if self._orbitals is None:
            return sums
        return torch.cat([sums, self._orbitals.absolute_errors(predicted["hamiltonian"], batch)])

    def summarise(self, sums: Tensor) -> dict[str, float]:
        """Make mean absolute errors and the validation score out of summed errors.

        Args:
            sums: Sum over batches and processes of :meth:`absolute_errors`.

        Returns:
            ``"<quantity>_mae"`` in atomic units, and ``"score"``, their sum weighted with
            ``validation_weight``; smaller is better.

        Raises:
            RunError: An error is not finite: training has diverged.
        """
        result, score = {}, 0.0
        for (name, weight), (total, count) in zip(
            self.reported.items(), sums.tolist(), strict=True
        ):
            mae = total / count
            result[f"{name}_mae"] = mae
            score += weight * mae
        if not torch.isfinite(sums).all():
            message = (
                "Training has diverged: the validation error is not a finite number. Lower "
                "training.optimizer.learning_rate, or set training.gradient_clip."
            )
            raise RunError(message)
        return {**result, "score": score}


def _errors(
    name: str, predicted: Mapping[str, Tensor], batch: Batch
) -> tuple[Tensor, Tensor | None]:
    """Subtract the label; the weights count how often a value stands for an element."""
    if name not in predicted:
        message = f"The model declares {name!r} but returned only {sorted(predicted)}."
        raise ModelError(message)
    value, label = predicted[name], batch.labels[name]
    if value.shape != label.shape:
        message = (
            f"The model returned {name} of shape {tuple(value.shape)}; "
            f"the label has shape {tuple(label.shape)}."
        )
        raise ModelError(message)
    errors = value - label.to(value.dtype)
    if name not in PREDICTABLE_MATRICES:
        return errors, None
    assert batch.blocks is not None
    return errors, value_weights(batch.blocks).to(errors.dtype)
