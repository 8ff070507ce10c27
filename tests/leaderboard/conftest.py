"""The smallest molecules of the embedded data, a split of them, predictions of them."""

import numpy as np
import pytest

import nabladft
from nabladft.leaderboard.entry import EXAMPLE, parse_entry
from nabladft.leaderboard.submission import submit
from nabladft.splits import Split
from tests.conftest import MemorySource
from tests.scoring_data import disturbed, info_for, write_predictions

TEST_PARTS = ("test_conformations", "test_structures", "test_scaffolds")
N_EACH = 3


@pytest.fixture(scope="session")
def records():
    """Real labels, so that what is checked of them is true."""
    nano = nabladft.open("nano")
    rows = np.argsort(nano.n_atoms, kind="stable")[: 4 * N_EACH]
    return nano.read(rows, fields=["energy", "forces", "hamiltonian"])


@pytest.fixture(scope="session")
def source(records):
    return MemorySource(records)


@pytest.fixture(scope="session")
def split(source):
    parts = ("train", *TEST_PARTS)
    return Split(
        name="memory",
        dataset=source.info.name,
        data_hash=source.data_hash,
        parts={part: source.keys[k::4] for k, part in enumerate(parts)},
    )


def writer(folder, source, split):
    """Write predictions of a part; what is not said is as it should be."""

    def run(part, *, seed=1, change=None, fields=("energy", "forces"), name=None, **details):
        rng = np.random.default_rng([seed, len(part)])
        wanted = source.read(source.rows_of(split.part(part)))
        guesses = [disturbed(record, rng, scale=1e-3) for record in wanted]
        changed = [change(guess) for guess in guesses] if change else guesses
        info = info_for(source, split, part, details={"seed": seed, **details})
        path = folder / (name or f"predictions-{part}-{seed}.h5")
        return write_predictions(path, changed, info, fields)

    return run


@pytest.fixture
def write(tmp_path, source, split):
    return writer(tmp_path, source, split)


@pytest.fixture
def entry():
    return parse_entry(EXAMPLE, where="example")


@pytest.fixture(scope="session")
def shared_files(tmp_path_factory, source, split):
    """One file for each part, which no test changes."""
    write = writer(tmp_path_factory.mktemp("shared"), source, split)
    return tuple(write(part) for part in TEST_PARTS)


@pytest.fixture(scope="session")
def submission(shared_files, source, split):
    """The entry of these files."""
    return submit(shared_files, parse_entry(EXAMPLE, where="example"), source=source, split=split)
