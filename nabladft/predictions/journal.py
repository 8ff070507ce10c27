"""What has been predicted so far, in a file that survives a kill at any moment.

An SQLite database beside the predictions file that is to be written. Every conformation is one
transaction, so what is finished is there after Ctrl-C, SIGKILL or a crash of the calculator. It
says what it is of; another job of the same name is refused, and so is a second process.

Example:
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "p.h5.progress"
    >>> with Journal(path, {"model": "m"}) as journal:
    ...     journal.add((7, 0), energy=-1.5, forces=np.zeros((2, 3)), seconds=0.1)
    >>> with Journal(path, {"model": "m"}) as journal:
    ...     journal.finished, journal.read([(7, 0)])[0].energy
    ({(7, 0)}, -1.5)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import apsw
import numpy as np

from nabladft.errors import PredictionsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS job (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS finished (
    molecule_id INTEGER NOT NULL,
    conformation_id INTEGER NOT NULL,
    energy REAL NOT NULL,
    forces BLOB,
    seconds REAL NOT NULL,
    PRIMARY KEY (molecule_id, conformation_id)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One finished prediction, in atomic units.

    Attributes:
        energy: Total energy, hartree.
        forces: Shape (n_atoms, 3), hartree/bohr, or None.
        seconds: Wall time.
    """

    energy: float
    forces: NDArray[np.float64] | None
    seconds: float


class Journal:
    """The finished predictions of one job.

    Args:
        path: The file; it is made if it is not there.
        job: What the job is, by name; the same when it is continued.

    Raises:
        PredictionsError: The file is of another job, is none, or another process is writing it.
    """

    def __init__(self, path: Path, job: Mapping[str, str]) -> None:
        """Open it, alone."""
        self.path = path
        self._connection = apsw.Connection(str(path))
        try:
            # Exclusive for as long as it is open, so that two processes do not do the same work.
            self._execute("PRAGMA locking_mode = EXCLUSIVE")
            self._execute("PRAGMA journal_mode = WAL")
            # Commits need no sync to survive the end of the process, and lose at most the last
            # few conformations, whole, if the machine loses its power.
            self._execute("PRAGMA synchronous = NORMAL")
            with self._connection:
                self._execute(_SCHEMA)
                self._check_job(job)
        except apsw.BusyError as error:
            self._connection.close()
            message = f"{path} is being written by another process; wait for it, or end it."
            raise PredictionsError(message) from error
        except apsw.NotADBError as error:
            self._connection.close()
            message = f"{path} is not a progress file of predictions. Move it away."
            raise PredictionsError(message) from error
        except PredictionsError:
            self._connection.close()
            raise

    @property
    def finished(self) -> set[tuple[int, int]]:
        """Pairs (molecule_id, conformation_id) that are done."""
        return set(self._execute("SELECT molecule_id, conformation_id FROM finished"))

    @property
    def seconds(self) -> float:
        """Wall time of all predictions that are done."""
        ((total,),) = self._execute("SELECT total(seconds) FROM finished")
        return float(total)

    def add(
        self,
        key: tuple[int, int],
        *,
        energy: float,
        forces: NDArray[np.float64] | None,
        seconds: float,
    ) -> None:
        """Keep a prediction; it is safe when this returns.

        Args:
            key: Pair (molecule_id, conformation_id).
            energy: Total energy, hartree.
            forces: Shape (n_atoms, 3), hartree/bohr, or None.
            seconds: Wall time.
        """
        content = None if forces is None else np.ascontiguousarray(forces, "<f8").tobytes()
        self._execute(
            "INSERT INTO finished VALUES (?, ?, ?, ?, ?)", (*key, energy, content, seconds)
        )

    def read(self, keys: Iterable[tuple[int, int]]) -> list[Finished]:
        """Give finished predictions in the order asked for.

        Raises:
            KeyError: One is not finished.
        """
        found = []
        for key in keys:
            rows = list(
                self._execute(
                    "SELECT energy, forces, seconds FROM finished "
                    "WHERE molecule_id = ? AND conformation_id = ?",
                    key,
                )
            )
            if not rows:
                raise KeyError(key)
            ((energy, forces, seconds),) = rows
            array = None if forces is None else np.frombuffer(forces, "<f8").reshape(-1, 3)
            found.append(Finished(energy=energy, forces=array, seconds=seconds))
        return found

    def remove(self) -> None:
        """Close and delete the file, when nothing of it is needed any more."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close it; what is in it stays."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> apsw.Cursor:
        return self._connection.execute(statement, values)

    def _check_job(self, job: Mapping[str, str]) -> None:
        known = dict(self._execute("SELECT name, value FROM job"))
        if not known:
            for item in job.items():
                self._execute("INSERT INTO job VALUES (?, ?)", item)
            return
        for name in sorted(known.keys() | job.keys()):
            if known.get(name) != job.get(name):
                message = (
                    f"{self.path} is of another job: its {name} is {known.get(name)!r}, this one's "
                    f"{job.get(name)!r}. Finish that one, delete the file, or choose another --out."
                )
                raise PredictionsError(message)
