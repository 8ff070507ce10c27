import dataclasses

import pytest
import torch

from nabladft.errors import ConfigError, InputError
from nabladft.models.contract import check_attributes
from nabladft.models.corrected import CorrectedReference
from nabladft.testing.hamiltonian import batch_with_blocks
from nabladft.testing.molecules import MOLECULES


class Mean(torch.nn.Module):
    """Predicts the mean of all values it was prepared on."""

    predicts = frozenset({"hamiltonian"})
    orbital_order = "ascending"
    basis_set = "def2-svp"
    handles_reflections = False

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.passes = 0

    def prepare(self, batches):
        for _ in range(2):
            values = torch.cat([batch.labels["hamiltonian"] for batch in batches])
            self.passes += 1
        self.mean.copy_(values.mean())

    def forward(self, batch):
        return {"hamiltonian": self.mean.expand(batch.blocks.n_values)}


@pytest.fixture
def batch():
    one = batch_with_blocks(MOLECULES, "def2-svp", "ascending", dtype=torch.float64)
    torch.manual_seed(0)
    reference = -90.0 * torch.rand(one.blocks.n_values, dtype=torch.float64)
    labels = {"hamiltonian": reference + 0.25}
    return dataclasses.replace(one, labels=labels, reference_hamiltonian=reference)


def test_what_was_subtracted_is_added_back_exactly(batch):
    model = CorrectedReference(Mean(), "sap")

    model.prepare([batch])

    assert model.model.passes == 2
    torch.testing.assert_close(model(batch)["hamiltonian"], batch.labels["hamiltonian"])
    model.model.mean.zero_()
    assert torch.equal(model(batch)["hamiltonian"], batch.reference_hamiltonian)


def test_everything_else_is_the_model_s(batch):
    model = CorrectedReference(Mean(), "sap")

    check_attributes(model)
    assert (model.predicts, model.handles_reflections) == (frozenset({"hamiltonian"}), False)
    assert model.reference_method == "sap"
    with pytest.raises(AttributeError, match="is_conservative"):
        _ = model.is_conservative
    assert list(model.state_dict()) == ["model.mean"]
    assert batch.to("cpu").reference_hamiltonian is not None


def test_a_batch_without_reference_says_how_to_get_one(batch):
    bare = dataclasses.replace(batch, reference_hamiltonian=None)

    with pytest.raises(InputError, match=r"HamiltonianDataset\(\.\.\., reference='sap'\)"):
        CorrectedReference(Mean(), "sap")(bare)


def test_a_model_of_energies_is_refused():
    class Energies(torch.nn.Module):
        predicts = frozenset({"formation_energy"})

    with pytest.raises(ConfigError, match="Energies predicts formation_energy"):
        CorrectedReference(Energies(), "core")
