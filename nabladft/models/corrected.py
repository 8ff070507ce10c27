"""A model of Hamiltonians that corrects a reference instead of predicting the whole matrix.

Any model can be trained so: it sees labels without the reference, and what it predicts is added to
the reference, which comes with the batch. Outside, the result is a model of the whole Hamiltonian,
so losses, metrics and predictions do not change.

Example:
    >>> model = CorrectedReference(network, "sap")  # doctest: +SKIP
    >>> data = HamiltonianDataset("nano", reference="sap")  # doctest: +SKIP
    >>> model(data[0])["hamiltonian"]  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from nabladft.errors import ConfigError, InputError
from nabladft.models.contract import Preparable

if TYPE_CHECKING:
    from torch import Tensor

    from nabladft.data.batch import Batch


class CorrectedReference(nn.Module):
    """Adds the reference of the batch to what a model predicts.

    Whatever else is asked of it, such as ``predicts`` or ``orbital_order``, is the model's.

    Args:
        model: Predicts ``hamiltonian``.
        method: Name of the reference, see :mod:`nabladft.data.references`.

    Attributes:
        reference_method: ``method``, for datasets to provide it.

    Raises:
        ConfigError: The model does not predict Hamiltonians.
    """

    def __init__(self, model: nn.Module, method: str) -> None:
        """See the class."""
        super().__init__()
        predicts: frozenset[str] = getattr(model, "predicts", frozenset())
        if "hamiltonian" not in predicts:
            message = (
                f"A reference {method!r} can be subtracted from Hamiltonians only; "
                f"{type(model).__name__} predicts {', '.join(sorted(predicts)) or 'nothing'}."
            )
            raise ConfigError(message)
        self.model = model
        self.reference_method = method

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the model has
        """Look for an attribute here, then in the model."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Predict, as the model does.

        Raises:
            InputError: The batch has no reference.
        """
        reference = self._reference(batch)
        output: dict[str, Tensor] = self.model(batch)
        # In the wider of both types: the correction may be in 16 bits, the sum must not be.
        return {**output, "hamiltonian": output["hamiltonian"] + reference}

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Let the model prepare itself, if it does, on labels without the reference."""
        if isinstance(self.model, Preparable):
            self.model.prepare(_Remainders(self, batches))

    def without_reference(self, batch: Batch) -> Batch:
        """Subtract the reference from the label."""
        remainder = batch.labels["hamiltonian"] - self._reference(batch)
        return replace(batch, labels={**batch.labels, "hamiltonian": remainder})

    def _reference(self, batch: Batch) -> Tensor:
        if batch.reference_hamiltonian is None:
            message = (
                "The batch has no reference Hamiltonian, which this model corrects. Use "
                f"HamiltonianDataset(..., reference={self.reference_method!r})."
            )
            raise InputError(message)
        return batch.reference_hamiltonian


class _Remainders(Iterable["Batch"]):
    """Batches without the reference, as often as they are asked for."""

    def __init__(self, model: CorrectedReference, batches: Iterable[Batch]) -> None:
        self._model, self._batches = model, batches

    def __iter__(self) -> Iterator[Batch]:
        return (self._model.without_reference(batch) for batch in self._batches)
