"""What a command that reads a source is asked for, as the operator reads it: one way to read arguments for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_bulk.arguments import ArgumentError, SendingOptions, UploadArguments, is_template
from airflow_bulk.runs.document_import.arguments import read_arguments

if TYPE_CHECKING:
    import argparse

#: More lines than any source has: where nothing is sent, nothing is deleted.
NO_LIMIT = 2**62


def read_sending(args: argparse.Namespace) -> SendingOptions:
    """Read how the source is cut and sent; what a command does not offer stays as the operator has it."""
    given = {
        "max_part_bytes": args.max_part_bytes,
        "csv_delimiter": args.csv_delimiter,
        "check_extension": not args.no_check_extension,
        "one_part_per_file": args.one_part_per_file,
        **{
            name: getattr(args, name)
            for name in ("workers", "spool_dir", "settle", "resend_failed_parts")
            if getattr(args, name, None) is not None
        },
    }
    return SendingOptions(**given).rendered(str)


def read_import(args: argparse.Namespace) -> UploadArguments:
    """Read what ``import`` was asked for.

    :raises ArgumentError: naming the argument.
    """
    return read_arguments(_given(args, name=args.name), read_sending(args))


def read_check(args: argparse.Namespace) -> UploadArguments:
    """Read what ``check`` and ``plan`` were asked for: nothing is sent, so deletions need no consent.

    :raises ArgumentError: naming the argument.
    """
    given = _given(args, name="check", allow_deletion=args.document_type, max_deletions=NO_LIMIT)
    return read_arguments(given, read_sending(args))


def _given(args: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """An operator's arguments by name. Each invocation of a command is a new try that a person began.

    :raises ArgumentError: one holds a template, which nothing renders here, or is not UTF-8, as all is that is kept of it.
    """
    for name, value in vars(args).items():
        if isinstance(value, str) and name != "record" and not _is_utf8(value):
            raise ArgumentError(
                name, f"is not UTF-8: {value!r}. Give a value, or name a file or folder, that is"
            )
        if is_template(value):
            raise ArgumentError(
                name,
                f"holds a template, {value!r}, and nothing renders it at a shell: write the value itself",
            )
    return {
        "source": args.file,
        "document_type": args.document_type,
        "mime_type": args.mime_type,
        "encoding": "utf-8",
        "max_failures": args.max_failures,
        "on_empty": args.on_empty,
        "rejects_path": getattr(args, "rejects_path", None),
        "rejects_content": getattr(args, "rejects_content", None),
        "allow_deletion": getattr(args, "allow_deletion", None),
        "max_deletions": getattr(args, "max_deletions", None),
        "priority": getattr(args, "priority", None),
        "on_source_change": getattr(args, "on_source_change", "fail"),
        "poll_interval": getattr(args, "poll_interval", 30.0),
        "timeout": getattr(args, "timeout", 6 * 3600.0),
        "wait_for_completion": not getattr(args, "no_wait", False),
        "on_clear": "keep",
        "dry_run": False,
        "cancel_on_kill": True,
        **more,
    }


def _is_utf8(value: str) -> bool:
    """Whether it is: a byte of a shell's word that is not comes as half of a character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
