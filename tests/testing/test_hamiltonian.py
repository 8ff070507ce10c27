"""The contract notices each way in which a model can be wrong."""

import pytest
import torch

from nabladft.data.blocks import diagonal_mask
from nabladft.errors import ModelError
from nabladft.models.layers.expansion import BlockExpansion
from nabladft.testing import check_hamiltonian_model


class Overlaps(torch.nn.Module):
    """Both matrices, the second of which is another model's."""

    orbital_order = "ascending"
    basis_set = "def2-svp"
    predicts = frozenset({"hamiltonian", "overlap"})

    def __init__(self, defect):
        super().__init__()
        self.hamiltonian, self.overlap = Isotropic(), Isotropic(defect)

    def forward(self, batch):
        of_overlap = self.overlap(batch)["hamiltonian"]
        return {"overlap": of_overlap, **self.hamiltonian(batch)}


class Isotropic(torch.nn.Module):
    """Same-shell orbitals of each atom get a sum over the others of a function of the distance."""

    predicts = frozenset({"hamiltonian"})
    orbital_order = "ascending"
    basis_set = "def2-svp"

    def __init__(self, defect=""):
        super().__init__()
        self.defect = defect
        self.expansion = BlockExpansion((1, 6, 7, 8), self.basis_set)

    def forward(self, batch):
        layout, x = batch.blocks, batch.positions
        r = torch.cdist(x, x) + 1e3 * torch.eye(len(x))
        same = batch.conformation_index[:, None] == batch.conformation_index
        near = torch.exp(-r) if self.defect == "cutoff" else torch.exp(-r) * torch.exp(-(r**2) / 50)
        if self.defect == "cutoff":
            near = torch.where(r < 6.0, near, 0.0)
        if self.defect != "batch":
            near = torch.where(same, near, 0.0)
        site = near.sum(dim=1)
        if self.defect == "translation":
            site = site + x[:, 0]
        if self.defect == "permutation":
            site = site + 0.1 * (
                torch.arange(len(x)) - batch.atom_offsets[batch.conformation_index]
            )
        if self.defect == "nan":
            site = site / 0.0
        row, column = layout.value_position
        on_diagonal = diagonal_mask(layout) & (row == column)
        values = site[layout.pairs[0, layout.value_pair]] * on_diagonal
        if self.defect == "rotation":
            values = values * (1 + (row == 3) * diagonal_mask(layout))
        if self.defect == "symmetry":
            values = values + 0.1 * (row == 0) * (column == 1) * diagonal_mask(layout)
        if self.defect == "shape":
            values = values[:-1]
        return {"energy" if self.defect == "name" else "hamiltonian": values}


def test_a_correct_model_passes():
    check_hamiltonian_model(Isotropic())


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        ("name", "declares 'hamiltonian' but returned"),
        ("shape", "must have shape"),
        ("nan", "not finite"),
        ("symmetry", "diagonal blocks are not symmetric"),
        ("translation", "Translation changes the matrix"),
        ("rotation", "A rotation does not turn the matrix as its orbitals"),
        ("permutation", "Another order of the atoms"),
        ("batch", "each conformation alone"),
        ("cutoff", "jumps by .* fade out before its cutoff"),
    ],
)
def test_each_defect_is_named(defect, message):
    with pytest.raises(ModelError, match=message):
        check_hamiltonian_model(Isotropic(defect))


def test_a_model_that_states_not_to_turn_is_not_turned():
    model = Isotropic("rotation")
    model.is_equivariant = False

    check_hamiltonian_model(model)


def test_an_equivariant_model_may_state_less_than_it_keeps():
    model = Isotropic()
    model.is_equivariant = False

    check_hamiltonian_model(model)


@pytest.mark.parametrize("defect", ["symmetry", "translation", "permutation", "batch", "cutoff"])
def test_all_other_promises_hold_for_a_model_that_does_not_turn(defect):
    model = Isotropic(defect)
    model.is_equivariant = False

    with pytest.raises(ModelError):
        check_hamiltonian_model(model)


def test_overlap_matrices_are_checked_too():
    check_hamiltonian_model(Overlaps(""))

    with pytest.raises(ModelError, match="overlap is off by"):
        check_hamiltonian_model(Overlaps("rotation"))


def test_models_of_energies_are_sent_away():
    model = torch.nn.Linear(1, 1)
    model.predicts = frozenset({"formation_energy"})

    with pytest.raises(ModelError, match="no hamiltonian"):
        check_hamiltonian_model(model)
