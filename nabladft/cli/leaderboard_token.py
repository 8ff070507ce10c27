"""``nabladft leaderboard token``: who may submit to a scoring server."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nabladft.leaderboard.server.settings import read_settings

if TYPE_CHECKING:
    from nabladft.leaderboard.server.accounts import TokenLine

_EPILOG = """\
examples:
  nabladft leaderboard token add ada --config server.toml       shows the token, once
  nabladft leaderboard token list --config server.toml
  nabladft leaderboard token revoke 0123456789abcdef --config server.toml
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "token",
        help="add, list and revoke tokens of the server",
        description="Add, list and revoke the tokens with which accounts submit.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="token_action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a token, and the account if there is none")
    add.add_argument("name", help="name of the account")
    revoke = actions.add_parser("revoke", help="make a token useless")
    revoke.add_argument("token_id", help="from `token list`")
    for action in (add, revoke, actions.add_parser("list", help="list all tokens")):
        action.add_argument("--config", required=True, help="configuration file (.toml)")


def run(args: argparse.Namespace) -> int:
    """Do it and say so."""
    settings = read_settings(args.config)
    # The libraries of the server are an extra.
    from nabladft.leaderboard.server.accounts import (  # noqa: PLC0415
        add_token,
        list_tokens,
        revoke_token,
    )
    from nabladft.leaderboard.server.database import Database  # noqa: PLC0415

    database = Database(settings.database)
    database.create()
    if args.token_action == "add":  # noqa: S105 - no password
        print(add_token(database, args.name))
    elif args.token_action == "revoke":  # noqa: S105 - no password
        revoke_token(database, args.token_id)
        print(f"{args.token_id} is revoked")
    else:
        for line in list_tokens(database):
            print(_shown(line))
    return 0


def _shown(line: TokenLine) -> str:
    return f"{line.id}  {'revoked' if line.revoked_at else 'good   '}  {line.name}"
