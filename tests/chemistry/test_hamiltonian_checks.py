import re
import tomllib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import nabladft
from nabladft.chemistry import hamiltonian_levels
from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.elements import symbol_of
from nabladft.chemistry.hamiltonian_checks import (
    check_levels,
    check_matrix,
    check_order,
    diagnose_hamiltonian,
)
from nabladft.chemistry.orbitals import reorder_orbitals
from nabladft.chemistry.units import convert
from nabladft.errors import HamiltonianError, OrbitalCountError, OrbitalOrderError, UnitError

ROWS = range(0, 315, 15)
TABLE = Path(hamiltonian_levels.__file__).with_suffix(".toml")


@pytest.fixture(scope="module")
def records():
    return nabladft.open("nano").read(ROWS)


@pytest.fixture(scope="module")
def record(records):
    """With the most elements."""
    return max(records, key=lambda r: len(set(r.atomic_numbers.tolist())))


def diagnose(record, hamiltonian=None, **options):
    matrix = record.hamiltonian if hamiltonian is None else hamiltonian
    diagnose_hamiltonian(matrix, record.atomic_numbers, record.positions, **options)


def fock(record, basis):
    """PySCF's initial guess in a basis set with the shells of def2-SVP, in ascending order."""
    dft, gto = pytest.importorskip("pyscf.dft"), pytest.importorskip("pyscf.gto")
    atoms = list(zip(record.atomic_numbers.tolist(), record.positions, strict=True))
    molecule = gto.M(atom=atoms, unit="Bohr", basis=basis, verbose=0)
    field = dft.RKS(molecule, xc="hyb_gga_xc_wb97x_d").density_fit(auxbasis="def2-universal-jfit")
    field.grids.level = 0
    matrix = np.asarray(field.get_fock(dm=field.get_init_guess(molecule, "minao")))
    return reorder_orbitals(matrix, record.atomic_numbers, source="pyscf", target="ascending")


def test_the_embedded_hamiltonians_pass_one_by_one(records):
    for record in records:
        diagnose(record)


@pytest.mark.parametrize("scale", [0.005, 0.05])
def test_noisy_predictions_pass(records, rng, scale):
    for record in records[::3]:
        noise = scale * rng.normal(size=record.hamiltonian.shape)

        diagnose(record, record.hamiltonian + (noise + noise.T) / np.sqrt(2))


@pytest.mark.parametrize("method", ["minao", "atom", "huckel", "sap", "core"])
def test_initial_guesses_pass(records, method):
    guesses = pytest.importorskip("nabladft.labels.guesses")
    pytest.importorskip("pyscf")
    record = min(records, key=lambda r: r.n_atoms)
    guess = guesses.guess_hamiltonian(record.atomic_numbers, record.positions, method=method)

    diagnose(record, guess)


def test_bad_predictions_are_not_mistaken_for_a_mistake(records, rng):
    for record in records[::4]:
        noise = rng.normal(size=record.hamiltonian.shape)

        for matrix in (np.zeros_like(noise), noise + noise.T, 0.5 * record.hamiltonian):
            diagnose(record, matrix)


@pytest.mark.parametrize("order", ["psi4", "pyscf"])
def test_another_orbital_order_is_named(records, order):
    for record in records[::3]:
        moved = reorder_orbitals(
            record.hamiltonian, record.atomic_numbers, source="ascending", target=order
        )

        with pytest.raises(OrbitalOrderError, match=f"order 'ascending', but look like {order}"):
            diagnose(record, moved)
        diagnose(record, moved, orbital_order=order)


def test_the_order_of_several_matrices_is_judged_together(records):
    some = records[:4]
    moved = [
        reorder_orbitals(r.hamiltonian, r.atomic_numbers, source="ascending", target="psi4")
        for r in some
    ]
    numbers, positions = [r.atomic_numbers for r in some], [r.positions for r in some]

    with pytest.raises(
        OrbitalOrderError, match=r"said to be in orbital order 'pyscf'.*psi4 or orca"
    ):
        check_order(moved, numbers, positions, orbital_order="pyscf")


@pytest.mark.parametrize(
    "unit", ["eV", "kcal/mol", "kJ/mol", "millihartree", "meV", "microhartree"]
)
def test_another_unit_is_named_even_of_a_noisy_prediction(records, rng, unit):
    for record in records:
        noise = 0.05 * rng.normal(size=record.hamiltonian.shape)
        matrix = convert(record.hamiltonian + noise + noise.T, source="hartree", target=unit)

        with pytest.raises(UnitError, match=f"looks like {unit}: .*hartree times"):
            diagnose(record, matrix)


def test_rydberg_a_sign_and_a_conversion_too_many_are_named(record):
    for factor, name in (
        (2, "rydberg"),
        (-1, "minus hartree"),
        (1 / 27.2114, "divided by 27.2114"),
    ):
        with pytest.raises(UnitError, match=name):
            diagnose(record, factor * record.hamiltonian)


def test_an_upper_triangle_alone_is_named(record):
    with pytest.raises(HamiltonianError, match="Only its upper triangle is filled"):
        diagnose(record, np.triu(record.hamiltonian))


def test_a_block_that_was_not_transposed_is_named_with_its_orbitals(record):
    matrix = record.hamiltonian.copy()
    n = DEF2_SVP.orbitals_per_atom(record.atomic_numbers)[0]
    matrix[:n, n : 2 * n] = matrix[:n, n : 2 * n].T

    with pytest.raises(HamiltonianError, match=r"not symmetric.*\(. of ., atom 0\).*atom 1\)"):
        diagnose(record, matrix)


def test_round_off_of_single_precision_is_no_asymmetry(record, rng):
    noise = 1e-7 * rng.normal(size=record.hamiltonian.shape)

    diagnose(record, (record.hamiltonian * (1 + noise)).astype(np.float32))


def test_nan_is_named_with_its_orbital():
    numbers = np.array([8, 1, 1])
    matrix = np.zeros((24, 24))
    matrix[15, 15] = np.nan

    with pytest.raises(
        HamiltonianError, match=r"1 values that are not finite.*15 \(s of H, atom 1\)"
    ):
        check_matrix(matrix, numbers)


@pytest.mark.parametrize(
    ("n_orbitals", "reason"),
    [
        (7, "7 is the size for sto-3g"),
        (25, "25 is the size for Cartesian def2-svp or Cartesian cc-pvdz"),
        (43, "43 is the size for def2-tzvp"),
        (48, "twice that: a matrix of spin orbitals"),
        (23, "core orbitals seem to be missing"),
        (64, "or is padded"),
    ],
)
def test_a_wrong_size_is_explained(n_orbitals, reason):
    with pytest.raises(OrbitalCountError, match=f"these atoms have 24 orbitals.*{reason}"):
        check_matrix(np.eye(n_orbitals), np.array([8, 1, 1]))


def test_a_packed_triangle_is_no_matrix():
    with pytest.raises(OrbitalCountError, match="unpack_lower"):
        check_matrix(np.zeros(300), np.array([8, 1, 1]))


def test_another_sequence_of_the_atoms_is_named():
    # H O O H, and a matrix with the rows of O O H H.
    numbers = np.array([1, 8, 8, 1])
    hydrogen = np.repeat([-0.35, -0.47, 1.27], [1, 1, 3])
    oxygen = np.repeat([-19.3, -3.3, -1.4, -0.1, -0.2, 2.6], [1, 1, 1, 3, 3, 5])

    check_levels(np.concatenate([hydrogen, oxygen, oxygen, hydrogen]), numbers)
    with pytest.raises(HamiltonianError, match=r"another sequence \(hydrogens last\).*here HOOH"):
        check_levels(np.concatenate([oxygen, oxygen, hydrogen, hydrogen]), numbers)


@pytest.mark.parametrize(("basis", "name"), [("cc-pvdz", "cc-pvdz"), ("6-31g**", "6-31g(d,p)")])
def test_another_basis_set_of_the_same_size_is_named(records, basis, name):
    some = [r for r in records if set(r.atomic_numbers.tolist()) <= {1, 6, 7, 8, 9, 16, 17}]
    record = min(some, key=lambda r: r.n_atoms)

    matrix = fock(record, basis)

    assert matrix.shape == record.hamiltonian.shape
    with pytest.raises(HamiltonianError, match=f"looks like {re.escape(name)}.*same shells"):
        diagnose(record, matrix)


def test_the_levels_of_def2_svp_are_the_means_of_the_embedded_data():
    # If the embedded data change: print `means` with two decimals into hamiltonian_levels.toml.
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))["levels"]["def2-svp"]
    found = defaultdict(list)
    for record in nabladft.open("nano").read(range(0, 315, 5), fields=["hamiltonian"]):
        diagonal = iter(np.diag(record.hamiltonian).tolist())
        for number in record.atomic_numbers.tolist():
            shells = DEF2_SVP.shells_of(number)
            found[symbol_of(number)].append(
                [np.mean([next(diagonal) for _ in range(2 * l + 1)]) for l in shells]
            )

    means = {symbol: np.mean(levels, axis=0) for symbol, levels in found.items()}

    assert means.keys() == table.keys()
    for symbol, levels in means.items():
        np.testing.assert_allclose(levels, table[symbol], atol=0.05)


def test_the_sizes_of_basis_sets_are_those_of_pyscf():
    gto = pytest.importorskip("pyscf.gto")
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))["orbitals"]
    for kind in ("spherical", "cartesian"):
        for name, counts in table[kind].items():
            for symbol, count in zip(table["elements"], counts, strict=True):
                plain = {"6-31g(d)": "6-31g*", "6-311g(d,p)": "6-311g**"}.get(name, name)
                atom = gto.M(atom=f"{symbol} 0 0 0", basis=plain, spin=None, verbose=0)
                found = atom.nao_cart() if kind == "cartesian" else atom.nao_nr()
                assert found == count, (name, symbol)


def test_unknown_elements_and_basis_sets_prove_nothing():
    sodium = np.full(DEF2_SVP.n_orbitals(np.array([11])), 1e3)
    other = type(DEF2_SVP)("other", DEF2_SVP.shells)

    check_levels(sodium, np.array([11]))
    check_levels(np.full(24, 1e3), np.array([8, 1, 1]), basis_set=other)
