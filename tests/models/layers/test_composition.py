"""Energies per element."""

import dataclasses

import pytest
import torch

from nabladft.errors import ModelError, UnsupportedElementError
from nabladft.models.layers.composition import CompositionEnergy, element_counts
from nabladft.testing.molecules import MOLECULES, Molecule, batch_of


def labelled(molecules, energies):
    batch = batch_of(molecules, dtype=torch.float64)
    return dataclasses.replace(batch, labels={"formation_energy": torch.as_tensor(energies)})


def test_counts_of_water_and_hydrogen_cyanide():
    counts = element_counts(batch_of(MOLECULES[:2], dtype=torch.float32))

    assert counts[:, [1, 6, 7, 8]].tolist() == [[2, 0, 0, 1], [1, 1, 1, 0]]
    assert counts.sum() == 6


def test_additive_energies_are_found_exactly_in_any_batches():
    exact = torch.zeros_like(CompositionEnergy().coefficients)
    exact[[1, 6, 7, 8]] = torch.tensor([-0.2, -0.6, -0.3, -0.4], dtype=torch.float64)
    energies = element_counts(batch_of(MOLECULES, dtype=torch.float64)) @ exact
    batches = [labelled(MOLECULES[:2], energies[:2]), labelled(MOLECULES[2:], energies[2:])]
    layer = CompositionEnergy(ridge=1e-12)

    layer.fit(batches)

    torch.testing.assert_close(layer.coefficients, exact, atol=1e-9, rtol=0.0)
    torch.testing.assert_close(layer(batches[1]), energies[2:], atol=1e-9, rtol=0.0)


def test_elements_that_always_come_together_share_the_energy():
    layer = CompositionEnergy(ridge=1e-6)

    layer.fit([labelled([MOLECULES[1]], [-3.0])])

    assert layer.coefficients[[1, 6, 7]].tolist() == pytest.approx([-1.0] * 3, abs=1e-5)


def test_an_element_not_seen_is_refused_by_name():
    layer = CompositionEnergy()
    layer.fit([labelled(MOLECULES, [-1.0] * 5)])
    chlorine = Molecule(MOLECULES[0].atomic_numbers * 0 + 17, MOLECULES[0].positions)

    with pytest.raises(UnsupportedElementError, match=r"has not seen Cl.*seen: H, C, N, O"):
        layer(batch_of([chlorine], dtype=torch.float64))


def test_a_fit_to_nothing_is_refused():
    with pytest.raises(ModelError, match="no conformation"):
        CompositionEnergy().fit([])


def test_a_layer_in_single_precision_can_be_fitted():
    layer = CompositionEnergy().float()

    layer.fit([labelled([MOLECULES[1]], [-3.0])])

    assert layer.coefficients.dtype == torch.float32
    assert layer.coefficients[[1, 6, 7]].tolist() == pytest.approx([-1.0] * 3, abs=1e-5)
