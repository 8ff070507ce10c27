"""The contract of training notices each way in which a network can be wrong."""

import pytest
import torch
from torch import nn

from nabladft.data.blocks import diagonal_mask
from nabladft.errors import InputError, ModelError
from nabladft.testing import check_hamiltonian_training


class Levels(nn.Module):
    """One learned number for the diagonal of each element, and a defect."""

    predicts = frozenset({"hamiltonian"})
    orbital_order = "ascending"
    basis_set = "def2-svp"

    def __init__(self, defect=""):
        super().__init__()
        torch.manual_seed(0)
        self.defect = defect
        self.levels = nn.Parameter(torch.randn(40))
        if defect == "dead":
            self.unused = nn.Parameter(torch.zeros(3))

    def prepare(self, batches):
        for _ in batches:
            if self.defect == "prepare":
                with torch.no_grad():
                    self.levels += 1.0

    def forward(self, batch):
        layout = batch.blocks
        if self.defect != "takes anything" and (
            layout is None or layout.orbital_order != self.orbital_order
        ):
            raise InputError("Blocks in the order 'ascending' are needed.")
        row, column = layout.value_position
        on_diagonal = diagonal_mask(layout) & (row == column)
        element = batch.atomic_numbers[layout.pairs[0, layout.value_pair]]
        values = self.levels[element] * on_diagonal
        if self.defect == "precision" and torch.is_autocast_enabled("cpu"):
            values = values + 1.0
        if self.defect == "anisotropic":
            values = values * (1.0 + row)
        if self.defect == "stuck":
            values = 10.0 * on_diagonal + 1e-9 * values
        return {"hamiltonian": values}


def test_a_network_that_keeps_the_contract_passes():
    check_hamiltonian_training(Levels())


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        ("dead", "No gradient reaches the parameters unused"),
        ("prepare", "prepare changes the parameters levels"),
        ("precision", "in bfloat16 is off by"),
        ("anisotropic", "the orbitals of a shell differ"),
        ("stuck", "brought the loss from"),
    ],
)
def test_each_defect_is_named(defect, message):
    with pytest.raises(ModelError, match=message):
        check_hamiltonian_training(Levels(defect))


def test_a_network_that_takes_another_order_is_noticed():
    class Careless(Levels):
        def forward(self, batch):
            if batch.blocks is None:
                raise InputError("No blocks.")
            return super().forward(batch)

    with pytest.raises(ModelError, match="takes blocks in the order 'psi4'"):
        check_hamiltonian_training(Careless("takes anything"))


def test_the_model_itself_is_left_alone():
    model = Levels()
    before = model.levels.detach().clone()

    check_hamiltonian_training(model)

    assert torch.equal(model.levels, before)
