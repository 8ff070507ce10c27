"""Drawings: the same bytes again, both colours, hostile names as names."""

import xml.etree.ElementTree as ET

import pytest

pytest.importorskip("vl_convert", reason="vl-convert is not installed")

from nabladft.benchmark.tasks import tasks
from nabladft.leaderboard.site.drawing import INK, Figure, config, draw
from nabladft.leaderboard.site.specs import lines_by_size, marks_by_element
from nabladft.leaderboard.site.texts import metric_meaning, task_summary
from tests.leaderboard.site.boards import IMAGE, SCRIPT

NAMES = [SCRIPT, IMAGE, "{datum.model}", "careful"]


def figure(names=NAMES):
    points = [
        {"model": name, "atoms": n, "error": 10.0 + n + k, "low": 9.0 + n, "high": 20.0 + n}
        for k, name in enumerate(names)
        for n in (3, 5)
    ]
    return Figure(slug="x", title="x", alt="x", spec=lines_by_size(points, names, SCRIPT))


def test_a_figure_drawn_again_has_the_same_bytes():
    first = draw(figure())
    draw(figure(["other"]))

    assert draw(figure()) == first
    assert first.width > 300
    assert first.height > 200


def test_hostile_names_are_texts_of_the_drawing():
    tree = ET.fromstring(draw(figure()).text)
    texts = {element.text for element in tree.iter() if element.text}

    assert not [element for element in tree.iter() if element.tag.endswith(("script", "image"))]
    assert {SCRIPT, "{datum.model}"} <= texts


def test_every_colour_of_text_and_lines_has_one_for_dark_mode():
    text = draw(figure()).text
    light = {colours[0] for colours in INK.values()}
    used = [colour for colour in light if f'"{colour}"' in text]

    assert used
    for colour in used:
        dark = next(pair[1] for pair in INK.values() if pair[0] == colour)
        assert f'[fill="{colour}"]{{fill:{dark}}}' in text
    assert config(0)["axis"]["labelColor"] != config(1)["axis"]["labelColor"]


def test_elements_keep_their_order_along_the_axis():
    points = [{"model": "a", "element": symbol, "error": 1.0} for symbol in ("H", "C", "Br")]
    spec = marks_by_element(points, ["H", "C", "Br"], ["a"], "error")
    tree = ET.fromstring(draw(Figure(slug="x", title="x", alt="x", spec=spec)).text)
    labels = [e.text for e in tree.iter() if e.text in {"H", "C", "Br"}]

    assert labels == ["H", "C", "Br"]


def test_every_task_and_metric_is_explained():
    missing = [name for name in tasks() if not task_summary(name)]
    missing += [
        metric for task in tasks().values() for metric in task.metrics if not metric_meaning(metric)
    ]

    assert missing == []
