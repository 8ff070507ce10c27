"""One published file (or embedded store) and everything known of it.

Example:
    >>> from nabladft.catalog.catalogue import load_catalogue
    >>> product = load_catalogue().get("hamiltonian/train-tiny")
    >>> product.n_conformations, product.n_bytes, product.n_bytes_about
    (12145, None, 15118426112)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KINDS", "READABLE_KINDS", "Defect", "Licence", "Method", "Product", "ProductField"]

#: What a product is, and how tables say it.
KINDS: Final = {
    "energy": "energies and forces",
    "hamiltonian": "Hamiltonians",
    "trajectories": "relaxation trajectories",
    "summary": "table of properties",
    "geometries": "geometries",
    "wavefunctions": "Psi4 wavefunctions",
    "splits": "indices of splits",
    "store": "store",
}

#: Kinds whose files hold records that :func:`nabladft.open` reads; of the others only bytes count.
READABLE_KINDS: Final = frozenset({"energy", "hamiltonian", "trajectories", "store"})


@dataclass(frozen=True, kw_only=True)
class ProductField:
    """One quantity in a file: what it is there, and what it becomes here.

    Attributes:
        column: Its name in the file ("data.forces", "H", "DFT HOMO").
        unit: Its unit in the file; "?" when nobody wrote it down, "1" for a pure number.
        becomes: Its name here (a field of the package), or None when it is not read as one.
        unit_here: Its unit here, or None.
        remark: What else one must know ("NULL in every row"), or None.
        absent: Whether the column exists but holds nothing.
    """

    column: str
    unit: str
    becomes: str | None = None
    unit_here: str | None = None
    remark: str | None = None
    absent: bool = False


@dataclass(frozen=True, kw_only=True)
class Method:
    """Level of theory of the labels.

    Attributes:
        name: Functional and basis set.
        program: Program and version.
        details: Grid, thresholds, dispersion: one text.
    """

    name: str
    program: str | None = None
    details: str | None = None


@dataclass(frozen=True, kw_only=True)
class Licence:
    """Under which terms a product is published, as far as anybody said so.

    Attributes:
        name: Short name, or "none stated".
        details: What is known.
    """

    name: str
    details: str | None = None


@dataclass(frozen=True, kw_only=True)
class Defect:
    """Something wrong with a published file, or with what is said of it.

    Attributes:
        name: Its name in the catalogue.
        text: What is wrong, and what this package does about it.
        issues: Numbers of the reports in upstream's repository.
    """

    name: str
    text: str
    issues: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Product:
    """One published file, or one embedded store.

    What is not known is None, never a guess: sizes that were estimated are in ``n_bytes_about``.

    Attributes:
        name: "energy/train-tiny", "v1/hamiltonian/train-2k", "nano".
        kind: One of :data:`KINDS`.
        version: Release of the data ("v1", "v2"), or of ours.
        what: One line for tables.
        urls: Where it is published: the origin first, then mirrors. Empty for an embedded store.
        file_name: Name of the file as published.
        n_bytes: Exact size, or None.
        n_bytes_about: Estimated size where the exact one is unknown, or None.
        etag: S3 ETag without quotes: an MD5, or MD5 of the parts' MD5s and their number.
        etag_part_bytes: Part size of such an ETag, where known; None leaves it to be found.
        md5: MD5 of the whole file (hex), or None.
        sha256: SHA-256 of the whole file (hex), or None.
        n_conformations: Rows, or None.
        n_conformations_about: Estimated rows where the exact number is unknown, or None.
        n_molecules: Molecules, or None.
        fields: What a record holds.
        method: Level of theory.
        licence: Terms of use.
        defects: What is known to be wrong.
        split: Name of the published split it is ("train-tiny"), or None.
        train_subset: For a conformation test, the train subset whose molecules it repeats.
        packing: "gz", "tar", "7z" when the file must be unpacked to be read, else None.
        notes: Where the numbers come from, and other remarks.
        registry_name: Its name in the registry of upstream ("dataset_train_tiny"), or None.
        embedded: Whether it comes with the package.
        source: The catalogue file that describes it.
    """

    name: str
    kind: str
    version: str
    what: str
    urls: tuple[str, ...] = ()
    file_name: str
    n_bytes: int | None = None
    n_bytes_about: int | None = None
    etag: str | None = None
    etag_part_bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None
    n_conformations: int | None = None
    n_conformations_about: int | None = None
    n_molecules: int | None = None
    fields: tuple[ProductField, ...] = ()
    method: Method | None = None
    licence: Licence | None = None
    defects: tuple[Defect, ...] = ()
    split: str | None = None
    train_subset: str | None = None
    packing: str | None = None
    notes: str | None = None
    registry_name: str | None = None
    embedded: bool = False
    source: Path | None = None

    @property
    def n_bytes_expected(self) -> int | None:
        """Size to plan with: exact where known, else estimated, else None."""
        return self.n_bytes if self.n_bytes is not None else self.n_bytes_about

    @property
    def hashes(self) -> tuple[str, ...]:
        """Names of the hashes that are known: "sha256", "md5", "etag"."""
        return tuple(name for name in ("sha256", "md5", "etag") if getattr(self, name) is not None)
