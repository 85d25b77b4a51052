"""``airflow bulk batch``: look at a definition before a DAG does, and bring one from the server."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from airflow_bulk.batches import BatchDefinitionError, BatchGraph, compile_batch, load_definition

#: What the server fills in; a definition without it can be stored anew.
_SERVER_FIELDS = ("id", "_id", "__v", "created_at", "finished_at", "status", "errors")


def compile_file(args: argparse.Namespace) -> None:
    """Print a definition's nodes, edges and warnings; end with 1 and all problems if it has any."""
    try:
        graph = compile_batch(load_definition(Path(args.file).resolve()), strict=args.strict)
    except BatchDefinitionError as error:
        raise SystemExit(_complain(error)) from None
    except OSError as error:
        raise SystemExit(f"{args.file}: {error.strerror}") from None
    for line in _dot(graph) if args.dot else _listing(graph):
        print(line)
    for warning in graph.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def snapshot(args: argparse.Namespace) -> None:
    """Write a remote definition to a file; say at once what is wrong with it."""
    from airflow_bulk.hooks.extract_load import ExtractLoadHook

    batch = ExtractLoadHook(args.conn_id).get_batch(args.batch_id)
    definition = {key: value for key, value in batch.raw.items() if key not in _SERVER_FIELDS}
    path = Path(args.output)
    path.write_text(_text(definition, path.suffix.lower()), encoding="utf-8")
    print(f"{path}: {len(definition.get('jobs') or [])} jobs")
    try:
        compile_batch(load_definition(path.resolve()))
    except BatchDefinitionError as error:
        _complain(error)


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


def _complain(error: BatchDefinitionError) -> int:
    print(error, file=sys.stderr)
    return 1
