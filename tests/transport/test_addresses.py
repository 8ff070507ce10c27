import pytest

from nabladft.errors import InputError
from nabladft.transport.addresses import https_address, joined, local_place, shown


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://ada:secret@example.org/a.db", "https://example.org/a.db"),
        ("https://example.org/a.db?Signature=abc&Expires=1", "https://example.org/a.db?..."),
        ("/data/a.db", "/data/a.db"),
    ],
)
def test_shown_addresses_have_no_credentials(address, expected):
    assert shown(address) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "https://bucket.s3.amazonaws.com/a%20b.db"),
        ({"region": "eu-west-1"}, "https://bucket.s3.eu-west-1.amazonaws.com/a%20b.db"),
        ({"endpoint": "http://127.0.0.1:9000/"}, "http://127.0.0.1:9000/bucket/a%20b.db"),
        ({"endpoint": "s3.example.org"}, "https://s3.example.org/bucket/a%20b.db"),
    ],
)
def test_s3_names_become_public_addresses(settings, expected):
    assert https_address("s3://bucket/a b.db", **settings) == expected


def test_a_bucket_with_dots_is_no_host_name():
    assert https_address("s3://a.b/c") == "https://s3.amazonaws.com/a.b/c"


def test_an_s3_address_needs_a_key():
    with pytest.raises(InputError, match=r"s3://BUCKET/KEY"):
        https_address("s3://bucket/")


def test_file_addresses_are_paths(tmp_path):
    assert local_place((tmp_path / "a b.db").as_uri()) == tmp_path / "a b.db"


@pytest.mark.parametrize(
    ("address", "message"),
    [("ftp://example.org/a", "ftp:// is unknown"), ("file://host/a", "three slashes")],
)
def test_other_kinds_of_addresses_are_refused(address, message):
    with pytest.raises(InputError, match=message):
        local_place(address)


def test_a_mirror_may_be_a_folder():
    assert joined("/share/data/", "energy/a b.db") == "/share/data/energy/a b.db"
    assert joined("https://example.org", "energy/a b.db") == "https://example.org/energy/a%20b.db"
