"""``nabladft predict``: write a predictions file with a run, a calculator, or from another file."""

from __future__ import annotations

import argparse
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nabladft.errors import InputError, UnknownNameError
from nabladft.predictions import PredictionsInfo
from nabladft.splits import read_split
from nabladft.storage.opening import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from nabladft.storage.source import ConformationSource

_EPILOG = """\
examples:
  nabladft predict runs/painn-nano --data nano --part test_structures --out predictions.h5
  nabladft predict runs/painn-nano --data other_molecules.xyz --out predictions.h5
  nabladft predict --calculator mace.calculators:mace_off --option model=small \\
      --data nano --part test_structures --out predictions.h5
  nabladft predict --calculator my_model.py:make --model "My model" --add-isolated-atoms \\
      --data nano --part test_structures --out predictions.h5
  nabladft predict --from predictions.npz --unit eV \\
      --data nano --part test_structures --out predictions.h5
  nabladft evaluate predictions.h5 --data nano

A calculator is any of ASE's interface, in eV and eV/angstrom. After Ctrl-C or a kill, the same
command goes on where it was. --from takes .npz (ids, energy, forces, natoms) and extended xyz; how
they have to look: docs/predictions-format.md.

Parts: train, validation, test_conformations, test_structures, test_scaffolds, of the split that
the run was trained with (RUN), or of the split of the data's name or --split. Without --part every
conformation of the data is predicted.
"""

#: Options that mean nothing for a way of predicting, by the way.
_ONLY = {
    "run": ("batch_size", "device"),
    "calculator": ("option", "energies_only"),
    "from": ("unit", "forces_unit"),
    "calculator or from": ("split", "model", "code_version", "add_isolated_atoms"),
}


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the verb."""
    parser = subparsers.add_parser(
        "predict",
        help="predict with a trained run or an ASE calculator",
        description="Write a predictions file: with the best weights of a run, with any ASE "
        "calculator, or from predictions in another format.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="?", help="run folder, made by `nabladft train`")
    parser.add_argument(
        "--calculator",
        metavar="MODULE:FACTORY",
        help="ASE calculator: module:factory or file.py:factory",
    )
    parser.add_argument(
        "--from", dest="foreign", metavar="FILE", help="predictions to convert: .npz or .xyz"
    )
    parser.add_argument("--data", required=True, help="data set name, store folder or file")
    parser.add_argument("--part", help="part of the split (default: all of the data)")
    parser.add_argument("--out", required=True, help="predictions file to write (.h5)")
    run_options = parser.add_argument_group("with a run")
    run_options.add_argument("--batch-size", type=int, help="default: 32")
    run_options.add_argument(
        "--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)"
    )
    others = parser.add_argument_group("with a calculator or from a file")
    others.add_argument("--split", help="split file or name (default: that of the data's name)")
    others.add_argument("--model", help="name in tables (default: of the calculator or file)")
    others.add_argument("--code-version", metavar="TEXT", help="what made the predictions")
    others.add_argument(
        "--add-isolated-atoms",
        action="store_true",
        default=None,
        help="the energies are formation energies: add the isolated atoms of the data",
    )
    calculators = parser.add_argument_group("with a calculator")
    calculators.add_argument(
        "--option",
        action="append",
        metavar="KEY=VALUE",
        help="passed to the factory; numbers and true/false are understood; repeat for more",
    )
    calculators.add_argument(
        "--energies-only", action="store_true", default=None, help="predict no forces"
    )
    files = parser.add_argument_group("from a file")
    files.add_argument(
        "--unit", help="of the energies (default: what the file declares; extended xyz: eV)"
    )
    files.add_argument(
        "--forces-unit", help="of the forces (default: what the file declares; or eV/angstrom)"
    )


def run(args: argparse.Namespace) -> int:
    """Predict and say how many."""
    ways = {"run": args.run, "calculator": args.calculator, "from": args.foreign}
    chosen = [way for way, value in ways.items() if value is not None]
    if len(chosen) != 1:
        message = f"Give one of RUN, --calculator and --from, got {' and '.join(chosen) or 'none'}."
        raise InputError(message)
    (way,) = chosen
    for owners, names in _ONLY.items():
        for name in names:
            if way not in owners.split(" or ") and getattr(args, name) is not None:
                message = f"--{name.replace('_', '-')} goes with {owners}, not with {way}."
                raise InputError(message)
    source = open_source(args.data)
    predict = {"run": _with_run, "calculator": _with_calculator, "from": _from_file}[way]
    n_predicted = predict(args, source)
    print(f"{n_predicted} conformations predicted, written to {args.out}")
    print(f"next: nabladft evaluate {args.out} --data {args.data}")
    return 0


def _with_run(args: argparse.Namespace, source: ConformationSource) -> int:
    batch_size = 32 if args.batch_size is None else args.batch_size
    if batch_size < 1:
        message = f"--batch-size must be at least 1, got {batch_size}."
        raise InputError(message)
    # torch takes seconds to import, which --help should not wait for.
    from nabladft.training.predict import write_predictions  # noqa: PLC0415

    return write_predictions(
        args.run, source, args.out, part=args.part, batch_size=batch_size, device=args.device
    )


def _with_calculator(args: argparse.Namespace, source: ConformationSource) -> int:
    from nabladft.predictions.calculators import (  # noqa: PLC0415 - imports what ASE needs
        code_version_of,
        load_calculator,
        predict_with_calculator,
    )

    options = dict(_option(text) for text in args.option or ())
    calculator = load_calculator(args.calculator, options)
    keys, info = _target(
        args,
        source,
        model=args.model or type(calculator).__name__,
        code_version=args.code_version or code_version_of(calculator),
        details={"calculator": args.calculator, "options": options},
    )
    with _bar(len(keys)) as progress:
        return predict_with_calculator(
            calculator,
            source,
            keys,
            args.out,
            info=info,
            with_forces=not args.energies_only,
            add_isolated_atoms=bool(args.add_isolated_atoms),
            progress=progress,
        )


def _from_file(args: argparse.Namespace, source: ConformationSource) -> int:
    from nabladft.predictions.foreign import import_predictions  # noqa: PLC0415 - imports ASE

    path = Path(args.foreign)
    keys, info = _target(
        args,
        source,
        model=args.model or path.stem,
        code_version=args.code_version or "not given",
        details={},
    )
    with _bar(len(keys)) as progress:
        info = import_predictions(
            path,
            args.out,
            info=info,
            source=source,
            keys=keys,
            energy_unit=args.unit,
            forces_unit=args.forces_unit,
            add_isolated_atoms=bool(args.add_isolated_atoms),
            progress=progress,
        )
    converted = info.details["converted_from"]
    units = [
        f"{name} in {converted[f'{name}_unit']}"
        for name in ("energy", "forces")
        if f"{name}_unit" in converted
    ]
    print(f"{path.name} read with {', '.join(units)}")
    return len(keys)


def _target(
    args: argparse.Namespace,
    source: ConformationSource,
    **about: Any,  # noqa: ANN401
) -> tuple[NDArray[Any], PredictionsInfo]:
    """Find the conformations to predict, and what the file shall say of itself."""
    of_part: dict[str, Any] = {}
    keys = source.keys
    if args.part is not None:
        try:
            split = read_split(args.split or source.info.name)
        except UnknownNameError as error:
            if args.split is None:
                error.add_note("Name the split of --part with --split.")
            raise
        split.check_belongs_to(source)
        keys = split.part(args.part)
        of_part = {"split": split.name, "split_hash": split.sha256, "part": args.part}
    elif args.split is not None:
        message = "Which part of the split? Name it with --part."
        raise InputError(message)
    info = PredictionsInfo(dataset=source.info.name, data_hash=source.data_hash, **of_part, **about)
    return keys, info


def _option(text: str) -> tuple[str, Any]:
    """Read KEY=VALUE; what is no TOML value is a text."""
    key, is_given, value = text.partition("=")
    if not is_given or not key.isidentifier():
        message = f"--option {text!r}: KEY=VALUE is expected."
        raise InputError(message)
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], object]]:
    """Show a bar on a terminal; give the function that moves it."""
    with tqdm(
        total=total, desc="predicting", unit="conformation", leave=False, disable=None
    ) as bar:
        yield lambda done: bar.update(done - bar.n)
