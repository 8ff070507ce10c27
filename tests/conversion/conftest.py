"""Sources of every kind, written from nano in the schema of the published files."""

import pytest

from nabladft.chemistry.basis import DEF2_SVP
from nabladft.chemistry.overlap import overlap_matrix
from nabladft.storage.opening import open_source
from tests.storage.published_files import write_energy_file, write_hamiltonian_file

N_RECORDS = 24


@pytest.fixture(scope="session")
def nano_records():
    """Every thirteenth record of nano, with the overlap."""
    source = open_source("nano")
    return [
        record.replace(
            overlap=overlap_matrix(
                record.atomic_numbers,
                record.positions,
                basis_set=DEF2_SVP,
                orbital_order=record.orbital_order,
            )
        )
        for record in source.read(range(0, 13 * N_RECORDS, 13))
    ]


@pytest.fixture(scope="session")
def energy_file(nano_records, tmp_path_factory):
    """A published energy file."""
    return write_energy_file(tmp_path_factory.mktemp("energy") / "energies.db", nano_records)


@pytest.fixture(scope="session")
def hamiltonian_file(nano_records, tmp_path_factory):
    """A published Hamiltonian file: energies, forces, matrices, no core Hamiltonian."""
    folder = tmp_path_factory.mktemp("hamiltonian")
    return write_hamiltonian_file(folder / "hamiltonians.db", nano_records)


@pytest.fixture
def broken_energy_file(nano_records, tmp_path):
    """A published energy file with a value that is not finite in row 5 and row 9 twice."""
    records = [*nano_records[:12], nano_records[9]]
    path = write_energy_file(tmp_path / "broken.db", records)
    return spoil_energy(path, number=6)


def spoil_energy(path, number):
    """Put a NaN into the forces of one row, as a crashed program would."""
    import apsw
    import numpy as np

    connection = apsw.Connection(str(path))
    ((data,),) = connection.execute("SELECT data FROM systems WHERE id = ?", (number,))
    content = bytearray(data)
    content[8:16] = np.array([np.nan]).tobytes()  # the first array begins after the offset
    connection.execute("UPDATE systems SET data = ? WHERE id = ?", (bytes(content), number))
    connection.close()
    return path


def shard_bytes(folder):
    """The bytes of every shard, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard-*.h5"))}
