"""Writers of the published file formats, for tests of their readers only.

The schemas are those of the published files: ASE's SQLite back end with labels in ``data``, the
tables of the Hamiltonian databases and of QH9, the dicts that Psi4
pickles, and the summary of properties.
"""

import apsw
import ase
import ase.db
import numpy as np
import pandas as pd

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.core_hamiltonian import core_hamiltonian_matrix
from nabladft.chemistry.electronic import (
    homo_lumo,
    n_electrons,
    orbital_energies_and_coefficients,
)
from nabladft.chemistry.elements import SYMBOLS, isolated_atoms_energy
from nabladft.chemistry.nuclei import rotational_constants
from nabladft.chemistry.orbitals import reorder_orbital_coefficients, reorder_orbitals
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.chemistry.units import PUBLISHED_BOHR_IN_ANGSTROM as ANGSTROM
from nabladft.chemistry.units import convert
from nabladft.storage.formats.qh9 import PYSCF_BOHR_IN_ANGSTROM


def unsafe_connection(path):
    """Open an SQLite file without waiting for the disk after each statement."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA synchronous = off")
    return connection


METADATA = {
    "_distance_unit": "Ang",
    "_property_unit_dict": {"energy": "Hartree", "forces": "Hartree/Ang"},
}

HAMILTONIAN_SCHEMA = """
CREATE TABLE dataset_ids (id INTEGER NOT NULL PRIMARY KEY, MOSES_ID INT, CONFORMER_ID INT);
CREATE TABLE data (id INTEGER NOT NULL PRIMARY KEY, Z BLOB, R BLOB, E FLOAT, F BLOB, H BLOB,
                   S BLOB, C BLOB);
CREATE TABLE nuclear_charges (id INTEGER NOT NULL PRIMARY KEY, N INTEGER, Z BLOB);
CREATE TABLE basisset (Z INTEGER NOT NULL PRIMARY KEY, orbitals BLOB);
CREATE TABLE metadata (id INTEGER PRIMARY KEY, N INTEGER);
"""


def write_energy_file(
    path, records, *, energy="formation_energy", metadata=METADATA, length=ANGSTROM, iterations=None
):
    """Write records as ASE does; ``length`` is one bohr in the unit of length of the file.

    With ``iterations``, one a record, as the trajectory files are.
    """
    with ase.db.connect(path, type="db") as database:
        for number, record in enumerate(records):
            atoms = ase.Atoms(numbers=record.atomic_numbers, positions=length * record.positions)
            data = {"energy": [getattr(record, energy)]}
            if record.forces is not None:
                data["forces"] = record.forces / length
            pairs = {"moses_id": record.molecule_id, "conformation_id": record.conformation_id}
            if iterations is not None:
                pairs["iteration"] = iterations[number]
            if record.smiles is not None:
                pairs["smiles"] = record.smiles
            database.write(atoms, key_value_pairs=pairs, data=data)
    if metadata is not None:
        database.metadata = metadata
    return path


def write_hamiltonian_file(path, records, *, energy="energy", first_id=0):
    """Write records as float32; a label that a record lacks becomes NULL."""
    connection = unsafe_connection(path)
    connection.execute(HAMILTONIAN_SCHEMA)
    elements = np.unique(np.concatenate([record.atomic_numbers for record in records]))
    connection.execute(
        "INSERT INTO nuclear_charges VALUES (0, ?, ?)",
        (len(elements), elements.astype("<i4").tobytes()),
    )
    for number in elements.tolist():
        shells = np.array(DEF2_SVP.shells[number], dtype="<i4").tobytes()
        connection.execute("INSERT INTO basisset VALUES (?, ?)", (number, shells))
    connection.execute("INSERT INTO metadata VALUES (0, ?)", (len(records),))
    for number, record in enumerate(records, start=first_id):
        connection.execute("INSERT INTO dataset_ids VALUES (?, ?, ?)", (number, *record.key))
        labels = (record.forces, record.hamiltonian, record.overlap, record.core_hamiltonian)
        connection.execute(
            "INSERT INTO data VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                record.atomic_numbers.astype("<i4").tobytes(),
                record.positions.astype("<f4").tobytes(),
                getattr(record, energy),
                *(None if value is None else value.astype("<f4").tobytes() for value in labels),
            ),
        )
    connection.close()
    return path


QH9_SCHEMA = {
    "stable": "id INTEGER NOT NULL PRIMARY KEY, N INTEGER, Z BLOB, pos BLOB, Ham BLOB",
    "dynamic": (
        "id INTEGER NOT NULL, geo_id INTEGER NOT NULL, N INTEGER, Z BLOB, pos BLOB, ekin FLOAT, "
        "epot FLOAT, etot FLOAT, time FLOAT, Ham BLOB, converged INT"
    ),
}


def write_qh9_file(path, records, *, kind, length=None):
    """Write records as QH9 has them; ``length`` is one bohr in the unit of length of the file."""
    length = length or (PYSCF_BOHR_IN_ANGSTROM if kind == "stable" else 1.0)
    connection = unsafe_connection(path)
    connection.execute(f"CREATE TABLE data ({QH9_SCHEMA[kind]})")
    for record in records:
        matrix = reorder_orbitals(
            record.hamiltonian, record.atomic_numbers, source=record.orbital_order, target="pyscf"
        )
        numbers = record.atomic_numbers.astype("<i4").tobytes()
        geometry = (record.n_atoms, numbers, (length * record.positions).tobytes())
        if kind == "stable":
            row = (record.molecule_id, *geometry, matrix.tobytes())
        else:
            index = np.int64(record.molecule_id).tobytes()
            numbers = (0.01, record.energy, record.energy + 0.01, 50.0 * record.conformation_id)
            row = (index, record.conformation_id, *geometry, *numbers, matrix.tobytes(), 1)
        connection.execute(f"INSERT INTO data VALUES ({', '.join('?' * len(row))})", row)
    connection.close()
    return path


def psi4_wavefunction(record):
    """What Psi4's ``Wavefunction.to_file`` saves of a record, in Psi4's order of orbitals."""
    numbers, positions = record.atomic_numbers, record.positions

    def to_psi4(matrix):
        return reorder_orbitals(matrix, numbers, source="ascending", target="psi4")

    overlap = overlap_matrix(numbers, positions)
    _, coefficients = orbital_energies_and_coefficients(record.hamiltonian, overlap)
    filled = n_electrons(numbers) // 2
    density = to_psi4(coefficients[:, :filled] @ coefficients[:, :filled].T)
    orbitals = reorder_orbital_coefficients(
        coefficients, numbers, source="ascending", target="psi4"
    )
    fock, n = to_psi4(record.hamiltonian), len(overlap)
    return {
        "molecule": {
            "geom": positions.ravel(),
            "elez": numbers.astype(np.int64),
            "elem": np.array([SYMBOLS[number] for number in numbers]),
            "real": np.ones(len(numbers), dtype=bool),
            "units": "Bohr",
            "fix_com": True,
            "fragment_separators": [],
            "molecular_charge": 0.0,
        },
        "matrix": {
            "Ca": orbitals,
            "Cb": orbitals,
            "Da": density,
            "Db": density,
            "Fa": fock,
            "Fb": fock,
            "H": to_psi4(core_hamiltonian_matrix(numbers, positions)),
            "S": to_psi4(overlap),
            "X": None,
            "aotoso": np.eye(n),
            "gradient": None,
            "hessian": None,
        },
        "vector": {
            "epsilon_a": record.orbital_energies,
            "epsilon_b": record.orbital_energies,
            "frequencies": None,
        },
        "dimension": {"doccpi": (filled,), "nmopi": (n,), "nsopi": (n,)},
        "int": {"nalpha": filled, "nbeta": filled, "nmo": n, "nso": n, "print": 1},
        "string": {"name": "RKS", "module": "scf", "basisname": "DEF2-SVP"},
        "boolean": {"same_a_b_dens": True, "same_a_b_orbs": True, "basispuream": True},
        "float": {"energy": record.energy, "efzc": 0.0},
        "floatvar": {
            "CURRENT ENERGY": record.energy,
            "SCF TOTAL ENERGY": record.energy,
            "NUCLEAR REPULSION ENERGY": record.nuclear_repulsion_energy,
            "ONE-ELECTRON ENERGY": record.one_electron_energy,
            "TWO-ELECTRON ENERGY": record.two_electron_energy,
            "DFT XC ENERGY": record.xc_energy,
            "DISPERSION CORRECTION ENERGY": record.dispersion_energy,
            "GRID ELECTRONS TOTAL": float(2 * filled),
        },
        "matrixarr": {"SCF DIPOLE": record.dipole, "CURRENT DIPOLE": record.dipole},
    }


def write_wavefunction(folder, record, content=None):
    """Write a wavefunction file as published; returns its path."""
    path = folder / f"{record.molecule_id}_{record.conformation_id}.npy"
    np.save(path, content or psi4_wavefunction(record), allow_pickle=True)
    return path


def summary_frame(
    records, *, energy="hartree", orbitals="hartree", dipole="debye", rotation="cm^-1"
):
    """The published table of properties, recomputed from records, in the units given."""
    lines = []
    for number, record in enumerate(records):
        electrons = n_electrons(record.atomic_numbers)
        homo, lumo = homo_lumo(record.orbital_energies, electrons)
        atoms = isolated_atoms_energy(record.atomic_numbers)
        energies = {
            "TOTAL": record.energy,
            "XC": record.xc_energy,
            "NUCLEAR REPULSION": record.nuclear_repulsion_energy,
            "ONE-ELECTRON": record.one_electron_energy,
            "TWO-ELECTRON": record.two_electron_energy,
        }
        x, y, z = convert(record.dipole, source="e*bohr", target=dipole)
        constants = rotational_constants(record.atomic_numbers, record.positions)
        a, b, c = convert(constants, source="hartree", target=rotation)
        line = {
            "MOSES id": record.molecule_id,
            "CONFORMER id": record.conformation_id,
            "archive name": f"wfns_moses_conformers_archive_{number % 3}.tar",
        }
        for name, value in energies.items():
            line[f"DFT {name} ENERGY"] = convert(value, source="hartree", target=energy)
        line |= {"DFT DIPOLE X": x, "DFT DIPOLE Y": y, "DFT DIPOLE Z": z}
        line |= {"DFT TOTAL DIPOLE": float(np.linalg.norm([x, y, z]))}
        line |= {"DFT ROT CONSTANT A": a, "DFT ROT CONSTANT B": b, "DFT ROT CONSTANT C": c}
        levels = {"HOMO": homo, "LUMO": lumo, "HOMO-LUMO GAP": lumo - homo}
        for name, value in levels.items():
            line[f"DFT {name}"] = convert(value, source="hartree", target=orbitals)
        for name, value in {"ATOMIC": atoms, "FORMATION": record.energy - atoms}.items():
            line[f"DFT {name} ENERGY"] = convert(value, source="hartree", target=energy)
        line["SMILES"] = record.smiles
        line["SPLITS"] = "['train_full', 'train_100k']" if number % 2 else "['train_full']"
        lines.append(line)
    return pd.DataFrame(lines)


def execute(path, sql, bindings=()):
    """Change a file."""
    connection = unsafe_connection(path)
    connection.execute(sql, bindings)
    connection.close()
