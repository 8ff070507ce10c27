import dataclasses

import pytest

from nabladft.catalog import download
from nabladft.catalog.catalogue import load_catalogue
from nabladft.catalog.download import check_space, choose_products, plan_downloads
from nabladft.catalog.product import Product
from nabladft.errors import DownloadError, InputError, MissingFieldError, UnknownNameError


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    for name in ("NABLADFT_CATALOG", "NABLADFT_MIRRORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NABLADFT_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("")
    monkeypatch.setenv("NABLADFT_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def chosen(*names, fields=()):
    return [p.name for p in choose_products(load_catalogue(), names, fields=fields)]


@pytest.mark.parametrize(
    ("names", "fields", "expected"),
    [
        (["energy/train-tiny"], [], ["energy/train-tiny"]),
        (["energy/train-tiny", "energy/train-t*"], [], ["energy/train-tiny"]),
        (["train-tiny"], ["hamiltonian"], ["hamiltonian/train-tiny"]),
        (["train-tiny"], ["forces"], ["energy/train-tiny"]),
        # The total energy follows from the formation energy.
        (["train-tiny"], ["energy"], ["energy/train-tiny"]),
        (["train-tiny"], ["energy", "hamiltonian"], ["hamiltonian/train-tiny"]),
        (["energy/train-tiny"], ["forces"], ["energy/train-tiny"]),
    ],
)
def test_a_name_and_fields_choose_products(names, fields, expected):
    assert chosen(*names, fields=fields) == expected


def test_a_pattern_with_fields_keeps_what_holds_them():
    assert all(name.startswith("hamiltonian/") for name in chosen("*tiny", fields=["hamiltonian"]))
    assert chosen("*tiny", fields=["hamiltonian"])


@pytest.mark.parametrize(
    ("names", "fields", "error", "message"),
    [
        (["train-tny"], [], UnknownNameError, "Did you mean 'energy/train-tiny'"),
        (["train-tiny"], [], InputError, r"several products: energy/train-tiny \(53"),
        (["energy/train-tiny"], ["hamiltonian"], MissingFieldError, "it: hamiltonian/train-tiny"),
        (["energy/train-tiny"], ["hamiltonan"], UnknownNameError, "Did you mean 'hamiltonian'"),
        (["energy/train-*"], ["hamiltonian"], MissingFieldError, "holds no hamiltonian"),
    ],
)
def test_names_that_do_not_decide_are_refused(names, fields, error, message):
    with pytest.raises(error, match=message):
        chosen(*names, fields=fields)


def test_a_plan_says_where_from_and_where_to(data_folder, tmp_path):
    product = load_catalogue().get("energy/train-tiny")

    (plan,) = plan_downloads([product], mirrors=["/share/nabladft"])
    (here,) = plan_downloads([product], folder=tmp_path)

    assert plan.target == data_folder / "energy" / product.file_name
    assert plan.locations[0] == f"/share/nabladft/energy/{product.file_name}"
    assert plan.locations[-1] == product.urls[-1]
    assert plan.n_missing == product.n_bytes_expected
    assert here.target == tmp_path / product.file_name
    assert not data_folder.exists()


def test_what_is_there_is_not_planned_again(data_folder):
    product = load_catalogue().get("energy/train-tiny")
    (data_folder / "energy").mkdir(parents=True)
    (data_folder / "energy" / product.file_name).write_bytes(b"x")

    (plan,) = plan_downloads([product])

    assert plan.n_missing == 0


def test_embedded_data_need_no_fetching():
    assert plan_downloads([load_catalogue().get("nano")]) == []


def test_an_embedded_data_set_that_the_installation_lacks_says_where_it_is():
    product = dataclasses.replace(load_catalogue().get("nano"), name="left-out", notes="Clone it.")

    (plan,) = plan_downloads([product])

    with pytest.raises(DownloadError, match=r"left-out is in the repository, .* Clone it"):
        plan.fetch()


def test_a_changed_file_is_taken_only_when_asked_for():
    product = load_catalogue().get("energy/train-tiny")

    (strict,), (open_minded,) = (
        plan_downloads([product], accept_changed=changed) for changed in (False, True)
    )

    assert strict.expected.etag == product.etag
    assert open_minded.expected.hashes == ()
    assert open_minded.expected.size is None


def test_downloads_that_do_not_fit_together_are_refused(monkeypatch):
    plans = plan_downloads(load_catalogue().select("hamiltonian/*tiny"))
    total = sum(plan.n_missing or 0 for plan in plans)
    usage = download.shutil.disk_usage("/")
    monkeypatch.setattr(
        download.shutil, "disk_usage", lambda _: usage._replace(free=total - 1_000_000)
    )

    with pytest.raises(DownloadError, match=r"GB are to be fetched, and .* GB free. Nothing was"):
        check_space(plans)
    check_space(plans[:1])


def test_a_product_without_an_address_says_so():
    (plan,) = plan_downloads(
        [Product(name="a/b", kind="store", version="1", what="", file_name="b")]
    )

    with pytest.raises(DownloadError, match="No address of"):
        plan.fetch()
