"""The layers of docs/architecture.md, asserted; the package import stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "nabladft"

#: From the bottom up. Modules of one group may import each other only if the group is one module.
LAYERS = [
    ["errors"],
    ["fields"],
    ["chemistry"],
    ["conformation"],
    ["resources"],
    ["transport"],
    ["catalog"],
    ["storage"],
    ["labels", "splits", "predictions", "conversion"],
    ["data", "metrics", "queries", "quality"],
    ["models"],
    ["testing", "training"],
    ["benchmark"],
    ["leaderboard"],
    ["cli"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
USES_TORCH = {"data", "models", "training", "testing"}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    """First name below the package: the room a module belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path):
    """Every imported module name, lazy imports inside functions included, typing-only ones too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module if node.level == 0 else "." * node.level


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    room = room_of(path)
    if room == "__init__":
        return
    assert room in LEVEL, f"{path} is in no layer: add it to LAYERS and docs/architecture.md"
    for name in imports_of(path):
        assert not name.startswith("."), f"{path}: relative import {name}"
        if not name.startswith("nabladft."):
            continue
        other = name.split(".")[1]
        assert other == room or LEVEL[other] < LEVEL[room], f"{path} imports {name}, which is above"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_torch_stays_in_its_rooms(path):
    roots = {name.split(".")[0] for name in imports_of(path)}

    assert room_of(path) in USES_TORCH or not roots & {"torch", "lightning", "e3nn", "schnetpack"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_command_line_prints(path):
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"
    ]

    assert room_of(path) == "cli" or not calls


def test_a_baseline_imports_no_other_baseline():
    for path in (PACKAGE.parent / "baselines").rglob("*.py"):
        assert not [name for name in imports_of(path) if name.startswith("baselines")], path


def test_importing_the_package_loads_nothing_else():
    code = "import sys, nabladft; print([m for m in sys.modules if m.split('.')[0] in %r])"
    heavy = ("numpy", "torch", "h5py", "ase", "rdkit", "pandas", "scipy")

    out = subprocess.run(
        [sys.executable, "-c", code % (heavy,)], capture_output=True, text=True, check=True
    )

    assert out.stdout.strip() == "[]"


def test_the_architecture_page_names_every_room():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()

    assert [room for room in LEVEL if room not in page] == []
