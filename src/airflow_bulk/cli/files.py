"""``airflow bulk files``: which files imports know across runs, and to have one forgotten."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_bulk.cli.errors import Ended
from airflow_bulk.cli.output import NOT_GOOD, WRONG_USE, Output, command
from airflow_bulk.judging import name_ids
from airflow_bulk.runs.seen.ledger import ASSET_NAME, KnownFile, Scope

if TYPE_CHECKING:
    import argparse

    from sqlalchemy.orm import Session

TITLES = {
    "file": "left",
    "bytes": "right",
    "imported (UTC)": "left",
    "import": "left",
    "accepted": "right",
    "DAG": "left",
    "run": "left",
}


class _Known(msgspec.Struct):
    """A ledger, and what it knows by key."""

    scope: Scope
    files: dict[str, KnownFile]

    @property
    def title(self) -> str:
        """The ledger in words."""
        place = f", {self.scope.place}" if self.scope.place else ""
        kind = f", {self.scope.document_type}" if self.scope.document_type else ""
        return f"{self.scope.seen_as} ({self.scope.conn_id}{place}{kind})"


def _ledgers(args: argparse.Namespace, session: Session) -> list[_Known]:
    """The ledgers that the options name, each with its files, the newest first."""
    from airflow_bulk.plugin import tables

    asked = {
        "conn_id": args.conn_id,
        "place": args.datamart_id,
        "document_type": args.document_type,
        "seen_as": args.seen_as,
    }
    found = []
    for key, value in tables.asset_values(session, ASSET_NAME, ending=".scope"):
        scope = _read(value, Scope)
        if any(wanted not in (None, getattr(scope, name)) for name, wanted in asked.items()):
            continue
        prefix = f"{key.removesuffix('.scope')}.file."
        entries = [
            (key, _read(value, KnownFile))
            for key, value in tables.asset_values(session, ASSET_NAME, beginning=prefix)
        ]
        entries.sort(key=lambda entry: (-entry[1].at, entry[1].name))
        found.append(_Known(scope, dict(entries)))
    return sorted(found, key=lambda one: one.title)


def _read(value: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise Ended(
            "What is known of files is not in Airflow's database in a form that can be read here: the workers keep it in a state "
            "store of their own ([workers] state_store_backend), or another version of this package has written it."
        ) from None


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


@command
def list_files(args: argparse.Namespace, output: Output) -> None:
    """List known files, ledger by ledger."""
    from airflow_bulk.plugin.tables import reading

    with reading() as session:
        known = _ledgers(args, session)
    output.document(
        {
            "ok": True,
            "ledgers": [
                {
                    **msgspec.to_builtins(one.scope),
                    "files": [
                        {**msgspec.to_builtins(file), "at": _time(file.at)} for file in one.files.values()
                    ],
                }
                for one in known
            ],
        }
    )
    for one in known:
        output.line(f"{one.title}: {len(one.files):,} known.")
        rows = [
            (
                file.name,
                file.size,
                _time(file.at),
                file.import_id,
                file.lines_accepted,
                file.dag_id,
                file.run_id,
            )
            for file in one.files.values()
        ]
        if rows:
            output.table(TITLES, rows)
    if not known:
        output.line("No import has left word of a file. It does with on_seen='skip' or 'fail'.")


@command
def forget(args: argparse.Namespace, output: Output) -> int:
    """Delete what is known of files: the next run imports them again."""
    from airflow_bulk.plugin import tables

    with tables.reading() as session:
        known = _ledgers(args, session)
        matching = [
            (one, key, file) for one in known for key, file in one.files.items() if file.name in args.file
        ]
        if unknown := sorted(set(args.file) - {file.name for _, _, file in matching}):
            raise Ended(
                f"Not known: {name_ids(unknown)}. Nothing was forgotten. To see the names: airflow bulk files list.",
                WRONG_USE,
            )
        count = len({file.name for _, _, file in matching})
        question = f"Forget {count:,} {'file' if count == 1 else 'files'}, so that the next run imports {'it' if count == 1 else 'them'} again?"
        if not args.yes and not output.asks(question):
            raise Ended("Nothing was forgotten.", NOT_GOOD)
        for _, key, _ in matching:
            tables.delete_asset_value(session, ASSET_NAME, key)
    output.document({"ok": True, "forgotten": [file.name for _, _, file in matching]})
    for one, _, file in matching:
        output.line(f"Forgotten in {one.title}: {file.name}.")
    return 0
