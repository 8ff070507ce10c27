import numpy as np
import pytest

pytest.importorskip("pyscf")

import nabladft
from nabladft.chemistry.electronic import electronic_structure
from nabladft.chemistry.orbitals import ORBITAL_ORDERS, reorder_orbitals
from nabladft.errors import InputError, LabelError, OrbitalCountError, UnknownNameError
from nabladft.labels import restart
from nabladft.labels.backend import load_backend
from nabladft.labels.guesses import guess_hamiltonian
from nabladft.labels.restart import compare_starts, energy_of_density, restart_scf

WATER = np.array([8, 1, 1]), np.array([[0, 0, 0.2], [0, 1.5, -0.9], [0.1, -1.4, -0.9]])


@pytest.fixture(scope="module")
def label():
    return load_backend("pyscf").label(*WATER)


@pytest.fixture(scope="module")
def reference(label):
    """The converged Hamiltonian of water, ascending."""
    return reorder_orbitals(label.hamiltonian, WATER[0], source="pyscf", target="ascending")


def symmetric_noise(size, scale, seed=0):
    noise = np.random.default_rng(seed).normal(scale=scale, size=(size, size))
    return (noise + noise.T) / 2**0.5


def density_of(hamiltonian, order="ascending", **options):
    return electronic_structure(
        hamiltonian, None, *WATER, orbital_order=order, **options
    ).density_matrix


@pytest.mark.parametrize("order", ORBITAL_ORDERS)
def test_the_converged_hamiltonian_has_the_energy_of_the_label(label, order):
    there = reorder_orbitals(label.hamiltonian, WATER[0], source="pyscf", target=order)

    energy = energy_of_density(*WATER, density_of(there, order), orbital_order=order)

    assert energy == pytest.approx(label.energy, abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("row", [16, 216, 252, 312])
def test_stored_hamiltonians_have_the_stored_energies(row):
    record = nabladft.open("nano")[row]
    geometry, order = (record.atomic_numbers, record.positions), record.orbital_order
    result = electronic_structure(record.hamiltonian, None, *geometry, orbital_order=order)

    energy = energy_of_density(*geometry, result.density_matrix, orbital_order=order)

    assert energy == pytest.approx(record.energy, abs=1e-8)


def test_energies_of_other_densities_are_higher_by_the_square_of_their_error(label, reference):
    noise = symmetric_noise(24, 1.0)

    rises = [
        energy_of_density(*WATER, density_of(reference + scale * noise)) - label.energy
        for scale in (1e-4, 2e-4)
    ]

    assert rises[0] > 0
    assert rises[1] / rises[0] == pytest.approx(4, rel=0.1)


def test_an_ion_has_its_own_energy():
    hydroxide = np.array([8, 1]), WATER[1][:2]
    label = load_backend("pyscf").label(*hydroxide, charge=-1)

    result = electronic_structure(
        label.hamiltonian, None, *hydroxide, charge=-1, orbital_order="pyscf"
    )

    energy = energy_of_density(*hydroxide, result.density_matrix, charge=-1, orbital_order="pyscf")
    assert energy == pytest.approx(label.energy, abs=1e-8)


@pytest.mark.parametrize(("settings", "tolerance"), [("labels", 1e-8), ("quick", 1e-5)])
def test_a_restart_from_the_solution_stays_there(label, reference, settings, tolerance):
    result = restart_scf(*WATER, reference, settings=settings)

    assert result.cycles <= 3
    assert result.used_prediction
    assert result.rejection is None
    assert result.energy == pytest.approx(label.energy, abs=tolerance)
    np.testing.assert_allclose(result.hamiltonian, reference, atol=100 * tolerance)


def test_garbage_costs_no_cycle_more_than_the_guess(reference):
    noise = symmetric_noise(24, 1.0)

    result = compare_starts(*WATER, noise, settings="quick")

    assert not result.used_prediction
    assert "intruders" in result.rejection
    assert result.guarded_cycles == result.guess_cycles < result.predicted_cycles
    assert result.guarded_seconds == result.guess_seconds
    assert result.cycle_ratio == 1 < result.unguarded_cycle_ratio


def test_a_gradient_too_large_costs_one_cycle(reference):
    # Orbitals of the core Hamiltonian are without intruders, but far too close to the nuclei.
    guess = guess_hamiltonian(*WATER, method="core")

    result = compare_starts(*WATER, guess, settings="quick")

    assert "orbital gradient" in result.rejection
    assert result.guarded_cycles == result.guess_cycles + 1
    assert result.guarded_seconds > result.guess_seconds


def test_a_prediction_that_does_not_converge_is_given_up(reference):
    slow = reference + symmetric_noise(24, 1e-3)

    compared = compare_starts(*WATER, slow, settings="quick", give_up_after=2)
    restarted = restart_scf(*WATER, slow, settings="quick", give_up_after=2)

    assert compared.predicted_cycles > 2
    assert compared.rejection == restarted.rejection == "not converged within 2 cycles"
    assert compared.guarded_cycles == restarted.cycles == compared.guess_cycles + 2


@pytest.mark.parametrize("scale", [0, 1e-3, 1e-2, 1.0])
def test_a_restart_does_what_the_comparison_says(reference, scale):
    predicted = reference + symmetric_noise(24, scale)

    restarted = restart_scf(*WATER, predicted, settings="quick")

    compared = compare_starts(*WATER, predicted, settings="quick")
    assert restarted.cycles == compared.guarded_cycles <= compared.guess_cycles + 1
    assert restarted.used_prediction == compared.used_prediction
    assert restarted.rejection == compared.rejection
    assert restarted.energy == pytest.approx(compared.energy, abs=1e-6)
    assert compared.energy_difference == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("guess", ["minao", "atom", "huckel", "sap"])
def test_the_solution_saves_cycles_of_every_guess(reference, guess):
    result = compare_starts(*WATER, reference, guess=guess, settings="quick")

    assert result.guess == guess
    assert result.predicted_cycles == result.guarded_cycles <= 3 < result.guess_cycles
    assert result.energy_difference == pytest.approx(0, abs=1e-6)
    assert result.time_ratio == result.guarded_seconds / result.guess_seconds
    assert result.density_energy == pytest.approx(result.energy, abs=1e-6)


def test_the_energy_of_the_density_is_that_of_the_comparison(reference):
    noisy = reference + symmetric_noise(24, 1e-3)

    compared = compare_starts(*WATER, noisy, settings="quick")

    energy = energy_of_density(*WATER, density_of(noisy), settings="quick")
    assert compared.density_energy == pytest.approx(energy, abs=1e-9)
    assert compared.density_energy > compared.energy


def test_cycles_are_fock_matrices(reference, monkeypatch):
    from nabladft.labels.kohn_sham import KohnShamField

    built = []
    original = KohnShamField.get_veff

    def counted(self, *args, **options):
        built.append(1)
        return original(self, *args, **options)

    monkeypatch.setattr(KohnShamField, "get_veff", counted)

    result = restart_scf(*WATER, reference + symmetric_noise(24, 1e-3), settings="quick")

    assert result.cycles == len(built)


def test_orders_of_orbitals_do_not_matter(reference):
    noisy = reference + symmetric_noise(24, 1e-3)
    psi4 = reorder_orbitals(noisy, WATER[0], source="ascending", target="psi4")

    here = restart_scf(*WATER, noisy, settings="quick")
    there = restart_scf(*WATER, psi4, settings="quick", orbital_order="psi4")

    assert here.cycles == there.cycles
    back = reorder_orbitals(there.hamiltonian, WATER[0], source="psi4", target="ascending")
    np.testing.assert_allclose(back, here.hamiltonian, atol=1e-8)


def test_a_field_that_does_not_converge_from_the_guess_either_is_an_error(reference, monkeypatch):
    monkeypatch.setattr(restart, "MAX_CYCLES", 3)

    with pytest.raises(LabelError, match="H2O from the guess 'minao' within 3 cycles"):
        restart_scf(*WATER, symmetric_noise(24, 1.0), settings="quick")


def test_input_that_does_not_fit_is_refused(reference):
    for compute in (restart_scf, compare_starts, energy_of_density):
        with pytest.raises(OrbitalCountError, match="24 orbitals expected"):
            compute(*WATER, np.eye(23))
        with pytest.raises(InputError, match=r"holds 576 values not finite"):
            compute(*WATER, np.full((24, 24), np.nan))
        with pytest.raises(LabelError, match="electrons"):
            compute(*WATER, reference, charge=1)
        with pytest.raises(UnknownNameError, match="Did you mean 'labels'"):
            compute(*WATER, reference, settings="label")
    for compute in (restart_scf, compare_starts):
        with pytest.raises(UnknownNameError, match="Did you mean 'minao'"):
            compute(*WATER, reference, guess="minoa")
        with pytest.raises(InputError, match="at least 2 cycles, got give_up_after=1"):
            compute(*WATER, reference, give_up_after=1)


def test_a_density_of_other_electrons_is_refused(reference):
    with pytest.raises(InputError, match=r"density holds 5\.0000 electrons, the molecule 10"):
        energy_of_density(*WATER, 0.5 * density_of(reference), settings="quick")
