"""``airflow bulk batch``: look at a definition before a DAG does, and bring one from the server."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from airflow.sdk import conf

from airflow_bulk.cli.connecting import opened
from airflow_bulk.cli.errors import Ended, ended_by
from airflow_bulk.cli.output import Output, command
from airflow_bulk.extract_load import BatchDefinitionError, BatchGraph, compile_batch, load_definition
from airflow_bulk.judging import how_many

if TYPE_CHECKING:
    import argparse

#: What the server fills in; a definition without it can be stored anew.
_SERVER_FIELDS = ("id", "_id", "__v", "created_at", "finished_at", "status", "errors")


@command
def compile_file(args: argparse.Namespace, output: Output) -> None:
    """Print a definition's nodes, edges and warnings; end with 1 and all problems if it has any."""
    path = Path(args.file).resolve()
    _import_as_dags_do(path.parent)
    try:
        graph = compile_batch(load_definition(path), strict=args.strict)
    except BatchDefinitionError as error:
        raise SystemExit(_complain(error, output)) from None
    except OSError as error:
        raise _end(f"{args.file}: {error.strerror}", output) from None
    except UnicodeDecodeError as error:
        raise _end(f"{args.file}: not UTF-8: {error.reason} at byte {error.start}", output) from None
    for line in _dot(graph) if args.dot else _listing(graph):
        output.line(line)
    output.document(
        {
            "ok": True,
            "nodes": list(graph.order),
            "edges": [list(edge) for edge in sorted(graph.edges)],
            "warnings": [str(warning) for warning in graph.warnings],
        }
    )
    for warning in graph.warnings:
        print(f"warning: {warning}", file=sys.stderr)


@command
def snapshot(args: argparse.Namespace, output: Output) -> None:
    """Write a remote definition to a file; say at once what is wrong with it."""
    from airflow_bulk.hooks.extract_load import ExtractLoadHook
    from airflow_bulk.platforms.errors import PlatformError

    path = Path(args.output)
    try:
        batch = opened(ExtractLoadHook(args.conn_id)).get_batch(args.batch_id)
        definition = {key: value for key, value in batch.raw.items() if key not in _SERVER_FIELDS}
        path.write_text(_text(definition, path.suffix.lower()), encoding="utf-8")
    except (Ended, PlatformError, ValueError) as error:
        where = f"batch {args.batch_id} over connection {args.conn_id}"
        raise _end(f"{where}: {ended_by(error).text}\n{path} was not written.", output) from None
    except OSError as error:
        raise _end(f"{path}: {error.strerror}", output) from None
    jobs = len(definition.get("jobs") or [])
    output.line(f"{path}: {how_many(jobs, 'job')}")
    problems: list[str] = []
    try:
        compile_batch(load_definition(path.resolve()))
    except BatchDefinitionError as error:
        problems = [str(one) for one in error.problems]
        print(error, file=sys.stderr)
    output.document(
        {"ok": True, "batch_id": args.batch_id, "file": str(path), "jobs": jobs, "problems": problems}
    )


def _import_as_dags_do(folder: Path) -> None:
    """Let dotted paths in a definition find what they find when Airflow parses the DAG beside it.

    Airflow appends a bundle's root to ``sys.path``. Which bundle the file will be in is not known here: the DAG folder,
    and *folder* for a file outside of it.
    """
    dags = Path(conf.get("core", "dags_folder")).expanduser()
    for place in (str(dags), str(folder)):
        if place not in sys.path:
            sys.path.append(place)


def _listing(graph: BatchGraph) -> list[str]:
    before: dict[str, list[str]] = {node: [] for node in graph.order}
    for first, then in sorted(graph.edges):
        before[then].append(first)
    lines = [f"{node}  <-  {', '.join(names)}" if names else node for node, names in before.items()]
    return [*lines, f"{len(graph.nodes)} nodes, {len(graph.edges)} edges"]


def _dot(graph: BatchGraph) -> list[str]:
    nodes = [f"  {json.dumps(node)};" for node in graph.order]
    edges = [f"  {json.dumps(first)} -> {json.dumps(then)};" for first, then in sorted(graph.edges)]
    return ["digraph batch {", "  rankdir=LR;", *nodes, *edges, "}"]


def _text(definition: Mapping[str, Any], suffix: str) -> str:
    if suffix in (".yaml", ".yml"):
        return str(yaml.safe_dump(dict(definition), sort_keys=False, allow_unicode=True))
    return json.dumps(definition, indent=2, ensure_ascii=False) + "\n"


def _complain(error: BatchDefinitionError, output: Output) -> int:
    print(error, file=sys.stderr)
    output.document({"ok": False, "error": str(error), "problems": [str(one) for one in error.problems]})
    return 1


def _end(text: str, output: Output) -> SystemExit:
    """How the command ends where there is nothing to show: Python prints the text, with exit code 1."""
    output.document({"ok": False, "error": text})
    return SystemExit(text)
