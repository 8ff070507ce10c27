"""What a predicted Hamiltonian is worth to a DFT program: its energy, and the cycles it saves.

A self-consistent field started from a good Hamiltonian needs fewer cycles than one started from a
standard guess; started from a bad one it needs more, or goes astray. So a restart is guarded:

1. *Before any Fock matrix is built*, for nothing: no orbital that the Hamiltonian fills may lie
   outside the space of the minimal valence basis ("minao") by more than half. Occupied orbitals of
   real molecules do so by 0.05 at most, even where the Hamiltonian is that of a crude guess; an
   intruder, an empty orbital that errors of H pulled down among the filled ones, does by 0.94 or
   more. With an intruder, a restart needs as many cycles as the guess or more.
2. *After the first Fock matrix*: the orbital gradient is at most :data:`LARGEST_GRADIENT` times the
   root of the number of electrons. Above it, the orbitals are worse than those of the guess after
   its own first cycle; what is lost is the one cycle.
3. *Later*: the field converges within ``give_up_after`` cycles.

Whatever fails, the field starts from the guess instead, and every cycle spent before is counted. So
a guarded start costs at most the guess plus nothing, one or ``give_up_after`` cycles. In 78 starts
with errors of H from 0 to 80 millihartree (``benchmarks/restart_guard.py``) it cost one cycle more
than the guess in 8, and never two; unguarded, up to 5 more in the mean of six molecules.

Building the guess's Fock matrix as well, to compare the two, would cost one cycle where the
prediction is good, and compares badly: a guess is no density of orbitals, its commutator is 5 times
too large and its energy may be below the converged one.

A cycle is one Fock matrix; the first one, of the starting density, counts. PySCF's own number of
iterations is one less.

Example:
    >>> import numpy as np
    >>> from nabladft.labels.guesses import guess_hamiltonian
    >>> water = np.array([8, 1, 1]), np.array([[0, 0, 0.2], [0, 1.5, -0.9], [0, -1.4, -0.9]])
    >>> result = compare_starts(*water, guess_hamiltonian(*water), settings="quick")
    >>> result.used_prediction, result.predicted_cycles < result.guess_cycles
    (True, True)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from nabladft.chemistry.elements import formula
from nabladft.chemistry.orbitals import OrbitalOrder, check_operator_shape, reorder_orbitals
from nabladft.errors import ConvergenceError, InputError, UnknownNameError, missing_extra
from nabladft.labels.checks import check_input
from nabladft.labels.dispersion import dispersion
from nabladft.labels.guesses import GUESS_METHODS, guess_hamiltonian

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from nabladft.labels.scf_runs import Run, ScfRuns, Start

    FloatArray = NDArray[np.float64]

#: "labels": grid and convergence of the labels. "quick": a pruned grid, and convergence to 1e-6
#: hartree of energy and 1e-3 of orbital gradient, for comparisons over many molecules.
Settings = Literal["labels", "quick"]

#: An occupied orbital this far outside the minimal valence basis is an intruder.
INTRUDER: Final = 0.5
#: Orbital gradient per root of the number of electrons, hartree, above which a start is no good.
LARGEST_GRADIENT: Final = 0.2
#: Cycles after which a restart is given up. At the settings of the labels guesses take 14 to 20.
GIVE_UP_AFTER: Final = 20
#: Largest difference from the electrons of the molecule that a density may have.
ELECTRON_TOLERANCE: Final = 1e-3
#: Guesses that are densities; the others are Hamiltonians.
DENSITY_GUESSES: Final = ("minao", "atom", "huckel")
#: Cycles after which any field is given up.
MAX_CYCLES: Final = 100


@dataclass(frozen=True, kw_only=True)
class Restart:
    """A converged field.

    Attributes:
        energy: Total energy with dispersion, hartree.
        hamiltonian: Shape (n_orbitals, n_orbitals), hartree, in the order of the one predicted.
        density: Shape (n_orbitals, n_orbitals), in the same order.
        cycles: Fock matrices built, those in vain included.
        seconds: Time that building them took.
        used_prediction: Whether it was reached from the predicted Hamiltonian.
        rejection: Why not, in words; None if it was.
    """

    energy: float
    hamiltonian: FloatArray
    density: FloatArray
    cycles: int
    seconds: float
    used_prediction: bool
    rejection: str | None


@dataclass(frozen=True, kw_only=True)
class StartComparison:
    """The same field started from a predicted Hamiltonian and from a guess, at equal settings.

    Attributes:
        guess: Name of the guess.
        predicted_cycles: Fock matrices built from the prediction, without a guard.
        guess_cycles: Fock matrices built from the guess.
        guarded_cycles: Fock matrices that a guarded start builds, those in vain included.
        predicted_seconds: Time that building the matrices took, from the prediction.
        guess_seconds: Likewise, from the guess.
        guarded_seconds: Likewise, of the guarded start.
        energy: Total energy from the guess, with dispersion, hartree.
        density_energy: Total energy of the density that the prediction implies, with dispersion,
            hartree; as of :func:`energy_of_density`.
        energy_difference: Energy from the prediction minus energy from the guess, hartree: beyond
            the convergence, they are different states. NaN if the prediction did not converge.
        used_prediction: Whether the guarded start ended from the prediction.
        rejection: Why not, in words; None if it did.
    """

    guess: str
    predicted_cycles: int
    guess_cycles: int
    guarded_cycles: int
    predicted_seconds: float
    guess_seconds: float
    guarded_seconds: float
    energy: float
    density_energy: float
    energy_difference: float
    used_prediction: bool
    rejection: str | None

    @property
    def cycle_ratio(self) -> float:
        """Cycles of the guarded start per cycle from the guess."""
        return self.guarded_cycles / self.guess_cycles

    @property
    def unguarded_cycle_ratio(self) -> float:
        """Cycles from the prediction, come what may, per cycle from the guess."""
        return self.predicted_cycles / self.guess_cycles

    @property
    def time_ratio(self) -> float:
        """Time of the guarded start's Fock matrices per time of the guess's."""
        return self.guarded_seconds / self.guess_seconds


def energy_of_density(
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    density_matrix: ArrayLike,
    *,
    charge: int = 0,
    orbital_order: OrbitalOrder = "ascending",
    settings: Settings = "labels",
    max_memory: int = 4000,
) -> float:
    """Compute the total energy of a density at the level of theory of the labels.

    With the density of a predicted Hamiltonian
    (:func:`nabladft.chemistry.electronic.density_matrix`) this is the energy that the prediction
    implies. It costs one Fock matrix, and is never below the converged energy but for the fitting.

    Args:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        density_matrix: Shape (n_orbitals, n_orbitals), in def2-SVP.
        charge: Total charge, e.
        orbital_order: Order of the rows and columns of the density matrix.
        settings: "labels" for the grid of the labels, "quick" for a pruned one (1e-5 hartree off).
        max_memory: Megabytes; fitted integrals that need more are kept on disk.

    Returns:
        Hartree, with dispersion.

    Raises:
        InputError: The density is not finite or does not hold the electrons of the molecule.
        LabelError: The geometry or the charge cannot be computed.
        MissingExtraError: PySCF is not installed.
        OrbitalCountError: The density does not have the number of orbitals of these atoms.
        OrbitalOrderError: The orbital order is unknown.
        UnknownNameError: There are no such settings.
    """
    numbers, places = np.asarray(atomic_numbers), np.asarray(positions, dtype=np.float64)
    D = _in_pyscf_order("density matrix", density_matrix, numbers, orbital_order)
    runs = _runs(numbers, places, charge, settings, max_memory)
    electrons = float(np.vdot(D, runs.overlap))
    if abs(electrons - runs.n_electrons) > ELECTRON_TOLERANCE:
        message = (
            f"The density holds {electrons:.4f} electrons, the molecule {runs.n_electrons}. Is it "
            f'in the orbital order "{orbital_order}", and of this geometry?'
        )
        raise InputError(message)
    return runs.start(D).energy + dispersion(numbers, places)[0]


def restart_scf(
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    hamiltonian: ArrayLike,
    *,
    guess: str = "minao",
    charge: int = 0,
    orbital_order: OrbitalOrder = "ascending",
    settings: Settings = "labels",
    give_up_after: int = GIVE_UP_AFTER,
    max_memory: int = 4000,
) -> Restart:
    """Converge a field from a predicted Hamiltonian, or from a guess if the prediction is bad.

    The guard is described at the head of this module.

    Args:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        hamiltonian: The prediction, shape (n_orbitals, n_orbitals), hartree, in def2-SVP. Only its
            symmetric part counts.
        guess: Where to start if the prediction is rejected, one of
            :data:`~nabladft.labels.guesses.GUESS_METHODS`.
        charge: Total charge, e.
        orbital_order: Order of the rows and columns of the Hamiltonian.
        settings: "labels" for grid and convergence of the labels, "quick" for cheaper ones.
        give_up_after: Cycles after which the prediction is given up, 2 or more.
        max_memory: Megabytes; fitted integrals that need more are kept on disk.

    Raises:
        ConvergenceError: The field does not converge from the guess either.
        InputError: The Hamiltonian is not finite, or ``give_up_after`` is below 2.
        LabelError: The geometry or the charge cannot be computed.
        MissingExtraError: PySCF is not installed.
        OrbitalCountError: The Hamiltonian does not have the number of orbitals of these atoms.
        OrbitalOrderError: The orbital order is unknown.
        UnknownNameError: There is no such guess, or no such settings.
    """
    numbers, places = np.asarray(atomic_numbers), np.asarray(positions, dtype=np.float64)
    H = _in_pyscf_order("Hamiltonian", hamiltonian, numbers, orbital_order)
    _check_choices(guess, give_up_after)
    runs = _runs(numbers, places, charge, settings, max_memory)
    prediction = _Prediction(runs, H)
    rejection, in_vain = prediction.judge(give_up_after)
    run = (
        prediction.run(max_cycles=give_up_after)
        if rejection is None
        else _run_from_guess(runs, numbers, places, guess)
    )
    solved, density = (
        reorder_orbitals(matrix, numbers, source="pyscf", target=orbital_order)
        for matrix in (run.hamiltonian, run.density)
    )
    return Restart(
        energy=run.energy + dispersion(numbers, places)[0],
        hamiltonian=solved,
        density=density,
        cycles=run.cycles + len(in_vain),
        seconds=run.seconds + sum(in_vain),
        used_prediction=rejection is None,
        rejection=rejection,
    )


def compare_starts(
    atomic_numbers: NDArray[np.integer],
    positions: ArrayLike,
    hamiltonian: ArrayLike,
    *,
    guess: str = "minao",
    charge: int = 0,
    orbital_order: OrbitalOrder = "ascending",
    settings: Settings = "labels",
    give_up_after: int = GIVE_UP_AFTER,
    max_memory: int = 4000,
) -> StartComparison:
    """Count the cycles from a predicted Hamiltonian, from a guess, and of a guarded start.

    Both fields run to the end. What a guarded start would have done follows from them.

    Args:
        atomic_numbers: Shape (n_atoms,).
        positions: Shape (n_atoms, 3), bohr.
        hamiltonian: The prediction, as for :func:`restart_scf`.
        guess: What to compare with, one of :data:`~nabladft.labels.guesses.GUESS_METHODS`.
        charge: Total charge, e.
        orbital_order: Order of the rows and columns of the Hamiltonian.
        settings: "labels" for grid and convergence of the labels, "quick" for cheaper ones.
        give_up_after: Cycles after which a guarded start gives the prediction up, 2 or more.
        max_memory: Megabytes; fitted integrals that need more are kept on disk.

    Raises:
        ConvergenceError: The field does not converge from the guess.
        InputError: The Hamiltonian is not finite, or ``give_up_after`` is below 2.
        LabelError: The geometry or the charge cannot be computed.
        MissingExtraError: PySCF is not installed.
        OrbitalCountError: The Hamiltonian does not have the number of orbitals of these atoms.
        OrbitalOrderError: The orbital order is unknown.
        UnknownNameError: There is no such guess, or no such settings.
    """
    numbers, places = np.asarray(atomic_numbers), np.asarray(positions, dtype=np.float64)
    H = _in_pyscf_order("Hamiltonian", hamiltonian, numbers, orbital_order)
    _check_choices(guess, give_up_after)
    runs = _runs(numbers, places, charge, settings, max_memory)
    prediction = _Prediction(runs, H)
    predicted = prediction.run(max_cycles=MAX_CYCLES)
    from_guess = _run_from_guess(runs, numbers, places, guess)
    rejection, in_vain = prediction.judge(give_up_after)
    guarded = predicted if rejection is None else from_guess
    dispersion_energy = dispersion(numbers, places)[0]
    return StartComparison(
        guess=guess,
        predicted_cycles=predicted.cycles,
        guess_cycles=from_guess.cycles,
        guarded_cycles=guarded.cycles + len(in_vain),
        predicted_seconds=predicted.seconds,
        guess_seconds=from_guess.seconds,
        guarded_seconds=guarded.seconds + sum(in_vain),
        energy=from_guess.energy + dispersion_energy,
        density_energy=prediction.start.energy + dispersion_energy,
        energy_difference=(
            predicted.energy - from_guess.energy if predicted.converged else float("nan")
        ),
        used_prediction=rejection is None,
        rejection=rejection,
    )


class _Prediction:
    """The field of a predicted Hamiltonian, computed as far as it is asked for."""

    def __init__(self, runs: ScfRuns, hamiltonian: FloatArray) -> None:
        self._runs = runs
        self._density = runs.density_of(hamiltonian)
        self._run: Run | None = None

    @cached_property
    def start(self) -> Start:
        return self._runs.start(self._density)

    def run(self, *, max_cycles: int) -> Run:
        """Iterate; what has been iterated before is not limited again."""
        if self._run is None:
            self._run = self._runs.iterate(self.start, max_cycles=max_cycles)
        return self._run

    def judge(self, give_up_after: int) -> tuple[str | None, tuple[float, ...]]:
        """Say why the guard rejects it, or None, and the times of the Fock matrices in vain."""
        outside = self._runs.outside_minimal(self._density)
        n_intruders = int((outside > INTRUDER).sum())
        if n_intruders:
            reason = (
                f"{n_intruders} of {len(outside)} occupied orbitals are intruders: "
                f"{outside[-1]:.2f} of one lies outside the minimal valence basis"
            )
            return reason, ()
        gradient = self.start.gradient_norm / self._runs.n_electrons**0.5
        if not gradient <= LARGEST_GRADIENT:  # also NaN
            reason = (
                f"the orbital gradient is {gradient:.2f} hartree per root of the number of "
                f"electrons, above {LARGEST_GRADIENT}"
            )
            return reason, (self.start.seconds,)
        run = self.run(max_cycles=give_up_after)
        if not run.converged or run.cycles > give_up_after:
            reason = f"not converged within {give_up_after} cycles"
            return reason, run.build_seconds[:give_up_after]
        return None, ()


def _run_from_guess(
    runs: ScfRuns, numbers: NDArray[np.integer], places: FloatArray, guess: str
) -> Run:
    if guess in DENSITY_GUESSES:
        density = runs.guess(guess)
    else:
        matrix = guess_hamiltonian(numbers, places, method=guess)
        density = runs.density_of(
            reorder_orbitals(matrix, numbers, source="ascending", target="pyscf")
        )
    run = runs.iterate(runs.start(density), max_cycles=MAX_CYCLES)
    if not run.converged:
        message = (
            f"No self-consistent field for {formula(numbers)} from the guess {guess!r} within "
            f"{run.cycles} cycles. Another guess may help: {', '.join(GUESS_METHODS)}."
        )
        raise ConvergenceError(message)
    return run


def _runs(
    numbers: NDArray[np.integer],
    places: FloatArray,
    charge: int,
    settings: str,
    max_memory: int,
) -> ScfRuns:
    try:
        from nabladft.labels import kohn_sham, scf_runs  # noqa: PLC0415 - heavy and optional
    except ImportError as error:
        raise missing_extra("A self-consistent field", "label", error) from error
    named = {"labels": kohn_sham.LABEL_SETTINGS, "quick": kohn_sham.QUICK_SETTINGS}
    if settings not in named:
        raise UnknownNameError("settings of a field", settings, named)
    check_input(numbers, places, charge=charge)
    return scf_runs.ScfRuns(
        numbers, places, charge=charge, settings=named[settings], max_memory=max_memory
    )


def _in_pyscf_order(
    name: str, matrix: ArrayLike, numbers: NDArray[np.integer], order: OrbitalOrder
) -> FloatArray:
    values = np.asarray(matrix, dtype=np.float64)
    check_operator_shape(values, numbers)
    if not np.isfinite(values).all():
        message = f"The {name} holds {int((~np.isfinite(values)).sum())} values not finite."
        raise InputError(message)
    return reorder_orbitals(values, numbers, source=order, target="pyscf")


def _check_choices(guess: str, give_up_after: int) -> None:
    if guess not in GUESS_METHODS:
        raise UnknownNameError("initial guess", guess, GUESS_METHODS)
    if give_up_after < 2:
        message = f"A field needs at least 2 cycles, got give_up_after={give_up_after}."
        raise InputError(message)
