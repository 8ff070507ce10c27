"""From an input file to a store of labels: plan, run, commit; and, after any interruption, go on.

The folder of the store also holds ``plan.json`` (what is to be done), ``failures.csv`` (what could
not be done, and why) and, while work is in progress, a staging area with one file per finished
conformation. Running the same again continues; nothing is computed twice.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from nabladft import __version__
from nabladft.errors import InputError, LabelError, missing_extra
from nabladft.fields import field_named
from nabladft.labels.backend import load_backend
from nabladft.labels.conformers import (
    CLUSTER_RADIUS,
    COVERAGE,
    GeometrySettings,
    make_geometries,
)
from nabladft.labels.molecules import SMILES_SUFFIXES, read_smiles
from nabladft.labels.plan import Plan, hash_of, read_plan
from nabladft.labels.runner import ORBITAL_ORDER, run_labels
from nabladft.labels.staging import Failure, Staging
from nabladft.storage.manifest import MANIFEST_NAME
from nabladft.storage.opening import open_source
from nabladft.storage.store import Store
from nabladft.storage.writing import append, consolidate, create_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from nabladft.conformation import Conformation
    from nabladft.labels.backend import LabelBackend
    from nabladft.storage.manifest import Codec
    from nabladft.storage.source import ConformationSource

#: What is stored unless something else is asked for: all that costs nothing on top of a label.
DEFAULT_FIELDS: Final = (
    "energy",
    "forces",
    "hamiltonian",
    "orbital_energies",
    "dipole",
    "mulliken_charges",
    "loewdin_charges",
    "nuclear_repulsion_energy",
    "one_electron_energy",
    "two_electron_energy",
    "xc_energy",
    "dispersion_energy",
)

#: Origin of geometries that come from a file which does not say how they were made.
INPUT_ORIGIN: Final = "input"

#: A list of molecules for more than this share of which no geometry can be made is refused.
_MOST_FAILING: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """What to make.

    Attributes:
        backend: Name of the quantum-chemistry program.
        fields: Labels to store.
        codec: Of the store: "plain" for speed, "compact" for size.
        geometries: How geometries are made from SMILES; unused for geometries from a file.
        name: Of the data set; None takes the name of the folder.
        licence: Terms of use to write into the store.
    """

    backend: str = "pyscf"
    fields: tuple[str, ...] = DEFAULT_FIELDS
    codec: Codec = "plain"
    geometries: GeometrySettings = field(default_factory=GeometrySettings)
    name: str | None = None
    licence: str | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands when it begins.

    Attributes:
        n_planned: Conformations of the plan.
        n_done: Labelled by earlier runs.
        n_failed: Failed in earlier runs, not tried again.
        n_now: To be labelled by this run.
    """

    n_planned: int
    n_done: int
    n_failed: int
    n_now: int


class Watcher(Protocol):
    """Who wants to see the work, a progress bar say."""

    def making_geometries(self, n_molecules: int) -> AbstractContextManager[Any]:
        """Begin to make geometries; the context has ``update()``, called once per molecule."""

    def labelling(self, progress: Progress) -> AbstractContextManager[Any]:
        """Begin to label; the context has ``update(outcome)``."""


@dataclass(frozen=True, kw_only=True)
class LabelReport:
    """What a run left.

    Attributes:
        store: Folder.
        n_stored: Conformations in the store.
        n_new: Of these, labelled by this run.
        n_left: Of the plan, neither labelled nor failed yet.
        failures: All failures, those of earlier runs included.
    """

    store: Path
    n_stored: int
    n_new: int
    n_left: int
    failures: tuple[Failure, ...]


def label(
    source: Path | str,
    store: Path | str,
    settings: LabelSettings,
    *,
    watcher: Watcher,
    workers: int = 1,
    limit: int | None = None,
    smallest_first: bool = False,
    retry: bool = False,
) -> LabelReport:
    """Label molecules or geometries, into a store.

    Args:
        source: A list of SMILES (:func:`nabladft.labels.molecules.read_smiles`), or geometries:
            anything that :func:`nabladft.open` reads.
        store: Folder of the store; made, or continued.
        settings: What to make.
        watcher: Sees the progress.
        workers: Processes, each on one core.
        limit: Label at most this many conformations in this run; run again for more.
        smallest_first: Begin with the geometries of fewest orbitals, which gives the most labels in
            a given time, instead of one geometry of every molecule, then the second of each, ...
        retry: Try conformations again that failed in an earlier run.

    Raises:
        InputError: The input cannot be used, or the store was started with other settings.
        StoreError: The folder holds something else, or another process works in it.
        MissingExtraError: RDKit or the program of the backend is not installed.
        OSError: The disk is full or not writable.
        KeyboardInterrupt: Ctrl-C; what was finished has been committed to the store.
    """
    folder = Path(store)
    for name in settings.fields:
        field_named(name)
    backend = load_backend(settings.backend)
    work = _InputWork.of(source)
    asked = _settings_document(work, settings, backend)
    plan = read_plan(folder, settings=asked)
    if plan is None and (folder / MANIFEST_NAME).exists() and len(Store(folder)):
        message = f"{folder} holds data that this command did not make. Choose another --out."
        raise InputError(message)
    if plan is None:
        plan = _make_plan(work, settings, asked, watcher)
    _create(folder, plan, settings, backend)
    staging = Staging(folder)
    with staging.locked():
        plan.write(folder)
        return _work_off(
            plan,
            staging,
            settings,
            watcher=watcher,
            workers=workers,
            limit=limit,
            smallest_first=smallest_first,
            retry=retry,
        )


def _work_off(
    plan: Plan,
    staging: Staging,
    settings: LabelSettings,
    *,
    watcher: Watcher,
    workers: int,
    limit: int | None,
    smallest_first: bool,
    retry: bool,
) -> LabelReport:
    folder = staging.store
    commit_staged(folder)  # what an earlier run left
    done = {(int(m), int(c)) for m, c in Store(folder).keys}
    failures = [] if retry else [one for one in staging.failures() if one.conformation_id >= 0]
    failed = {(one.molecule_id, one.conformation_id) for one in failures}
    failures += [Failure(m, -1, "", "LabelError", why) for m, why in plan.skipped.items()]
    ordered = plan.smallest_first() if smallest_first else plan.in_rounds()
    todo = [geometry for geometry in ordered if geometry.key not in done | failed]
    now = todo[:limit]
    n_new = 0
    progress = Progress(
        n_planned=len(plan.geometries), n_done=len(done), n_failed=len(failed), n_now=len(now)
    )
    outcomes = run_labels(
        now, store=folder, backend=settings.backend, fields=settings.fields, workers=workers
    )
    try:
        with watcher.labelling(progress) as view:
            for outcome in outcomes:
                if outcome.failure is None:
                    n_new += 1
                else:
                    failures.append(outcome.failure)
                    staging.write_failures(failures)
                view.update(outcome)
    finally:
        outcomes.close()  # stops the workers, also after Ctrl-C
        staging.write_failures(failures)
        commit_staged(folder)
    return LabelReport(
        store=folder,
        n_stored=len(Store(folder)),
        n_new=n_new,
        n_left=len(todo) - n_new - (len(failures) - len(plan.skipped) - len(failed)),
        failures=tuple(failures),
    )


def commit_staged(folder: Path) -> int:
    """Move staged labels into the store.

    Returns:
        How many were moved.

    Raises:
        StoreError: A staged file is damaged, or the store is being written.
        OSError: The disk is full or not writable; nothing is lost.
    """
    staging = Staging(folder)
    keys = staging.keys()
    held = {(int(m), int(c)) for m, c in Store(folder).keys}
    fresh = sorted(keys - held)
    if fresh:
        append(folder, (staging.read(key) for key in fresh))
        consolidate(folder)
    staging.discard(keys)  # those held already too: a run died between the two steps
    return len(fresh)


@dataclass(frozen=True)
class _InputWork:
    """The input: a list of molecules, or a source of geometries."""

    path: Path
    source: ConformationSource | None

    @classmethod
    def of(cls, path: Path | str) -> _InputWork:
        if Path(path).suffix.lower() in SMILES_SUFFIXES and not Path(path).is_dir():
            return cls(Path(path), None)
        return cls(Path(path), open_source(path))


def _settings_document(
    work: _InputWork, settings: LabelSettings, backend: LabelBackend
) -> dict[str, Any]:
    common = {
        "backend": settings.backend,
        "level_of_theory": backend.level_of_theory.to_dict(),
        "fields": sorted(settings.fields),
        "codec": settings.codec,
    }
    if work.source is not None:
        return {"input": "geometries", "input_hash": work.source.data_hash, **common}
    molecules = read_smiles(work.path)
    return {
        "input": "SMILES",
        "input_hash": hash_of([molecule.smiles for molecule in molecules]),
        "geometries": asdict(settings.geometries)
        | {"method": "ETKDGv3, Butina", "coverage": COVERAGE, "radius_angstrom": CLUSTER_RADIUS},
        **common,
    }


def _make_plan(
    work: _InputWork, settings: LabelSettings, asked: dict[str, Any], watcher: Watcher
) -> Plan:
    provenance = {"input": work.path.name, "nabladft": __version__}
    if work.source is not None:
        return Plan(
            settings=asked,
            provenance=provenance,
            geometries=tuple(_without_labels(record) for record in _records_of(work.source)),
        )
    geometries: list[Conformation] = []
    skipped: dict[int, str] = {}
    molecules = read_smiles(work.path)
    with watcher.making_geometries(len(molecules)) as view:
        for molecule in molecules:
            try:
                geometries += make_geometries(molecule, settings.geometries)
            except LabelError as error:
                skipped[molecule.molecule_id] = f"{molecule.place}: {error}"
            view.update()
    if len(skipped) > _MOST_FAILING * len(molecules):
        message = (
            f"For {len(skipped)} of {len(molecules)} molecules of {work.path} no geometry can be "
            f"made; the first: {next(iter(skipped.values()))}"
        )
        raise InputError(message)
    return Plan(
        settings=asked,
        provenance=provenance | {"rdkit": _rdkit_version()},
        geometries=tuple(geometries),
        skipped=skipped,
    )


def _records_of(source: ConformationSource) -> Iterator[Conformation]:
    for start in range(0, len(source), 256):
        yield from source.read(range(start, min(start + 256, len(source))), fields=())


def _without_labels(record: Conformation) -> Conformation:
    return record.replace(
        geometry_origin=record.geometry_origin or INPUT_ORIGIN, orbital_order=None, basis_set=None
    )


def _create(folder: Path, plan: Plan, settings: LabelSettings, backend: LabelBackend) -> None:
    basis_set = backend.level_of_theory.basis_set
    has_matrices = any(field_named(name).in_orbitals for name in settings.fields)
    create_store(
        folder,
        name=settings.name or folder.resolve().name,
        level_of_theory=backend.level_of_theory.to_dict(),
        fields=settings.fields,
        basis_set=basis_set if has_matrices else None,
        orbital_order=ORBITAL_ORDER if has_matrices else None,
        codec=settings.codec,
        licence=settings.licence,
        details={
            **plan.provenance,
            "input_hash": plan.settings["input_hash"],
            "geometries": plan.settings.get("geometries", "as given"),
        },
        exist_ok=True,
    )


def _rdkit_version() -> str:
    try:
        import rdkit  # noqa: PLC0415 - optional dependency
    except ImportError as error:
        raise missing_extra("Making geometries", "label", error) from error
    return str(rdkit.__version__)
