"""``airflow bulk check`` and ``plan``: what an import would refuse, and what it would send. Nothing is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_bulk.cli.output import NOT_GOOD, Output, command
from airflow_bulk.cli.progress import Bars
from airflow_bulk.cli.sources import read_check
from airflow_bulk.documents.source.reader import LineRules
from airflow_bulk.documents.source_check import RejectFile, SourceCheck
from airflow_bulk.judging import how_many, share_of
from airflow_bulk.runs.upload import planning
from airflow_bulk.runs.upload.progress import gigabytes

if TYPE_CHECKING:
    import argparse

    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.documents.source.files import FoundFile

#: Rejected lines that are told one by one unless all are asked for.
SHOWN = 20
#: Kinds of reasons and of hints that are told.
KINDS = 20


class _Rejects(RejectFile):
    """Takes reject rows instead of a file: places and reasons, never content.

    :param take: told file, line and reasons of each, in order.
    """

    def __init__(self, take: Callable[[str, int, Sequence[str]], None]) -> None:
        super().__init__(Path(), "", content="position")
        self._take = take

    def write(self, *, source: str, line: int | None, reasons: Sequence[str], **_: Any) -> None:
        """Take a row."""
        assert line is not None  # noqa: S101  (a shell checks whole files)
        self._take(source, line, reasons)


class CheckedSource:
    """A source that was checked.

    :ivar files: what was found.
    :ivar plan: the sums.
    :ivar check: the parts, the reasons and the hints.
    """

    def __init__(
        self,
        args: UploadArguments,
        output: Output,
        take: Callable[[str, int, Sequence[str]], None],
    ) -> None:
        began = time.monotonic()
        self.args = args
        self.files: Sequence[FoundFile] = planning.find_source(args, may_be_empty=True)
        self.plan = planning.fingerprint(self.files)
        with Bars(output) as bars:
            self.check = SourceCheck(
                self.files,
                LineRules(
                    document_type=args.document_type,
                    mime_type=args.mime_type,
                    delimiter=args.sending.csv_delimiter,
                ),
                planning.layout_of(args, None),
                rejects=_Rejects(take),
                on_part=bars.checked,
            )
            if self.files:
                bars.checking(planning.bytes_to_read(self.files, ()))
                self.check.run()
                planning.still_the_same(args, self.files)
        self.plan.add_up(self.check.parts)
        if self.files and not self.plan.lines_read:
            planning.nothing_to_send(args, "The source holds no line.")
        self.seconds = time.monotonic() - began

    @property
    def ok(self) -> bool:
        """Whether an import with this ``max_failures`` would send it."""
        return self.args.tolerance.allows(self.plan.rejected, self.plan.lines_read)

    def counts(self) -> dict[str, Any]:
        """The counts, by the names of the operator's result where it has them."""
        plan = self.plan
        return {
            "ok": self.ok,
            "files": [one.record.uri for one in self.files],
            "document_type": self.args.document_type,
            "mime_type": self.args.mime_type,
            "lines_read": plan.lines_read,
            "lines_good": plan.lines_to_send,
            "lines_rejected": plan.rejected,
            "blank_lines": plan.blank,
            "parts": plan.parts,
            "bytes": plan.body,
            "max_failures": str(self.args.tolerance),
            "seconds": round(self.seconds, 3),
        }

    def say_counts(self) -> str:
        """The counts in one sentence."""
        plan = self.plan
        blank = f", {plan.blank:,} blank" if plan.blank else ""
        return (
            f"{plan.lines_read:,} {'line' if plan.lines_read == 1 else 'lines'} in {how_many(len(self.files), 'file')}: "
            f"{plan.lines_to_send:,} good ({gigabytes(plan.body)} in {how_many(plan.parts, 'part')}), {plan.rejected:,} rejected "
            f"({share_of(plan.rejected, plan.lines_read)}){blank}. Checked in {self.seconds:.1f} s."
        )

    def say_refused(self) -> str:
        """Why an import would refuse the whole source."""
        return f"More than --max-failures {self.args.tolerance}: an import would send nothing of it. Correct these lines, or raise --max-failures."


@command
def check(args: argparse.Namespace, output: Output) -> int:
    """Check every line; print rejected lines, counts and hints."""
    shown: list[dict[str, Any]] = []
    left_out = 0

    def take(source: str, line: int, reasons: Sequence[str]) -> None:
        nonlocal left_out
        if not args.all and len(shown) >= SHOWN:
            left_out += 1
            return
        if output.as_json or not args.all:
            shown.append({"file": source, "line": line, "reasons": list(reasons)})
        output.line(f"{source}:{line}: {'; '.join(reasons)}")

    checked = CheckedSource(read_check(args), output, take)
    totals = checked.check.totals
    output.document(
        {
            **checked.counts(),
            "rejects": shown,
            "rejects_left_out": left_out,
            "reasons": dict(totals.reasons.most_common()),
            "hints": dict(totals.hints.most_common()),
        }
    )
    if left_out:
        output.line(f"... and {left_out:,} more rejected lines; --all prints them all.")
    _list_kinds(output, "Rejected, by reason:", totals.reasons.most_common(KINDS))
    _list_kinds(output, "Hints (such lines are sent):", totals.hints.most_common(KINDS))
    output.sentence(checked.say_counts())
    return _judge(checked, output)


def _list_kinds(output: Output, title: str, kinds: Sequence[tuple[str, int]]) -> None:
    if kinds:
        output.line(title)
    for kind, count in kinds:
        output.line(f"{count:>10,}  {kind}")


def _judge(checked: CheckedSource, output: Output) -> int:
    if checked.ok:
        return 0
    output.tell(checked.say_refused())
    return NOT_GOOD


@command
def plan(args: argparse.Namespace, output: Output) -> int:
    """Print the parts that an import would send."""
    checked = CheckedSource(read_check(args), output, lambda source, line, reasons: None)
    # A part without a good line is never sent.
    rows = [
        {
            "part": part.index + 1,
            "file": checked.files[part.file].record.uri,
            "first_line": part.line,
            "lines": part.lines,
            "rejected": part.rejected,
            "bytes": part.body,
        }
        for part in checked.check.parts
    ]
    output.document({**checked.counts(), "plan": rows})
    titles = {
        "part": "right",
        "file": "left",
        "first line": "right",
        "lines": "right",
        "rejected": "right",
        "bytes": "right",
    }
    output.table(titles, [list(row.values()) for row in rows])
    output.sentence(checked.say_counts())
    return _judge(checked, output)
