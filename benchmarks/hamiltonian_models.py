"""Training speed and memory of the baselines of Hamiltonians, and how both grow with the molecule.

    python benchmarks/hamiltonian_models.py                          # as config.toml says
    python benchmarks/hamiltonian_models.py --config paper.toml large.toml --batch-size 1
    python benchmarks/hamiltonian_models.py --models qhnet so2net --set lmax=4 --set channels=64
    python benchmarks/hamiltonian_models.py --models qhnet my_model/ --atoms 20 40
    python benchmarks/hamiltonian_models.py --precision float32 bfloat16 --compile --atoms 20
    python benchmarks/hamiltonian_models.py --json m.json --markdown m.md --plot m.png

All trainable baselines that predict Hamiltonians are found by their folders; any other folder with
a ``model.py`` can be named. Every case (model, size, device, precision, compiled or not) runs in a
fresh process on the same batch of drug-like molecules of exactly that many atoms. A step is
forward, loss, backward, clipping and optimiser. On one thread of the CPU, the default, it is
measured in CPU time, so that a busy machine does not falsify it (much); memory is that of the
process above what it had with everything loaded, on a GPU what torch allocated. A case that fails
or takes too long is a row that says so. The deviation is that of the prediction from the one in
full precision and not compiled, relative.

The cost is fitted twice, to the relative error: as a power of the number of atoms, and as a
constant plus a part for each block of the matrix.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from drug_molecules import SMILES
from training_steps import Case, recipe_of

from nabladft.errors import NablaDFTError
from nabladft.models.contract import is_trainable
from nabladft.resources import baseline_folders, find_baseline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WORKER: Final = Path(__file__).with_name("training_steps.py")


def trainable_baselines() -> list[str]:
    """List our baselines that predict Hamiltonians and have something to train."""
    found = []
    for name in baseline_folders():
        try:
            model = recipe_of(Case(model=name)).build()
        except (NablaDFTError, FileNotFoundError):
            continue  # it needs a package that is not here
        if "hamiltonian" in model.predicts and is_trainable(model):
            found.append(name)
    return found


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """List what to measure, model by model and from small to large."""
    variants = [(precision, False) for precision in options.precision]
    variants += [(precision, True) for precision in options.precision if options.compile]
    for device, model in itertools.product(options.device, options.models):
        name = find_baseline(model).resolve().name
        for (precision, compiled), n_atoms in itertools.product(variants, sorted(options.atoms)):
            yield Case(
                model=model,
                config=tuple(options.config),
                overrides=overrides_of(name, options.set),
                n_atoms=n_atoms,
                batch_size=options.batch_size,
                device=device,
                threads=options.threads,
                precision=precision,
                compiled=compiled,
                seconds=options.seconds,
            )


def overrides_of(name: str, settings: Sequence[str]) -> tuple[str, ...]:
    """Choose the settings of a model: ``lmax=2`` is for all, ``qhnet.lmax=2`` for one."""
    chosen = []
    for setting in settings:
        key, _, value = setting.partition("=")
        owner, _, option = key.rpartition(".")
        if owner in {"", name}:
            chosen.append(f"model.{option}={value}")
    return tuple(chosen)


def run(case: Case, timeout: float) -> dict[str, Any]:
    """Measure a case in a fresh process; a failure is a result as well."""
    command = [sys.executable, str(WORKER), json.dumps(asdict(case))]
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter and our own file
            command, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return _failure(case, f"not done after {timeout:g} s")
    if done.returncode != 0:
        if done.returncode < 0:
            return _failure(case, f"killed by signal {-done.returncode}")
        # The exception, which notes may follow.
        lines = [
            line for line in done.stderr.splitlines() if re.match(r"[\w.]+(Error|Exc\w*):", line)
        ]
        reason = lines[-1] if lines else f"exit code {done.returncode}"
        return _failure(case, reason[:120])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _failure(case: Case, reason: str) -> dict[str, Any]:
    name = find_baseline(case.model).resolve().name
    return {"case": asdict(case), "name": name, "failure": reason}


def series(results: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Group what succeeded by everything but the size, in the order measured."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if "failure" not in result:
            groups.setdefault(label_of(result), []).append(result)
    return groups


def gigabytes_of(result: dict[str, Any]) -> float:
    """Give the memory of a case at its peak."""
    return ((result["peak_bytes"] or 0) - result["bytes_before"]) / 1e9


def label_of(result: dict[str, Any]) -> str:
    """Name a case without its size."""
    case = result["case"]
    parts = [result["name"], case["device"]]
    if case["precision"] != "float32":
        parts.append(case["precision"])
    if case["compiled"]:
        parts.append("compiled")
    return ", ".join(parts)


def fit(group: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Fit the seconds of a step to the relative error.

    Returns:
        ``exponent``: of the number of atoms, in log-log; ``constant`` and ``per_block``: seconds;
        ``largest_deviation`` of the latter fit, relative. Empty with fewer than two sizes.
    """
    if len(group) < 2:
        return {}
    atoms, blocks, seconds = (
        np.array(values, dtype=float)
        for values in zip(
            *((r["case"]["n_atoms"], r["n_blocks"], r["step_seconds"]) for r in group), strict=True
        )
    )
    exponent = np.polyfit(np.log(atoms), np.log(seconds), 1)[0]
    design = np.stack([np.ones_like(blocks), blocks], axis=1) / seconds[:, None]
    (constant, per_block), *_ = np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)
    deviation = np.abs(design @ [constant, per_block] - 1.0).max()
    return {
        "exponent": float(exponent),
        "constant": float(constant),
        "per_block": float(per_block),
        "largest_deviation": float(deviation),
    }


def tables(results: Sequence[dict[str, Any]]) -> str:
    """Make the tables of steps and of fits, in Markdown."""
    first = results[0]["case"]
    settings = f"Batches of {first['batch_size']}, {' or '.join(first['config'])}"
    lines = [
        f"{settings}, {first['threads']} thread(s).",
        "",
        "| model | parameters | atoms | blocks | seconds a step | steps/s | peak, GB | deviation |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for result in results:
        atoms = result["case"]["n_atoms"]
        if "failure" in result:
            lines.append(f"| {label_of(result)} | | {atoms} | | {result['failure']} | | | |")
            continue
        seconds = result["step_seconds"]
        deviation = result["relative_deviation"]
        lines.append(
            f"| {label_of(result)} | {result['n_parameters'] / 1e6:.2f} M | {atoms} "
            f"| {result['n_blocks']} | {seconds:.3g} | {1 / seconds:.3g} "
            f"| {gigabytes_of(result):.2f} | {'' if deviation is None else f'{deviation:.0e}'} |"
        )
    lines += [
        "",
        "| model | grows as atoms to the | constant, s | microseconds a block | fit within |",
        "|---|--:|--:|--:|--:|",
    ]
    for label, group in series(results).items():
        found = fit(group)
        if found:
            lines.append(
                f"| {label} | {found['exponent']:.2f} | {found['constant']:.3g} "
                f"| {1e6 * found['per_block']:.1f} | {100 * found['largest_deviation']:.0f} % |"
            )
    return "\n".join(lines) + "\n"


def plot(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw seconds and memory of a step over the number of atoms."""
    import matplotlib as mpl  # noqa: PLC0415 - only where a plot is wanted

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (times, memory) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    ticks = sorted({result["case"]["n_atoms"] for result in results})
    for label, group in series(results).items():
        atoms = [result["case"]["n_atoms"] for result in group]
        times.plot(atoms, [r["step_seconds"] for r in group], "o-", label=label)
        memory.plot(atoms, [gigabytes_of(r) for r in group], "o-", label=label)
    for axes, title in ((times, "seconds of a training step"), (memory, "peak memory, GB")):
        axes.set(xscale="log", yscale="log", xlabel="atoms of each molecule", title=title)
        axes.set_xticks(ticks, labels=map(str, ticks))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    times.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    sizes = sorted(SMILES)
    parser.add_argument("--models", nargs="+", help="names or folders; default: all that train")
    parser.add_argument(
        "--config",
        nargs="+",
        default=["config.toml"],
        help="the first of these that a model has; default: config.toml",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="[MODEL.]NAME=VALUE",
        help="put over [model], of all models or of one; may be repeated",
    )
    parser.add_argument(
        "--atoms", nargs="+", type=int, choices=sizes, default=sizes, help=f"default: {sizes}"
    )
    parser.add_argument("--batch-size", type=int, default=4, help="default: 4")
    parser.add_argument("--device", nargs="+", default=devices, help=f"default: {devices}")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; default: 1")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=["float32", "bfloat16"],
        default=["float32"],
        help="bfloat16 is autocast; default: float32",
    )
    parser.add_argument("--compile", action="store_true", help="also through torch.compile")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each case; default: 5")
    parser.add_argument("--timeout", type=float, default=900.0, help="of a case; default: 900 s")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--markdown", type=Path, help="file for the tables")
    parser.add_argument("--plot", type=Path, help="file for a picture")
    options = parser.parse_args(arguments)
    options.models = options.models or trainable_baselines()
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    options = parse(arguments)
    results = []
    for case in cases(options):
        results.append(run(case, options.timeout))
        last = results[-1]
        found = last.get("failure") or f"{last['step_seconds']:.3g} s"
        print(f"{label_of(last)}, {case.n_atoms} atoms: {found}", file=sys.stderr, flush=True)
    text = tables(results)
    print(text)
    if options.json:
        versions = {"torch": torch.__version__, "python": platform.python_version()}
        fits = {label: fit(group) for label, group in series(results).items()}
        content = {"versions": versions, "results": results, "fits": fits}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.plot:
        plot(results, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
