"""The plan: what is to be labelled, to the last bit, and refused when it changes."""

import numpy as np
import pytest

from nabladft.conformation import Conformation
from nabladft.errors import InputError
from nabladft.labels.plan import PLAN_NAME, Plan, hash_of, read_plan

SETTINGS = {"input": "SMILES", "fields": ["energy"], "geometries": {"seed": 1, "share": 0.1}}


def geometry(molecule_id, conformation_id, rng):
    return Conformation(
        molecule_id=molecule_id,
        conformation_id=conformation_id,
        atomic_numbers=np.array([8, 1, 1]),
        positions=rng.standard_normal((3, 3)),
        smiles="O",
        geometry_origin="etkdg",
    )


def test_geometries_come_back_to_the_last_bit(tmp_path, rng):
    plan = Plan(
        settings=SETTINGS,
        provenance={"rdkit": "1"},
        geometries=tuple(geometry(1, k, rng) for k in range(3)),
        skipped={7: "no conformer"},
    )
    plan.write(tmp_path)
    again = read_plan(tmp_path, settings=SETTINGS)

    assert (again.settings, again.provenance, again.skipped) == (
        plan.settings,
        plan.provenance,
        plan.skipped,
    )
    for one, other in zip(plan.geometries, again.geometries, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.atomic_numbers, other.atomic_numbers)
        assert (one.key, one.smiles, one.geometry_origin) == (
            other.key,
            other.smiles,
            other.geometry_origin,
        )


def test_rounds_take_one_geometry_of_every_molecule_before_the_next(rng):
    keys = [(1, 0), (1, 1), (1, 2), (4, 5), (4, 9), (2, 0)]
    plan = Plan(settings={}, geometries=tuple(geometry(m, c, rng) for m, c in keys))

    assert [g.key for g in plan.in_rounds()] == [(1, 0), (4, 5), (2, 0), (1, 1), (4, 9), (1, 2)]


def test_the_smallest_come_first_and_equals_in_rounds(rng):
    water = [geometry(m, c, rng) for m, c in [(1, 0), (1, 1), (2, 0)]]
    hydrogen = geometry(5, 0, rng).replace(
        atomic_numbers=np.array([1, 1]), positions=rng.standard_normal((2, 3))
    )
    sulfur = geometry(6, 0, rng).replace(atomic_numbers=np.array([16, 1, 1]))
    plan = Plan(settings={}, geometries=(sulfur, *water, hydrogen))

    assert [g.key for g in plan.smallest_first()] == [(5, 0), (1, 0), (2, 0), (1, 1), (6, 0)]


def test_no_plan_yet(tmp_path):
    assert read_plan(tmp_path, settings=SETTINGS) is None


def test_other_settings_are_refused_by_name(tmp_path):
    Plan(settings=SETTINGS, geometries=()).write(tmp_path)
    asked = {**SETTINGS, "geometries": {"seed": 2, "share": 0.1}}

    with pytest.raises(InputError, match=r"geometries was .*'seed': 1.* now .*'seed': 2") as caught:
        read_plan(tmp_path, settings=asked)
    assert "fields" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{}", '{"format": "else", "format_version": 1}'])
def test_a_damaged_plan_is_refused(tmp_path, content):
    (tmp_path / PLAN_NAME).write_text(content)

    with pytest.raises(InputError, match=r"plan\.json is (damaged|of another format)"):
        read_plan(tmp_path, settings=SETTINGS)


def test_hash_tells_sequences_apart():
    assert hash_of(["a", "b"]) != hash_of(["b", "a"])
    assert hash_of(["a"]) == hash_of(["a"])
