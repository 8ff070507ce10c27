"""What every model of energies and forces must keep, as one function."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from nabladft.errors import ModelError
from nabladft.models.contract import Preparable, check_attributes, is_conservative
from nabladft.testing.molecules import MOLECULES, batch_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nabladft.testing.molecules import FloatArray, Molecule

#: Largest deviation allowed, relative to the largest value (at least :data:`_SMALL`).
TOLERANCES: Final = {torch.float32: 1e-4, torch.float64: 1e-9}
#: Of central differences with :data:`_STEP`, whose own error is of the order of its square.
_GRADIENT_TOLERANCE: Final = 1e-6
_STEP: Final = 1e-4
#: Hartree, hartree/bohr: below this, deviations are compared with this.
_SMALL: Final = 0.01
#: Where molecules cannot feel each other, bohr.
_FAR: Final = 1e3


def check_energy_model(
    model: torch.nn.Module, *, molecules: Sequence[Molecule] = MOLECULES, seed: int = 0
) -> None:
    """Check that a model keeps the contract of energy models, in float32 and float64.

    A copy is checked; a model with ``prepare`` is first prepared on the molecules with made-up
    labels. Checked are:

    - the declared outputs, with their shapes, finite, and without looking at labels;
    - translation and rotation leave the energy alone and turn the forces;
    - another order of the atoms leaves the energy alone and reorders the forces;
    - a batch gives what each conformation alone gives;
    - two molecules far apart have the sum of their energies, unless the model states
      ``is_local = False``;
    - forces are minus the gradient of the energy (central differences in float64), unless the model
      states ``is_conservative = False``.

    Args:
        model: Any module; its weights may be random.
        molecules: At least two.
        seed: Of the rotation, the shift and the order.

    Raises:
        ModelError: The first promise that is broken, and by how much.
    """
    check_attributes(model)
    predicts: frozenset[str] = model.predicts  # type: ignore[assignment]
    if "formation_energy" not in predicts:
        message = f"{type(model).__name__} predicts {sorted(predicts)}, no formation_energy."
        raise ModelError(message)
    for dtype in TOLERANCES:
        check = _Check(model, molecules, dtype, np.random.default_rng(seed))
        check.outputs()
        check.translation()
        check.rotation()
        check.permutation()
        check.batching()
        if getattr(model, "is_local", True):
            check.separation()
        if "forces" in predicts and getattr(model, "is_conservative", True):
            check.gradient()


class _Check:
    """A prepared copy of the model in one precision, and the promises one by one."""

    def __init__(
        self,
        model: torch.nn.Module,
        molecules: Sequence[Molecule],
        dtype: torch.dtype,
        rng: np.random.Generator,
    ) -> None:
        self._dtype = dtype
        self._molecules = list(molecules)
        self._rng = rng
        self._model = copy.deepcopy(model)
        if dtype == torch.float64:
            self._model = self._model.double()
        if isinstance(self._model, Preparable):
            batch = batch_of(self._molecules, dtype=dtype)
            labels = {
                "formation_energy": torch.from_numpy(rng.normal(-1.0, 0.3, len(molecules))),
                "forces": torch.from_numpy(rng.normal(0.0, 0.02, (batch.n_atoms, 3))).to(dtype),
            }
            self._model.prepare([dataclasses.replace(batch, labels=labels)])
        self._model.eval()

    def outputs(self) -> None:
        batch = batch_of(self._molecules, dtype=self._dtype)
        output = self._call(self._molecules)
        shapes = {"formation_energy": (batch.n_conformations,), "forces": (batch.n_atoms, 3)}
        for name in sorted(self._model.predicts):  # type: ignore[arg-type]
            if name not in output:
                message = f"The model declares {name!r} but returned {sorted(output)}."
                raise ModelError(message)
            if output[name].shape != shapes[name]:
                message = f"{name} must have shape {shapes[name]}, got {output[name].shape}."
                raise ModelError(message)
            if not np.isfinite(output[name]).all():
                message = f"{name} has values that are not finite."
                raise ModelError(message)

    def translation(self) -> None:
        vector = self._rng.normal(size=3)
        moved = self._call([molecule.shifted(vector) for molecule in self._molecules])
        self._compare("Translation changes", moved, self._call(self._molecules))

    def rotation(self) -> None:
        rotation = _random_rotation(self._rng)
        expected = self._call(self._molecules)
        if "forces" in expected:
            expected["forces"] = expected["forces"] @ rotation.T
        turned = self._call([molecule.rotated(rotation) for molecule in self._molecules])
        self._compare("Rotation does not carry over to", turned, expected)

    def permutation(self) -> None:
        for molecule in self._molecules:
            order = self._rng.permutation(len(molecule.atomic_numbers))
            expected = self._call([molecule])
            if "forces" in expected:
                expected["forces"] = expected["forces"][order]
            self._compare(
                "Another order of the atoms changes",
                self._call([molecule.reordered(order)]),
                expected,
            )

    def batching(self) -> None:
        alone = [self._call([molecule]) for molecule in self._molecules]
        expected = {name: np.concatenate([one[name] for one in alone]) for name in alone[0]}
        self._compare(
            "A batch does not give what each conformation alone gives for",
            self._call(self._molecules),
            expected,
        )

    def separation(self) -> None:
        first, second = self._molecules[:2]
        alone = [self._call([first]), self._call([second])]
        expected = {name: np.concatenate([one[name] for one in alone]) for name in alone[0]}
        expected["formation_energy"] = expected["formation_energy"].sum(keepdims=True)
        # Along one axis and close to the origin, so that float32 keeps the short distances.
        far = second.shifted(np.array([_FAR, 0.0, 0.0]))
        self._compare(
            "Two molecules far apart are not the sum of both in",
            self._call([first.beside(far)]),
            expected,
            # Coordinates of a thousand bohr have six more bits before the point.
            tolerance=64 * TOLERANCES[self._dtype],
        )

    def gradient(self) -> None:
        if self._dtype != torch.float64:
            return
        for molecule in self._molecules:
            moves = np.eye(molecule.positions.size).reshape(-1, *molecule.positions.shape) * _STEP
            energies = self._call(
                [
                    dataclasses.replace(molecule, positions=molecule.positions + sign * move)
                    for move in moves
                    for sign in (1.0, -1.0)
                ]
            )["formation_energy"].reshape(-1, 2)
            numeric = -(energies[:, 0] - energies[:, 1]) / (2.0 * _STEP)
            self._compare(
                "Minus the gradient of the energy (central differences) is not",
                {"forces": self._call([molecule])["forces"]},
                {"forces": numeric.reshape(molecule.positions.shape)},
                tolerance=_GRADIENT_TOLERANCE,
            )

    def _call(self, molecules: Sequence[Molecule]) -> dict[str, FloatArray]:
        with torch.set_grad_enabled(is_conservative(self._model)):
            output = self._model(batch_of(molecules, dtype=self._dtype))
        return {name: value.detach().double().numpy() for name, value in output.items()}

    def _compare(
        self,
        what: str,
        found: dict[str, FloatArray],
        expected: dict[str, FloatArray],
        *,
        tolerance: float | None = None,
    ) -> None:
        limit = TOLERANCES[self._dtype] if tolerance is None else tolerance
        for name, value in expected.items():
            gap = float(np.abs(found[name] - value).max())
            allowed = limit * max(_SMALL, float(np.abs(value).max()))
            if not gap <= allowed:
                precision = str(self._dtype).removeprefix("torch.")
                message = f"{what} {name} in {precision}: off by {gap:.1e}, allowed {allowed:.1e}."
                raise ModelError(message)


def _random_rotation(rng: np.random.Generator) -> FloatArray:
    """Draw a rotation matrix, shape (3, 3), uniformly."""
    orthogonal, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    orthogonal = orthogonal * np.sign(np.diag(upper))
    orthogonal[:, 0] *= np.linalg.det(orthogonal)
    return np.asarray(orthogonal)
