"""What every network of Hamiltonians must do in training, as one function."""

from __future__ import annotations

import copy
import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import torch

from nabladft.chemistry.basis import basis_set_named
from nabladft.errors import InputError, ModelError
from nabladft.models.contract import PREDICTABLE_MATRICES, Preparable, is_equivariant
from nabladft.testing.hamiltonian import batch_with_blocks, with_made_up_labels
from nabladft.testing.molecules import CHIRAL, MOLECULES, Molecule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from nabladft.data.batch import Batch

_N_STEPS: Final = 25
_LEARNING_RATE: Final = 1e-2
#: What the loss has to fall to, as a share of its first value.
_FALL: Final = 0.9
#: How far bfloat16 may be from full precision, relative to the mean of the values.
_MIXED: Final = 0.05


def check_hamiltonian_training(
    model: torch.nn.Module, *, molecules: Sequence[Molecule] = (*MOLECULES[:2], CHIRAL)
) -> None:
    """Check that a network can be trained, and refuses what it cannot read.

    Copies are checked, on made-up labels:

    - ``prepare``, if there is one, changes buffers only, and keeps float32 and float64;
    - training lowers the loss, and its gradient reaches every parameter;
    - bfloat16 (mixed precision) gives nearly what full precision gives;
    - a single atom, which has no pairs, has a finite symmetric matrix, in which the orbitals of a
      shell are equal, unless the model states ``is_equivariant = False``;
    - a batch without blocks, or with blocks in another orbital order, is refused with an
      ``InputError``.

    Args:
        model: Any module with parameters; its weights may be random.
        molecules: At least one. The default ones have an element with several d shells and no
            symmetry, so that no coefficient of a block is zero whatever the weights.

    Raises:
        ModelError: The first promise that is broken.
    """
    _check_preparing(model, molecules)
    _check_training(model, molecules)
    _check_mixed_precision(model, molecules)
    _check_single_atom(model, molecules)
    _check_refusals(model, molecules)


def _check_preparing(model: torch.nn.Module, molecules: Sequence[Molecule]) -> None:
    for dtype in (torch.float32, torch.float64):
        prepared = copy.deepcopy(model).to(dtype)
        before = {name: p.detach().clone() for name, p in prepared.named_parameters()}
        if isinstance(prepared, Preparable):
            prepared.prepare([_labelled(model, molecules, dtype)])
        after = dict(prepared.named_parameters())
        moved = [name for name, value in before.items() if not torch.equal(after[name], value)]
        if moved:
            message = f"prepare changes the parameters {', '.join(moved)}; keep it to buffers."
            raise ModelError(message)


def _check_training(model: torch.nn.Module, molecules: Sequence[Molecule]) -> None:
    trained, data = _prepared(model, molecules), _labelled(model, molecules, torch.float32)
    optimizer = torch.optim.Adam(trained.parameters(), lr=_LEARNING_RATE)
    losses = []
    for _ in range(_N_STEPS):
        optimizer.zero_grad()
        predicted = trained(data)
        terms = [(predicted[k] - data.labels[k]).abs().mean() for k in sorted(_predicts(model))]
        loss = torch.stack(terms).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    gradients = {name: p.grad for name, p in trained.named_parameters() if p.requires_grad}
    dead = [name for name, g in gradients.items() if g is None or not bool(g.abs().sum() > 0)]
    if dead:
        message = f"No gradient reaches the parameters {', '.join(dead)}. Leave them out."
        raise ModelError(message)
    if not losses[-1] < _FALL * losses[0]:
        message = (
            f"{_N_STEPS} steps on one batch brought the loss from {losses[0]:.2e} to "
            f"{losses[-1]:.2e} only."
        )
        raise ModelError(message)


def _check_mixed_precision(model: torch.nn.Module, molecules: Sequence[Molecule]) -> None:
    prepared, data = _prepared(model, molecules), _labelled(model, molecules, torch.float32)
    with torch.no_grad():
        full = prepared(data)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = prepared(data)
    for name in sorted(_predicts(model) & PREDICTABLE_MATRICES):
        gap = float((mixed[name].float() - full[name]).abs().mean() / full[name].abs().mean())
        if not gap <= _MIXED:
            message = f"{name} in bfloat16 is off by {gap:.0%} of its mean, {_MIXED:.0%} allowed."
            raise ModelError(message)


def _check_single_atom(model: torch.nn.Module, molecules: Sequence[Molecule]) -> None:
    number = int(molecules[0].atomic_numbers[0])
    atom = Molecule(np.array([number]), np.zeros((1, 3)))
    data = _batch(model, [atom], torch.float32)
    with torch.no_grad():
        output = _prepared(model, molecules)(data)
    for name in sorted(_predicts(model) & PREDICTABLE_MATRICES):
        n_orbitals = int(output[name].numel() ** 0.5)
        matrix = output[name].reshape(n_orbitals, n_orbitals)
        if not bool(torch.isfinite(matrix).all()) or not torch.equal(matrix, matrix.T):
            message = f"The {name} of a single atom is not finite and symmetric."
            raise ModelError(message)
        if is_equivariant(model) and not _is_isotropic(matrix, number, str(model.basis_set)):
            message = f"In the {name} of a single atom the orbitals of a shell differ."
            raise ModelError(message)


def _check_refusals(model: torch.nn.Module, molecules: Sequence[Molecule]) -> None:
    data = _batch(model, molecules, torch.float32)
    other = "psi4" if str(model.orbital_order) != "psi4" else "pyscf"
    wrong = batch_with_blocks(molecules, str(model.basis_set), other, dtype=torch.float32)
    prepared = _prepared(model, molecules)
    for what, batch in (
        ("a batch without blocks", dataclasses.replace(data, blocks=None)),
        (f"blocks in the order {other!r}", wrong),
    ):
        _expect_refusal(what, partial(prepared, batch))


def _expect_refusal(what: str, call: Callable[[], object]) -> None:
    try:
        call()
    except InputError:
        return
    message = f"The model takes {what}; refuse it with an InputError that says so."
    raise ModelError(message)


def _is_isotropic(matrix: Tensor, number: int, basis_set: str) -> bool:
    """Tell whether turning the atom leaves its matrix alone."""
    degrees = basis_set_named(basis_set).shells_of(number)
    scale = max(1.0, float(matrix.abs().max()))
    starts = np.cumsum([0, *(2 * l + 1 for l in degrees)])
    for i, l in enumerate(degrees):
        for j, k in enumerate(degrees):
            block = matrix[starts[i] : starts[i + 1], starts[j] : starts[j + 1]]
            if l == k:
                block = block - block.diagonal().mean() * torch.eye(2 * l + 1)
            if float(block.abs().max()) > 1e-5 * scale:
                return False
    return True


def _predicts(model: torch.nn.Module) -> frozenset[str]:
    return cast("frozenset[str]", model.predicts)


def _batch(model: torch.nn.Module, molecules: Sequence[Molecule], dtype: torch.dtype) -> Batch:
    return batch_with_blocks(molecules, str(model.basis_set), str(model.orbital_order), dtype=dtype)


def _prepared(model: torch.nn.Module, molecules: Sequence[Molecule]) -> torch.nn.Module:
    copied = copy.deepcopy(model).float()
    if isinstance(copied, Preparable):
        copied.prepare([_labelled(model, molecules, torch.float32)])
    return copied


def _labelled(model: torch.nn.Module, molecules: Sequence[Molecule], dtype: torch.dtype) -> Batch:
    return with_made_up_labels(
        _batch(model, molecules, dtype), _predicts(model), np.random.default_rng(0)
    )
