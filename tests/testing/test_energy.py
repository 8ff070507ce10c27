"""The contract of energy models catches each way of breaking it."""

import pytest
import torch

from nabladft.errors import ModelError
from nabladft.models.layers.neighbours import neighbour_pairs
from nabladft.testing import check_energy_model


class Pairs(torch.nn.Module):
    """E = Σ_i<j exp(-d_ij²/9), with its exact forces; a model that keeps the contract."""

    predicts = frozenset({"formation_energy", "forces"})
    is_conservative = True

    def pair_energies(self, pairs, batch):
        return 0.5 * torch.exp(-(pairs.distances**2) / 9.0)

    def forward(self, batch):
        positions = batch.positions.detach().requires_grad_()
        pairs = neighbour_pairs(positions, batch.atom_offsets, 50.0)
        index = batch.conformation_index[pairs.receiver]
        zeros = positions.new_zeros(batch.n_conformations)
        energy = zeros.index_add(0, index, self.pair_energies(pairs, batch))
        (gradient,) = torch.autograd.grad(energy.sum(), positions)
        return {"formation_energy": energy, "forces": -gradient}


class Compass(Pairs):
    def pair_energies(self, pairs, batch):
        return super().pair_energies(pairs, batch) * (1.0 + 0.1 * pairs.vectors[:, 0] ** 2)


class OrderAware(Pairs):
    def pair_energies(self, pairs, batch):
        first = batch.atom_offsets[batch.conformation_index[pairs.receiver]]
        return super().pair_energies(pairs, batch) * (1.0 + (pairs.receiver == first))


class BatchAware(Pairs):
    def pair_energies(self, pairs, batch):
        return super().pair_energies(pairs, batch) * batch.n_conformations


class WrongSign(Pairs):
    def forward(self, batch):
        output = super().forward(batch)
        return {**output, "forces": -output["forces"]}


class Anchored(Pairs):
    def forward(self, batch):
        output = super().forward(batch)
        shift = batch.positions.new_zeros(batch.n_conformations)
        shift = shift.index_add(0, batch.conformation_index, batch.positions[:, 0])
        return {**output, "formation_energy": output["formation_energy"] + shift}


class Unfinished(Pairs):
    def forward(self, batch):
        return {"formation_energy": super().forward(batch)["formation_energy"]}


class Coulomb(Pairs):
    """Constant at any distance: two molecules always feel each other."""

    def forward(self, batch):
        output = super().forward(batch)
        counts = (batch.atom_offsets[1:] - batch.atom_offsets[:-1]).to(batch.positions)
        return {**output, "formation_energy": output["formation_energy"] + 0.01 * counts**2}


def test_a_model_that_keeps_the_contract_passes():
    check_energy_model(Pairs())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Anchored, "Translation changes formation_energy"),
        (Compass, "Rotation does not carry over"),
        (OrderAware, "Another order of the atoms changes"),
        (BatchAware, "A batch does not give what each conformation alone"),
        (Coulomb, "Two molecules far apart are not the sum"),
        (WrongSign, "Minus the gradient of the energy"),
        (Unfinished, "declares 'forces' but returned"),
    ],
)
def test_each_broken_promise_is_named(model, message):
    with pytest.raises(ModelError, match=message):
        check_energy_model(model())


def test_stated_exceptions_are_not_checked():
    far_reaching, direct = Coulomb(), WrongSign()
    far_reaching.is_local = False
    direct.is_conservative = False

    check_energy_model(far_reaching)


def test_a_model_without_energies_is_refused():
    model = Pairs()
    model.predicts = frozenset({"forces"})

    with pytest.raises(ModelError, match="no formation_energy"):
        check_energy_model(model)
