import hashlib
import random

import pytest

from nabladft.catalog.verification import (
    Expected,
    Verifier,
    content_etag,
    likely_part_sizes,
    verify_file,
)
from nabladft.errors import InputError, VerificationError
from tests.hostile_server import s3_etag

MIB = 1 << 20
CONTENT = random.Random(1).randbytes(3 * MIB + 17)


def verifier_after(expected, content=CONTENT, **options):
    verifier = Verifier(len(content), expected, **options)
    while verifier.position < len(content):
        verifier.update(content[verifier.position : verifier.position + 100_003])
    return verifier


@pytest.mark.parametrize(
    "expected",
    [
        Expected(sha256=hashlib.sha256(CONTENT).hexdigest()),
        Expected(md5=hashlib.md5(CONTENT).hexdigest().upper()),
        Expected(etag=s3_etag(CONTENT)),
        Expected(etag=s3_etag(CONTENT, 8 * MIB)),
        Expected(etag=s3_etag(CONTENT, MIB)),
        Expected(etag=s3_etag(CONTENT, 2 * MIB)),
        Expected(etag=s3_etag(CONTENT, 1_000_000)),
        Expected(etag=s3_etag(CONTENT, 654_321), etag_part_bytes=654_321),
        Expected(etag="not-of-the-content"),
        Expected(),
    ],
    ids=str,
)
def test_the_right_content_agrees_and_a_wrong_one_does_not(expected):
    wrong = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])

    assert verifier_after(expected).mismatches() == []
    assert bool(verifier_after(expected, wrong).mismatches()) == bool(expected.hashes)


@pytest.mark.parametrize("n_mebibytes", [5, 8, 15, 16, 64, 100, 128, 256, 2048])
def test_the_part_sizes_of_uploaders_are_found(n_mebibytes):
    size = 40 * n_mebibytes * MIB - 12_345

    found = likely_part_sizes(size, 40)

    assert n_mebibytes * MIB in found[:3]
    assert all(-(-size // part_bytes) == 40 for part_bytes in found)


@pytest.mark.parametrize(
    ("size", "n_parts", "part_bytes"),
    [(15_118_426_112, 1803, 8 * MIB), (68_388_278_272, 8153, 8 * MIB)],
)
def test_the_part_sizes_of_published_files_are_found(size, n_parts, part_bytes):
    assert likely_part_sizes(size, n_parts)[0] == part_bytes


def test_an_unusual_part_size_leaves_a_doubt_and_is_found_when_told():
    etag = s3_etag(CONTENT, 654_321)

    (doubt,) = verifier_after(Expected(etag=etag)).mismatches()

    assert not doubt.certain
    assert "none of the usual part sizes" in str(doubt)


def test_rare_part_sizes_are_tried_on_the_whole_file(tmp_path):
    path = tmp_path / "a"
    content = bytes(39 * MIB)
    path.write_bytes(content)
    # Two parts: every whole number of mebibytes from 20 to 38 makes two.
    verifier = Verifier(len(content), Expected(etag=s3_etag(content, 29 * MIB)))
    verifier.update(content)

    assert verifier.mismatches()
    assert verifier.mismatches(path) == []


def test_known_parts_are_not_hashed_again():
    kept = {}
    expected = Expected(etag=s3_etag(CONTENT, MIB), etag_part_bytes=MIB)
    verifier_after(expected, keep=lambda size, number, digest: kept.update({number: digest}))

    verifier = Verifier(len(CONTENT), expected, known={MIB: {0: kept[0], 1: kept[1]}})

    assert verifier.position == 2 * MIB
    verifier.update(CONTENT[2 * MIB :])
    assert verifier.mismatches() == []


def test_known_parts_of_several_sizes_go_on_where_the_least_is_known():
    kept = {}
    expected = Expected(etag=s3_etag(CONTENT, 2 * MIB))

    def keep(size, number, digest):
        kept.setdefault(size, {})[number] = digest

    verifier_after(expected, keep=keep)
    first = {size: {0: numbers[0]} for size, numbers in kept.items()}
    verifier = Verifier(len(CONTENT), expected, known=first)

    assert len(kept) > 1
    assert verifier.position == min(kept)
    verifier.update(CONTENT[verifier.position :])
    assert verifier.mismatches() == []


def test_known_parts_do_not_spare_another_hash_its_bytes():
    expected = Expected(
        etag=s3_etag(CONTENT, MIB), etag_part_bytes=MIB, md5=hashlib.md5(CONTENT).hexdigest()
    )

    assert Verifier(len(CONTENT), expected, known={MIB: {0: "00"}}).position == 0


def test_a_part_size_that_cannot_be_is_refused():
    with pytest.raises(InputError, match=r"has 7 parts, but .* make 4. Correct etag_part_bytes"):
        Verifier(len(CONTENT), Expected(etag="0" * 32 + "-7", etag_part_bytes=MIB))


def test_more_parts_than_bytes_is_a_mismatch():
    (mismatch,) = verifier_after(Expected(etag="0" * 32 + "-7"), b"abc").mismatches()

    assert mismatch.certain


@pytest.mark.parametrize(
    ("etag", "expected"),
    [
        ('"900150983CD24FB0D6963F7D28E17F72-3"', "900150983cd24fb0d6963f7d28e17f72-3"),
        ("5f3b-1a2b", None),
        ("900150983cd24fb0d6963f7d28e17f72-0", None),
        (None, None),
    ],
)
def test_only_some_etags_follow_from_the_content(etag, expected):
    assert content_etag(etag) == expected


def test_a_file_is_verified_whole(tmp_path):
    path = tmp_path / "a.db"
    path.write_bytes(CONTENT)
    expected = Expected(size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    read = []

    assert verify_file(path, expected, progress=read.append) == ("size", "SHA-256")
    assert sum(read) == len(CONTENT)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (Expected(size=5), r"has 3145745 bytes, the catalogue says 5"),
        (Expected(sha256="0" * 64), r"SHA-256 is [0-9a-f]{64}, the catalogue says 0{64}"),
        (Expected(etag="0" * 32), r"ETag is [0-9a-f]{32}, the catalogue says 0{32}"),
    ],
)
def test_a_file_that_is_not_as_promised_is_refused(tmp_path, expected, message):
    path = tmp_path / "a.db"
    path.write_bytes(CONTENT)

    with pytest.raises(VerificationError, match=message):
        verify_file(path, expected)
