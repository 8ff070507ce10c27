"""``nabladft submit --server URL``: submit predictions to a blind scoring server."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from nabladft.benchmark.tables import UNIT_SYMBOLS, Table, terminal
from nabladft.errors import InputError
from nabladft.leaderboard.blind_checks import check_blind, choose_task
from nabladft.leaderboard.client import ScoringServer
from nabladft.leaderboard.entry import format_entry, read_entry
from nabladft.leaderboard.gathering import predictions_files
from nabladft.metrics import METRICS
from nabladft.splits import read_split
from nabladft.storage.opening import open_source

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

#: Has the token where no file is named.
TOKEN_VARIABLE: Final = "NABLADFT_TOKEN"  # noqa: S105 - a name, no password

#: What says nothing to a server.
_LOCAL: Final = ("partial", "predictions_url", "keep", "replace", "seeds")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of submitting to a server."""
    group = parser.add_argument_group("submitting to a blind scoring server")
    group.add_argument("--server", metavar="URL", help="send it there instead of scoring it here")
    group.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"file with the token (default: the variable {TOKEN_VARIABLE})",
    )
    group.add_argument("--task", help="task of the server (default: the one of the same data)")
    group.add_argument("--no-wait", action="store_true", help="do not wait for the score")
    group.add_argument(
        "--withdraw", metavar="ID", help="delete a submission of yours that is not scored yet"
    )


def withdraw(args: argparse.Namespace) -> int:
    """Delete a submission from the server, with its files."""
    if not args.server:
        message = "--withdraw needs --server URL."
        raise InputError(message)
    if args.predictions or args.entry:
        message = "--withdraw takes the id of a submission, no predictions and no --entry."
        raise InputError(message)
    if not re.fullmatch("[0-9a-f]{32}", args.withdraw):
        message = (
            f"{args.withdraw!r} is not the id of a submission: 32 hexadecimal digits, which were "
            "printed when it was submitted."
        )
        raise InputError(message)
    server = ScoringServer(args.server, _token(args.token_file))
    server.delete(args.withdraw)
    print(f"Submission {args.withdraw} is deleted from {server.url}.")
    return 0


def run(args: argparse.Namespace) -> int:
    """Check, upload, submit, wait for the score, and print it.

    Returns:
        0 when it is scored (or submitted, without waiting), 1 when it has failed.
    """
    for name in _LOCAL:
        if getattr(args, name):
            message = f"--{name.replace('_', '-')} cannot be used with --server."
            raise InputError(message)
    paths, entry = predictions_files(args.predictions), read_entry(args.entry)
    server = ScoringServer(args.server, None if args.check else _token(args.token_file))
    task = choose_task(server.tasks()["tasks"], entry, paths, args.task)
    source = open_source(args.data) if args.data else None
    if source is not None and args.split is None:
        message = "--data needs --split: both belong to the public copy of the data."
        raise InputError(message)
    split = read_split(args.split) if args.split else None
    for file in check_blind(paths, task, source=source, split=split):
        seed = "" if file.seed is None else f", seed {file.seed}"
        print(f"{file.path}: part {file.part}{seed}")
    if args.check:
        deep = "" if source else " Ids, atoms and values are checked with --data and --split."
        print(f"Nothing was sent.{deep}")
        return 0
    submission = server.create(task=task["name"], entry=format_entry(entry), paths=paths)
    print(f"submission {submission['id']} to task {task['name']} of {server.url}")
    if submission["state"] == "uploading":
        _upload(server, submission, paths)
        submission = server.submit(submission["id"])
    if not args.no_wait:
        submission = _wait(server, submission)
    return _report(submission, server)


def _token(path: str | None) -> str:
    if path is not None:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - an OSError names the file
            return file.read(1000).strip()
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        message = (
            f"A token is needed: --token-file FILE, or the variable {TOKEN_VARIABLE}. The "
            "operators of the server make one."
        )
        raise InputError(message)
    return token


def _upload(server: ScoringServer, submission: dict[str, Any], paths: list[Path]) -> None:
    total = sum(path.stat().st_size for path in paths)
    with tqdm(
        total=total, desc="uploading", unit="B", unit_scale=True, leave=False, disable=None
    ) as bar:
        server.upload(submission, paths, progress=bar.update)


def _wait(server: ScoringServer, submission: dict[str, Any]) -> dict[str, Any]:
    with tqdm(bar_format="{desc} ({elapsed})", leave=False, disable=None) as bar:

        def report(found: dict[str, Any]) -> None:
            place = found["queue_position"]
            late = ", the server cannot score this task now and tries again"
            bar.set_description_str(
                f"{found['state']}{f', place {place}' if place else ''}"
                f"{late if found['delayed'] else ''}"
            )

        return server.wait(submission["id"], report=report)


def _report(submission: Mapping[str, Any], server: ScoringServer) -> int:
    if submission["state"] == "failed":
        failure = submission["failure"]
        print(f"failed ({failure['code']}): {failure['message']}", file=sys.stderr)
        return 1
    if submission["state"] != "scored":
        print(f"It is {submission['state']}. The same command again waits for the score.")
        return 0
    print(f"\n{terminal([_table(submission)])}", end="")
    print(
        f"\nRounded by the server. Intervals: 95 %, bootstrap over molecules. {server.url}/status"
    )
    return 0


def _table(submission: Mapping[str, Any]) -> Table:
    scores = submission["scores"]
    metrics = list(dict.fromkeys(name for score in scores for name in score["metrics"]))
    rows = tuple(
        (
            score["part"],
            "-" if score["seed"] is None else str(score["seed"]),
            f"{score['n_conformations']:,}",
            *(_cell(score["metrics"].get(name)) for name in metrics),
        )
        for score in scores
    )
    titles = [METRICS[name].title if name in METRICS else name for name in metrics]
    return Table(
        title=f"{submission['name']} on {submission['task']}",
        header=("part", "seed", "conformations", *titles),
        rows=rows,
        best=tuple((False,) * len(row) for row in rows),
    )


def _cell(metric: Mapping[str, Any] | None) -> str:
    if metric is None:
        return "-"
    unit = UNIT_SYMBOLS.get(metric["unit"], metric["unit"])
    interval = (
        "" if metric["ci_low"] is None else f" ({metric['ci_low']:g} to {metric['ci_high']:g})"
    )
    return f"{metric['value']:g}{interval} {unit}".rstrip()
