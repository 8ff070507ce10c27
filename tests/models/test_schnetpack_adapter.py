"""What this package adds to the representations of SchNetPack."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from nabladft.errors import MissingExtraError
from nabladft.models.contract import load_model_module
from nabladft.models.schnetpack_adapter import import_schnetpack
from nabladft.resources import find_baseline
from nabladft.testing.molecules import MOLECULES, Molecule, batch_of

SMALL = {"n_features": 16, "n_interactions": 2, "n_radial": 8}


@pytest.fixture(params=["schnet", "painn"])
def model(request):
    torch.manual_seed(1)
    code = load_model_module(find_baseline(request.param))
    model = code.build(code.Config(**SMALL))
    batch = batch_of(MOLECULES, dtype=torch.float32)
    rng = np.random.default_rng(2)
    model.prepare(
        [
            dataclasses.replace(
                batch,
                labels={
                    "formation_energy": torch.tensor([-0.4, -0.5, -0.7, -0.6, -0.9]).double(),
                    "forces": torch.tensor(rng.normal(scale=0.03, size=(batch.n_atoms, 3))),
                },
            )
        ]
    )
    return model.eval()


def test_it_starts_at_the_energies_per_element_without_forces(model):
    output = model(batch_of(MOLECULES, dtype=torch.float32))

    expected = model.composition(batch_of(MOLECULES, dtype=torch.float32))
    assert output["formation_energy"].dtype == torch.float64
    torch.testing.assert_close(output["formation_energy"], expected, atol=1e-6, rtol=0.0)
    assert not output["forces"].any()


def test_the_scale_is_that_of_the_training_forces(model):
    assert float(model.scale) == pytest.approx(0.03, rel=0.2)


def test_every_parameter_gets_a_gradient_from_energies_and_forces(model):
    model.train()
    torch.nn.init.normal_(model.output[-1].weight)

    output = model(batch_of(MOLECULES, dtype=torch.float32))
    (output["formation_energy"].sum() + (output["forces"] ** 2).sum()).backward()

    # DDP waits for all of them. Embeddings of absent elements are rows of one parameter.
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_forces_come_out_where_gradients_are_off(model):
    with torch.no_grad():
        output = model(batch_of(MOLECULES, dtype=torch.float32))

    assert output["forces"].shape == (21, 3)
    assert not output["forces"].requires_grad


def test_a_lone_atom_has_an_energy_and_no_force(model):
    atom = Molecule(np.array([6]), np.zeros((1, 3)))

    output = model(batch_of([atom, MOLECULES[0]], dtype=torch.float32))

    assert torch.isfinite(output["formation_energy"]).all()
    assert not output["forces"][0].any()


@pytest.mark.parametrize(
    ("version", "extra"), [((3, 11), "--ignore-requires-python"), ((3, 12), "")]
)
def test_without_schnetpack_the_command_that_installs_it_is_said(monkeypatch, version, extra):
    monkeypatch.setitem(sys.modules, "schnetpack", None)
    monkeypatch.setitem(sys.modules, "schnetpack.nn", None)
    monkeypatch.setattr(sys, "version_info", version)

    with pytest.raises(MissingExtraError, match=r'pip install "nabladft\[schnetpack\]".*' + extra):
        import_schnetpack("nn")
