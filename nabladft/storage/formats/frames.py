"""Ids of the frames of a trajectory.

The published trajectory files have many rows of one (moses_id, conformation_id): the steps of a
relaxation, told apart by ``iteration``. A record is identified by two integers, so the frame goes
into the second one:

    conformation_id of a frame = (conformation_id + 1) * 1_000_000 + iteration

It reads in decimal (2_000_037 is step 37 of conformation 1), is the same in every file, sorts by
step, and, being 1_000_000 or more, is never the id of a conformation outside a trajectory, so that
both can be in one store.

Example:
    >>> frame_id(1, 37), conformation_and_iteration(2_000_037)
    (2000037, (1, 37))
    >>> conformation_and_iteration(1) is None
    True
"""

from __future__ import annotations

from typing import Final

from nabladft.errors import InputError

#: Frames that one conformation may have; the published relaxations have some hundred at most.
FRAMES_PER_CONFORMATION: Final = 1_000_000

#: The rule, for whoever asks a source what its ids mean.
FRAME_RULE: Final = "conformation_id = (conformation_id in the file + 1) * 1000000 + iteration"


def frame_id(conformation_id: int, iteration: int) -> int:
    """Give the id of one frame.

    Args:
        conformation_id: The conformation that was relaxed, 0 or more.
        iteration: Step, 0 to 999,999.

    Raises:
        InputError: A number is out of range.
    """
    if conformation_id < 0 or not 0 <= iteration < FRAMES_PER_CONFORMATION:
        message = (
            f"A frame has a conformation_id of 0 or more and an iteration from 0 to "
            f"{FRAMES_PER_CONFORMATION - 1}, got {conformation_id} and {iteration}."
        )
        raise InputError(message)
    return (conformation_id + 1) * FRAMES_PER_CONFORMATION + iteration


def conformation_and_iteration(conformation_id: int) -> tuple[int, int] | None:
    """Take the id of a frame apart, or give None for the id of a conformation."""
    if conformation_id < FRAMES_PER_CONFORMATION:
        return None
    conformation, iteration = divmod(conformation_id, FRAMES_PER_CONFORMATION)
    return conformation - 1, iteration
