import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from nabladft.benchmark.drawing import Scene, baseline_looks
from nabladft.benchmark.evaluation import evaluate
from nabladft.benchmark.parity import draw_parity
from nabladft.benchmark.plots import (
    draw_error_by_element,
    draw_error_by_size,
    draw_errors,
    draw_learning_curves,
)
from nabladft.benchmark.tables import Row
from nabladft.benchmark.tasks import task_named
from tests.conftest import MemorySource
from tests.scoring_data import disturbed, info_for, random_records, split_of, write_predictions


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A benchmark folder of two baselines with known errors, one of which learned."""
    folder = tmp_path_factory.mktemp("benchmark")
    source = MemorySource(random_records())
    split = split_of(source)
    found = {}
    for name, fields in (("energy", ("energy", "forces")), ("hamiltonian", ("hamiltonian",))):
        task = task_named(name)
        rows = []
        for number, scale in enumerate((0.5, 0.01)):
            baseline = f"{name}-{number}"
            rng = np.random.default_rng(number)
            results = {}
            for part in task.parts:
                truth = source.read(source.rows_of(split.parts[part]))
                path = folder / baseline / f"predictions-{part}.h5"
                records = [disturbed(record, rng, scale) for record in truth]
                write_predictions(path, records, info_for(source, split, part), fields)
                results[part] = evaluate(path, source, split=split)
            rows.append(Row(name=baseline, task=name, is_learned=number == 1, results=results))
        (folder / f"{name}-0" / "run.json").write_text(
            '{"best": {"formation_energy_mae": 0.4, "forces_mae": 0.1}}'
        )
        (folder / f"{name}-1" / "metrics.csv").write_text(
            "epoch,train_loss,formation_energy_mae,forces_mae\n1,,0.03,0.02\n2,0.1,0.02,0.01\n"
        )
        found[name] = Scene(
            task=task,
            rows=rows,
            looks=baseline_looks(rows),
            source=source,
            split=split,
            folder=folder,
        )
    return found


def labels(figure):
    return {axis.get_ylabel() for axis in figure.axes} - {""}


def test_axes_have_units_and_errors_are_logarithmic(scenes):
    energy, hamiltonian = scenes["energy"], scenes["hamiltonian"]

    assert labels(draw_errors(energy)) == {"energy MAE [mEh]", "forces MAE [mEh/Å]"}
    assert labels(draw_errors(hamiltonian)) == {
        "Hamiltonian MAE [mEh]",
        "occupied orbital\nenergies MAE [mEh]",
    }
    assert labels(draw_error_by_element(hamiltonian)) == {
        "diagonal blocks MAE\nover elements [mEh]"
    }
    for draw in (draw_errors, draw_error_by_size, draw_error_by_element):
        assert {axis.get_yscale() for axis in draw(energy).axes} == {"log"}


def test_points_are_the_values_of_the_results(scenes):
    scene = scenes["energy"]

    axis = draw_errors(scene).axes[0]

    expected = [
        1e3 * row.results[part].metrics["energy_mae"].value
        for row in scene.rows
        for part in scene.task.parts
    ]
    drawn = np.concatenate([line.get_ydata() for line in axis.lines])
    np.testing.assert_allclose(drawn, expected, rtol=1e-12)


def test_learning_curves_show_the_history_and_the_level_of_rows_without_epochs(scenes):
    figure = draw_learning_curves(scenes["energy"])

    level, curve = figure.axes[0].lines
    assert level.get_ydata() == pytest.approx([400, 400])
    assert curve.get_ydata() == pytest.approx([30, 20])
    assert labels(figure) == {"validation energy MAE [mEh]", "validation forces MAE [mEh/Å]"}


def test_nothing_trained_is_no_learning_curve(scenes):
    scene = dataclasses.replace(scenes["energy"], rows=scenes["energy"].rows[:1])

    assert draw_learning_curves(scene) is None


def test_parity_has_a_row_for_each_baseline_and_a_column_for_each_part(scenes):
    for name, field, unit in (
        ("energy", "energy", "Eh"),
        ("energy", "forces", "Eh/Å"),
        ("hamiltonian", "hamiltonian", "Eh"),
    ):
        figure = draw_parity(scenes[name], field=field)
        assert len(figure.axes) == 6
        assert figure.axes[0].get_ylabel() == f"{name}-0\npredicted [{unit}]"
        assert figure.axes[-1].get_xlabel() == f"reference [{unit}]"


def test_parity_draws_reference_against_prediction(scenes):
    scene = scenes["energy"]
    keys = scene.split.parts["test_scaffolds"]
    reference = scene.source.read_flat(scene.source.rows_of(keys)).values["forces"]

    panel = draw_parity(scene, field="forces").axes[5]

    x, y = panel.collections[0].get_offsets().T
    np.testing.assert_allclose(x, reference.ravel() / 0.529177210544, rtol=1e-8)
    assert np.abs(y - x).mean() == pytest.approx(
        scene.rows[1].results["test_scaffolds"].metrics["forces_mae"].value / 0.529177210544,
        rel=1e-8,
    )


def test_a_baseline_that_predicts_one_number_has_no_parity(scenes, tmp_path):
    scene = scenes["energy"]
    row = scene.rows[0]
    for part in scene.task.parts:
        truth = scene.source.read(scene.source.rows_of(scene.split.parts[part]))
        still = [record.replace(forces=0 * record.forces) for record in truth]
        info = info_for(scene.source, scene.split, part)
        write_predictions(tmp_path / row.name / f"predictions-{part}.h5", still, info)

    assert (
        draw_parity(dataclasses.replace(scene, rows=[row], folder=tmp_path), field="forces") is None
    )


def test_colours_are_kept_and_rows_without_learning_are_grey(scenes):
    rows = [row for scene in scenes.values() for row in scene.rows]

    looks = baseline_looks(rows)

    assert len({looks[row.name]["color"] for row in rows if row.is_learned}) == 2
    assert looks["energy-0"]["color"] == looks["hamiltonian-0"]["color"]
    for row in rows:
        red, green, blue = to_rgb(looks[row.name]["color"])
        assert (red == green == blue) != row.is_learned
