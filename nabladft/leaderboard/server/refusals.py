"""Every message that leaves the server, reviewed in one place.

Texts of exceptions never leave it: they may hold values, paths or ids. What went wrong with a
submission is one of the codes below, and the details of it can be had on the submitter's own
machine, from ``nabladft submit --server URL --check`` and the public copy of the data.

Example:
    >>> error = refusal("offset", offset=5)
    >>> error.status, error.code, str(error)
    (409, 'offset', 'The next byte of this file is number 5. Send from there.')
"""

from __future__ import annotations

from typing import Final

from nabladft.errors import SubmissionError

#: Why a submission failed, by code. These texts have no placeholders.
FAILURES: Final = {
    "not_hdf5": "A file is not an HDF5 file, or is damaged.",
    "not_predictions": (
        "A file is not a predictions file that can be used: attributes or arrays are missing, "
        "unknown, of a wrong type or shape, links, or a conformation comes twice."
    ),
    "data": "A file was made for other data: its data_hash is not that of this task.",
    "split": "A file was made with another split: its split_hash is not that of this task.",
    "parts": (
        "Every part of this task must come once for every seed of the entry. A file says in its "
        "attributes which part it is of, and in its details which seed, if there are several."
    ),
    "conformations": (
        "A file must hold one prediction for every conformation of its part and no other."
    ),
    "quantities": (
        "A file must hold the quantities of this task: the required ones, and none that the task "
        "does not score."
    ),
    "atoms": "A file has other atoms than the data, or has them in another order.",
    "unit": "A quantity has no unit, an unknown one, or looks like another one than declared.",
    "orbital_order": "Matrices look like another orbital order than declared.",
    "hamiltonian": "Matrices look like another basis set or sequence of atoms than declared.",
    "orbital_count": "A matrix has not the number of orbitals of its atoms and basis set.",
    "values": "A value is not a finite number, or predictions contradict themselves.",
    "memory": "Scoring needs more memory than this server allows.",
    "time": "Scoring needs more time than this server allows.",
    "crashed": "Scoring crashed repeatedly. If the file is good, write to the operators.",
}

#: What to do after any of them.
NEXT_STEP: Final = (
    "`nabladft submit ... --server URL --check --data COPY --split SPLIT`, on your machine and "
    "with the public copy of the data, names the place."
)

_REQUESTS: Final = {
    "unauthorized": (401, "A token is needed: the header 'Authorization: Bearer TOKEN'."),
    "not_found": (404, "There is no such submission of this account."),
    "no_file": (404, "This submission has no file of that number."),
    "unknown_task": (422, "There is no such task. GET /v1/tasks lists them."),
    "entry": (422, "The entry cannot be used: {reason}"),
    "scored_entry": (
        422,
        (
            "The entry has scores already. Leave out the tables data, scorer, details and scores: "
            "they are written by scoring."
        ),
    ),
    "task_kind": (422, "The entry is of task {entry!r}, and {name!r} is one of {kind!r}."),
    "same_file": (422, "Two files have the same SHA-256. Send each once."),
    "number_of_files": (
        422,
        (
            "This task has {n_parts} parts and the entry {n_seeds} seeds, so {expected} files are "
            "expected, and {given} are announced."
        ),
    ),
    "too_many_files": (422, "A submission has at most {limit} files. Leave out some seeds."),
    "file_too_large": (413, "A predictions file has at most {limit} bytes."),
    "body_too_large": (413, "The body of this request has at most {limit} bytes."),
    "too_many_open": (
        429,
        "This account has {limit} submissions that are not finished. Finish or delete one.",
    ),
    "daily_limit": (
        429,
        (
            "This account has had {limit} submissions scored today (UTC). Submit it tomorrow; what "
            "is uploaded is kept."
        ),
    ),
    "rate_limit": (429, "Too many requests. Wait {seconds} seconds."),
    "offset": (409, "The next byte of this file is number {offset}. Send from there."),
    "locked": (423, "Another request is writing this file. Try again in a moment."),
    "too_many_bytes": (413, "More bytes than declared. The file has {n_bytes}."),
    "checksum": (
        422,
        "The file that arrived has another SHA-256 than declared. It was removed: send it again.",
    ),
    "incomplete": (409, "File {number} is not complete: {offset} of {n_bytes} bytes are here."),
    "state": (409, "The submission is {state}, so this cannot be done any more."),
    "idle": (408, "No byte came for a while. What has arrived is kept: go on from there."),
    "disk_full": (507, "The disk of the server is full. What has arrived is kept: try later."),
}


def refusal(code: str, **values: object) -> SubmissionError:
    """Give the error of a request that is refused, with public values filled in."""
    status, text = _REQUESTS[code]
    return SubmissionError(text.format(**values), code=code, status=status)


def failure_message(code: str) -> str:
    """Give the text of a failed submission."""
    text = FAILURES[code]
    return text if code in {"memory", "time", "crashed"} else f"{text} {NEXT_STEP}"
