"""What a stranger's HDF5 file cannot do: each refusal, and what is still accepted."""

import multiprocessing
import random
import tracemalloc
import zlib

import h5py
import hdf5plugin
import numpy as np
import pytest

from nabladft.errors import NablaDFTError, PredictionsError
from nabladft.predictions import Predictions, PredictionsInfo, PredictionsWriter
from nabladft.predictions.hdf5_limits import MOST_ATTRIBUTES, MOST_CHUNK_BYTES, MOST_MEMBERS

KEYS = [(1, 0), (1, 1), (2, 0)]
N_ATOMS = [1, 2, 3]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a small valid file with energies and forces, nothing compressed."""
    folder = tmp_path_factory.mktemp("content")
    info = PredictionsInfo(dataset="d", data_hash="0", model="m", details={"seed": 1})
    with PredictionsWriter(folder / "chunked.h5", info) as writer:
        writer.append(
            keys=KEYS,
            energy=[1.0, 2.0, 3.0],
            n_atoms=N_ATOMS,
            atomic_numbers=[1] * 6,
            forces=np.arange(18.0).reshape(6, 3),
        )
    with h5py.File(folder / "chunked.h5") as chunked, h5py.File(folder / "p.h5", "w") as file:
        file.attrs.update(chunked.attrs)
        for name, dataset in chunked.items():
            file[name] = dataset[()]
            file[name].attrs.update(dataset.attrs)
    return (folder / "p.h5").read_bytes()


@pytest.fixture
def path(tmp_path, content):
    (tmp_path / "p.h5").write_bytes(content)
    return tmp_path / "p.h5"


def change(path, how):
    with h5py.File(path, "a") as file:
        how(file)


def remake(file, name, **options):
    """Store an array again in another way."""
    values, attributes = file[name][()], dict(file[name].attrs)
    del file[name]
    dataset = file.create_dataset(name, data=values, **options)
    dataset.attrs.update(attributes)
    return dataset


def many_members(file):
    for k in range(MOST_MEMBERS):
        file.create_group(f"group {k}")


def many_attributes(file):
    for k in range(MOST_ATTRIBUTES):
        file.attrs[f"a{k}"] = k


def many_attributes_of_an_array(file):
    for k in range(MOST_ATTRIBUTES):
        file["energy"].attrs[f"a{k}"] = k


def set_attribute(name, value, owner="/"):
    def how(file):
        file[owner].attrs[name] = value

    return how


def object_reference_attribute(file):
    file.attrs["see"] = file["energy"].ref


def region_reference_attribute(file):
    file["energy"].attrs["see"] = file["energy"].regionref[:2]


def compound_attribute(file):
    file.attrs["pair"] = np.array((1, 2.0), dtype=[("a", "i4"), ("b", "f8")])[()]


def replace(name, dtype, data=None):
    def how(file):
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, (3,), dtype, data=data)
        file[name].attrs.update(attributes)

    return how


def named_type(file):
    del file["energy"]
    file["energy"] = np.dtype("f8")


def null(file):
    del file["energy"]
    file["energy"] = h5py.Empty("f8")


def scalar(file):
    del file["energy"]
    file["energy"] = 1.0


def never_written(file):
    del file["energy"]
    file.create_dataset("energy", (3,), "f8").attrs["unit"] = "hartree"


def partly_written(file):
    del file["energy"]
    dataset = file.create_dataset("energy", (3,), "f8", chunks=(1,))
    dataset.attrs["unit"] = "hartree"
    dataset[:2] = 1.0


def filtered(**options):
    return lambda file: remake(file, "energy", chunks=(3,), **options)


def gzip_twice(file):
    del file["energy"]
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((3,))
    creation.set_deflate(9)
    creation.set_deflate(9)
    space = h5py.h5s.create_simple((3,))
    made = h5py.h5d.create(file.id, b"energy", h5py.h5t.IEEE_F64LE, space, creation)
    h5py.Dataset(made)[:] = [1.0, 2.0, 3.0]


def raw_chunk(content, chunks=(3,), mask=0):
    """Put bytes where a compressed chunk is expected."""

    def how(file):
        dataset = remake(file, "energy", chunks=chunks, maxshape=(None,), compression="gzip")
        dataset.id.write_direct_chunk((0,), content, filter_mask=mask)

    return how


def large_chunks(file):
    remake(file, "energy", chunks=(MOST_CHUNK_BYTES // 8 + 1,), maxshape=(None,))


def overflowing_offsets(file):
    # Every difference is positive in 64 bits, and yet it does not increase.
    file["atom_offsets"][:] = [0, 2**63 - 1, -(2**63) + 10, 6]


def many_atoms(file):
    for name, length in {"atomic_numbers": 5000, "forces": (5000, 3)}.items():
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = np.ones(length, dtype="i4" if name == "atomic_numbers" else "f8")
        file[name].attrs.update(attributes)
    file["atom_offsets"][:] = [0, 1, 4999, 5000]


REFUSED = {
    "many members": (many_members, "it has 22 members, at most 16 are read"),
    "many attributes": (many_attributes, "attributes, at most 64 are accepted"),
    "of an array": (many_attributes_of_an_array, "'energy' has 65 attributes, at most 64"),
    "array attribute": (set_attribute("model", ["a", "b"]), "'model' of the file is not one value"),
    "empty attribute": (set_attribute("model", h5py.Empty("f8")), "'model' of the file is not one"),
    "object reference": (object_reference_attribute, "'see' of the file is neither a text nor"),
    "region reference": (region_reference_attribute, "'see' of 'energy' is neither a text nor"),
    "compound attribute": (compound_attribute, "'pair' of the file is neither a text nor a num"),
    "long details": (
        set_attribute("details", '"' + "x" * (1 << 20) + '"'),
        "'details' has 1048578 characters, at most 1048576 are read",
    ),
    "long heap": (set_attribute("details", "x" * (5 << 20)), "a collection of texts has 5.* bytes"),
    "deep details": (set_attribute("details", "[" * 100_000), "'details' is not JSON"),
    "long number": (set_attribute("details", "9" * 5000), "'details' is not JSON"),
    "line break": (set_attribute("model", "a\nb"), "'model' is 'a.*printable characters on one"),
    "escape": (set_attribute("part", "\x1b[2J"), "'part' is .*printable characters on one line"),
    "direction": (set_attribute("model", "x\u202ey"), "'model' is .*printable characters"),
    "long name": (set_attribute("dataset", "x" * 301), "'dataset' is .*at most 300 printable"),
    "long unit": (set_attribute("unit", "x" * 301, "energy"), "'energy' has no attribute 'unit'"),
    "not UTF-8": (set_attribute("model", np.bytes_(b"\xff\xfe")), "'model' cannot be read"),
    "compound": (replace("energy", [("a", "f8")]), "'energy' has type .*integers or floating"),
    "opaque": (replace("energy", "V8"), "'energy' has type .*integers or floating-point"),
    "arrays": (replace("energy", ("f8", (2,))), "'energy' has type|one axis expected"),
    "ragged": (replace("energy", h5py.vlen_dtype("f8")), "'energy' has type object"),
    "references": (replace("energy", h5py.ref_dtype), "'energy' has type object"),
    "regions": (replace("energy", h5py.regionref_dtype), "'energy' has type object"),
    "fixed texts": (replace("energy", "S8", [b"1"] * 3), "'energy' has type .S8"),
    "wide": (replace("energy", np.longdouble, [1, 2, 3]), "'energy' has type float128"),
    "named type": (named_type, "'energy' is a datatype, an array is expected"),
    "null": (null, "'energy' is empty"),
    "scalar": (scalar, r"'energy' has shape \(\), one axis expected"),
    "never written": (never_written, "the values of 'energy' were never written"),
    "partly written": (partly_written, "2 of the 3 chunks of 'energy' were written"),
    "lzf": (filtered(compression="lzf"), "the HDF5 filter 32000; write it without compression"),
    "zstd": (filtered(**hdf5plugin.Zstd()), "the HDF5 filter 32015"),
    "blosc": (filtered(**hdf5plugin.Blosc()), "the HDF5 filter 32001"),
    "scale-offset": (filtered(scaleoffset=3), "the HDF5 filter 6"),
    "gzip twice": (gzip_twice, r"uses a filter twice \(gzip, gzip\)"),
    "large chunks": (large_chunks, "chunks of 4194312 bytes, at most 4194304"),
    "padded chunk": (raw_chunk(zlib.compress(bytes(24)) + bytes(200)), "has .* bytes, 24 expected"),
    "no gzip": (raw_chunk(b"not compressed"), "a chunk of 'energy' is damaged, or not compressed"),
    "long raw chunk": (raw_chunk(bytes(40), mask=1), "a chunk of 'energy' has 40 bytes, 24 exp"),
    "atoms": (many_atoms, "molecule_id 1, conformation_id 1 has 4998 atoms, at most 4096 are"),
    "offsets": (overflowing_offsets, "'atom_offsets' must start at 0 and increase"),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_it_is_refused(path, case):
    how, message = REFUSED[case]
    change(path, how)

    with pytest.raises(NablaDFTError, match=message):
        Predictions(path)


def test_a_text_of_fixed_length_is_refused_before_it_is_read(tmp_path):
    with h5py.File(tmp_path / "p.h5", "w", libver="latest") as file:
        file.attrs["model"] = np.bytes_(b"x" * (2 << 20))

    with pytest.raises(PredictionsError, match="'model' of the file has 2097152 bytes, at most"):
        Predictions(tmp_path / "p.h5")


def test_a_chunk_that_inflates_without_end_is_stopped_at_its_size(path):
    n_bytes = 1 << 20
    bomb = zlib.compress(bytes(32 << 20))
    assert len(bomb) < n_bytes
    change(path, raw_chunk(bomb, chunks=(n_bytes // 8,)))
    tracemalloc.start()

    with pytest.raises(PredictionsError, match="inflates to more than its 1048576 bytes"):
        Predictions(path)

    assert tracemalloc.get_traced_memory()[1] < 8 * n_bytes
    tracemalloc.stop()


def test_a_declared_terabyte_costs_nothing(path):
    def how(file):
        del file["molecule_id"]
        file.create_dataset("molecule_id", (10**11,), "i8", chunks=(1 << 16,))

    change(path, how)
    tracemalloc.start()

    with pytest.raises(PredictionsError, match="declares 800000000000 bytes, more than the file"):
        Predictions(path)

    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_more_conformations_than_the_part_has_are_not_read(path):
    assert len(Predictions(path, most=3)) == 3
    with pytest.raises(PredictionsError, match="it holds 3 conformations, at most 2 are expected"):
        Predictions(path, most=2)


def test_bytes_before_the_hdf5_data_are_refused(tmp_path, content):
    page = b"<html><script>alert(1)</script>".ljust(512)
    with h5py.File(tmp_path / "p.h5", "w", userblock_size=512) as file:
        file.attrs["format"] = "nabladft-predictions"
    content = (tmp_path / "p.h5").read_bytes()
    (tmp_path / "p.h5").write_bytes(page + content[512:])

    with pytest.raises(NablaDFTError, match="does not begin with the signature"):
        Predictions(tmp_path / "p.h5")


def test_heaps_that_lead_out_of_themselves_are_refused_before_the_library_follows_them(
    path, content
):
    # The size of the second text; HDF5 2.0.0 goes in circles for ever.
    place = content.index(b"GCOL") + 56
    path.write_bytes(content[:place] + b"\xab" + content[place + 1 :])

    with pytest.raises(PredictionsError, match="the texts at byte 2048 contradict their own sizes"):
        Predictions(path)


def test_the_signature_of_a_heap_among_the_values_is_no_heap(path):
    number = np.frombuffer(b"GCOL\x01\x00\x00\x00", dtype=np.float64)[0]
    change(path, lambda file: file["energy"].write_direct(np.full(3, number)))

    assert len(Predictions(path)) == 3


@pytest.mark.parametrize("name", ["energy", "forces"])
def test_absurd_values_are_refused(path, name):
    def how(file):
        file[name][0] = 1e13

    change(path, how)

    with pytest.raises(PredictionsError, match=rf"{name} holds .* larger than 1e\+12 in atomic un"):
        Predictions(path).read(KEYS)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"fletcher32": True},
        {"shuffle": True},
        {},
    ],
    ids=str,
)
def test_chunks_and_the_filters_of_hdf5_itself_are_accepted(path, options):
    expected = Predictions(path).read(KEYS)

    def how(file):
        for name in list(file):
            length = file[name].shape[0]
            remake(file, name, chunks=(min(2, length), *file[name].shape[1:]), **options)

    change(path, how)

    found = Predictions(path).read(KEYS)
    for name, values in expected.values.items():
        np.testing.assert_array_equal(found.values[name], values)


def test_a_chunk_that_gzip_left_alone_is_accepted(path):
    change(path, raw_chunk(np.array([4.0, 5.0, 6.0]).tobytes(), mask=1))

    assert Predictions(path).read(KEYS).values["energy"].tolist() == [4, 5, 6]


def test_texts_of_fixed_length_as_c_and_fortran_write_them_are_accepted(path):
    def how(file):
        for owner in (file, file["energy"]):
            for name, value in owner.attrs.items():
                if isinstance(value, str):
                    owner.attrs[name] = np.bytes_(value.encode())

    change(path, how)

    assert Predictions(path).info.model == "m"
    assert type(Predictions(path).info.model) is str


def test_atoms_can_be_read_without_values(path):
    found = Predictions(path).read(KEYS, fields=())

    assert found.atomic_numbers.tolist() == [1] * 6
    assert found.values == {}


def open_damaged(path, content, n_files):
    """Change a few bytes at a time; whatever is not refused as it should be ends the process."""
    places = [k for k, byte in enumerate(content) if byte]
    rng = random.Random(11)
    n_refused = 0
    for _ in range(n_files):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 2, 5])):
            damaged[rng.choice(places)] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            Predictions(path).read(KEYS)
        except NablaDFTError:
            n_refused += 1
    assert n_refused > n_files / 2


def test_damaged_files_are_refused_and_neither_crash_nor_hang(path, content):
    # In a process of its own: the HDF5 library might do either.
    process = multiprocessing.get_context("fork").Process(
        target=open_damaged, args=(path, content, 80)
    )
    process.start()
    process.join(timeout=60)
    code = process.exitcode
    process.kill()

    assert code == 0
