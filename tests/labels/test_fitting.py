import numpy as np
import pytest
import scipy.linalg

pytest.importorskip("pyscf")

from pyscf import df, dft, gto

from nabladft.labels.fitting import AUXILIARY_BASIS, SafeFitting
from nabladft.labels.gradients import FittedGradients

OMEGA = 0.2


def water(shift=0.0):
    return gto.M(
        atom=[("O", (0, 0, shift)), ("H", (0, 1.43, 1.11)), ("H", (0.2, -1.43, 1.11))],
        unit="Bohr", basis="def2-svp", verbose=0,
    )  # fmt: skip


def field(mol):
    return dft.RKS(mol, xc="hyb_gga_xc_wb97x_d").density_fit(
        with_df=SafeFitting(mol, AUXILIARY_BASIS)
    )


@pytest.fixture
def guarded_cholesky(monkeypatch):
    """Cholesky factorisations that refuse what PySCF would silently do wrong."""

    def guard(function):
        def guarded(matrix, *args, **options):
            smallest = np.linalg.eigvalsh(matrix)[0]
            assert smallest > 1e-10, f"Cholesky of a metric with eigenvalue {smallest:.1e}"
            return function(matrix, *args, **options)

        return guarded

    for name in ("cholesky", "cho_factor"):
        monkeypatch.setattr(scipy.linalg, name, guard(getattr(scipy.linalg, name)))


def test_the_long_range_metric_is_singular():
    # The reason for this module: already for three atoms, and negative by rounding.
    auxiliary = df.addons.make_auxmol(water(), AUXILIARY_BASIS)
    with auxiliary.with_range_coulomb(OMEGA):
        eigenvalues = np.linalg.eigvalsh(auxiliary.intor("int2c2e"))

    assert np.count_nonzero(eigenvalues < 1e-12) > 10
    assert np.linalg.eigvalsh(auxiliary.intor("int2c2e"))[0] > 1e-6


@pytest.mark.usefixtures("guarded_cholesky")
def test_cholesky_never_sees_a_singular_metric():
    mol = water()
    converging = field(mol)
    converging.grids.level = 0
    converging.kernel()

    gradient = FittedGradients(converging).kernel()

    assert np.isfinite(gradient).all()


@pytest.mark.usefixtures("guarded_cholesky")
def test_the_guard_of_these_tests_does_catch_pyscfs_own_fitting():
    mol = water()
    density = dft.RKS(mol).get_init_guess(key="minao")

    with pytest.raises(AssertionError, match="Cholesky of a metric"):
        df.DF(mol, AUXILIARY_BASIS).get_jk(density, omega=OMEGA)


@pytest.mark.parametrize("max_memory", [4000, 1], ids=["in memory", "on disk"])
def test_fitted_exchange_equals_the_exact_one(max_memory):
    mol = water()
    density = dft.RKS(mol).get_init_guess(key="minao")
    fitting = SafeFitting(mol, AUXILIARY_BASIS)
    fitting.max_memory = max_memory

    coulomb, exchange = fitting.get_jk(density)
    _, long_range = fitting.get_jk(density, with_j=False, omega=OMEGA)

    exact_coulomb, exact_exchange = dft.RKS(mol).get_jk(mol, density)
    exact_long_range = dft.RKS(mol).get_k(mol, density, omega=OMEGA)
    np.testing.assert_allclose(coulomb, exact_coulomb, atol=2e-3)
    np.testing.assert_allclose(exchange, exact_exchange, atol=2e-3)
    # Smooth functions are fitted best.
    np.testing.assert_allclose(long_range, exact_long_range, atol=1e-7)


def test_the_settings_of_a_molecule_are_given_back():
    mol = water()

    SafeFitting(mol, AUXILIARY_BASIS).get_jk(np.eye(mol.nao), omega=OMEGA)

    assert mol.omega == 0
