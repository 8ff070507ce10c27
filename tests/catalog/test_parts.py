import itertools
import random

from nabladft.catalog.parts import LARGEST_PART, SMALLEST_PART, Ranges, part_bytes_for, plan_parts


def test_ranges_are_the_set_of_their_positions():
    chance = random.Random(0)
    for _ in range(200):
        ranges, positions = Ranges(), set()
        for _ in range(chance.randrange(12)):
            start = chance.randrange(40)
            stop = start + chance.randrange(9)
            ranges.add(start, stop)
            positions |= set(range(start, stop))
        listed = list(ranges)
        assert {p for start, stop in listed for p in range(start, stop)} == positions
        assert all(stop < start for (_, stop), (start, _) in itertools.pairwise(listed))
        assert ranges.total == len(positions)
        assert ranges.prefix == next(p for p in range(60) if p not in positions)
        gaps = {p for start, stop in ranges.gaps(45) for p in range(start, stop)}
        assert gaps == set(range(45)) - positions


def test_parts_cover_the_gaps_once_and_end_at_multiples():
    gaps = [(3, 20), (40, 41), (64, 100)]

    parts = list(plan_parts(gaps, part_bytes=16))

    assert [p for part in parts for p in range(*part)] == [p for gap in gaps for p in range(*gap)]
    assert all(stop % 16 == 0 or stop in {20, 41, 100} for _, stop in parts)


def test_a_part_has_a_size_within_bounds():
    assert part_bytes_for(1, connections=8) == SMALLEST_PART
    assert part_bytes_for(12 * 10**12, connections=8) == LARGEST_PART
    assert part_bytes_for(640 << 20, connections=8) == 10 << 20
