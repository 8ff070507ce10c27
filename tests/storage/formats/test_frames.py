import pytest

from nabladft.errors import InputError
from nabladft.storage.formats.frames import conformation_and_iteration, frame_id


@pytest.mark.parametrize("conformation_id", [0, 1, 68])
@pytest.mark.parametrize("iteration", [0, 7, 999_999])
def test_id_of_a_frame_comes_apart_again(conformation_id, iteration):
    found = frame_id(conformation_id, iteration)

    assert conformation_and_iteration(found) == (conformation_id, iteration)
    assert found >= 1_000_000


def test_id_of_a_conformation_is_not_one_of_a_frame():
    assert conformation_and_iteration(68) is None


@pytest.mark.parametrize("numbers", [(-1, 0), (0, -1), (0, 1_000_000)])
def test_numbers_out_of_range_are_refused(numbers):
    with pytest.raises(InputError, match="iteration from 0 to 999999, got"):
        frame_id(*numbers)
