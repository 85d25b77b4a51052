"""Pass 1: find the source, compare it with what an earlier try saw, check every line, judge what was found.

Only then is an import created and the first byte sent, unless ``overlap`` was chosen.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import xxhash
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import UNSENT, FoundFile, find_files
from airflow_bulk.documents.source.parts import NothingFound, SourceChanged, SourceError, SourceUnusable
from airflow_bulk.documents.source.reader import LineRules
from airflow_bulk.documents.source.spreading import take_stretches
from airflow_bulk.documents.source_check import CheckTotals, RejectFile
from airflow_bulk.judging import how_many, share_of
from airflow_bulk.runs.upload.progress import gigabytes

if TYPE_CHECKING:
    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.documents.source.parts import Part, SourceFile
    from airflow_bulk.hooks.sending.pool import SenderPool
    from airflow_bulk.hooks.sending.protocol import Gate
    from airflow_bulk.judging import Tolerance

log = logging.getLogger(__name__)

#: Seconds from asking for the commit to the last block, at least (airflow.md section 4.3).
COMMIT_WINDOW = 2.0
#: Files whose fingerprints are kept one by one, so that a message can name the one that changed; and bytes at most.
NAMED_FILES = 100
NAMED_BYTES = 40_000
#: Signs of a file's name before its kind: a file system takes 255, and a file that is not finished has 18 more.
LONGEST_NAME = 200
#: Said always: a worker cannot know whether there are others. A pod of Kubernetes has the setting of a LocalExecutor, for example.
ON_THIS_WORKER = "This worker has no such file; sources must be where every worker reads them."


class SourceArguments(Protocol):
    """What judging a checked source takes, whether it is sent from here or fetched by the platform."""

    @property
    def tolerance(self) -> Tolerance:
        """How many bad lines are good enough."""

    @property
    def rejects_path(self) -> str | None:
        """Folder of the reject file."""

    @property
    def rejects_content(self) -> str:
        """``line`` or ``position``."""


class EmptyArguments(Protocol):
    """What a source without a line is judged by."""

    @property
    def on_empty(self) -> str:
        """``fail``, ``skip`` or ``ok``."""


class SourcePlan(msgspec.Struct, kw_only=True):
    """What pass 1 found, as recorded.

    :param fingerprint: of every file's name, size and version.
    :param files: name and fingerprint of the first files.
    :param layout: how the source is cut, over all tries: the recorded parts follow from it.
    :param complete: pass 1 came to its end, was judged good, and every part is recorded.
    :param parts: parts to send.
    """

    fingerprint: str
    files: list[tuple[str, str]]
    file_count: int
    layout: Layout | None = None
    complete: bool = False
    parts: int = 0
    lines_read: int = 0
    rejected: int = 0
    blank: int = 0
    body: int = 0
    rejects_uri: str = ""

    def add_up(self, parts: Sequence[Part]) -> None:
        """Take the totals of all parts; one without a good line is never sent, and not counted."""
        self.parts = sum(part.lines > 0 for part in parts)
        self.lines_read = sum(part.lines + part.rejected for part in parts)
        self.rejected = sum(part.rejected for part in parts)
        self.blank = sum(part.blank for part in parts)
        self.body = sum(part.body for part in parts)

    @property
    def lines_to_send(self) -> int:
        """Lines that break no rule."""
        return self.lines_read - self.rejected


def find_source(args: UploadArguments, *, may_be_empty: bool, local_hint: str = "") -> list[FoundFile]:
    """Resolve the source; an empty list where it holds nothing and ``on_empty`` allows that.

    :param may_be_empty: False when parts of it were recorded: then nothing found is an error.
    :param local_hint: a sentence for a local file that is missing: :data:`ON_THIS_WORKER`, or nothing in a shell.
    :raises SourceError: it cannot be used.
    :raises AirflowSkipException: it is empty and ``on_empty="skip"``.
    """
    try:
        files = find_files(
            list(args.source),
            open_path,
            mime_type=args.mime_type,
            check_extension=bool(args.sending.check_extension),
            local_hint=local_hint,
        )
    except NothingFound as error:
        if not may_be_empty or args.stretches:
            raise SourceError(f"{error} {UNSENT}") from None
        nothing_to_send(args, str(error))
        return []
    return take_stretches(files, args.stretches) if args.stretches else files


def nothing_to_send(args: EmptyArguments, why: str) -> None:
    """Do what ``on_empty`` says; returns only for ``"ok"``."""
    if args.on_empty == "skip":
        raise AirflowSkipException(f"{why} Nothing was sent (on_empty='skip').")
    if args.on_empty == "fail":
        raise AirflowFailException(
            f"{why} Nothing was sent, and a retry is left out. Say on_empty='skip' or on_empty='ok' if that is expected."
        )
    log.info("%s Nothing was sent (on_empty='ok').", why)


def nothing_new(args: UploadArguments, why: str) -> None:
    """Do what ``on_empty`` says where every file is known: that is no failure, so only ``"skip"`` makes a difference."""
    if args.on_empty == "skip":
        raise AirflowSkipException(f"{why} Nothing was sent (on_empty='skip').")
    log.info("%s Nothing was sent.", why)


def open_path(uri: str) -> Any:
    """Return what opens an object of a store.

    :raises SourceUnusable: the provider of its scheme is not installed.
    """
    from airflow.sdk import ObjectStoragePath

    path = ObjectStoragePath(uri)
    try:
        path.fs  # noqa: B018 (Airflow looks for the scheme's provider only now)
    except ValueError as error:
        scheme = uri.partition("://")[0]
        raise SourceUnusable(
            f"{scheme}:// is not understood here ({error}): the storage's provider is not installed. The extras "
            "[s3], [gcs] and [azure] of this package bring it. Nothing more was sent; a retry cannot help before that."
        ) from error
    return path


def fingerprint(files: Sequence[FoundFile]) -> SourcePlan:
    """Begin a plan with what the files are now."""
    each = [(one.record.uri, _mark(one.record)) for one in files]
    whole = xxhash.xxh3_128_hexdigest(msgspec.json.encode(each))
    named = each[:NAMED_FILES]
    while len(msgspec.json.encode(named)) > NAMED_BYTES:  # long keys; the record takes no value without end
        named = named[: len(named) // 2]
    return SourcePlan(fingerprint=whole, files=named, file_count=len(files))


def _mark(record: SourceFile) -> str:
    """What changes when a file does, or when it is spread over tasks in another way."""
    if not record.begin and record.end is None:
        return record.mark
    return f"{record.mark}, bytes {record.begin} to {record.stop}"


def bytes_to_read(files: Sequence[FoundFile], recorded: Sequence[Part]) -> int:
    """Bytes behind the recorded parts; 0 where only reading them tells, for a file is compressed."""
    if any(one.record.compression for one in files):
        return 0
    return sum(one.record.stop - one.record.begin for one in files) - sum(part.length for part in recorded)


def still_the_same(args: UploadArguments, files: Sequence[FoundFile]) -> None:
    """Refuse a source that changed while it was checked: what was read may be half the old and half the new.

    A file that came meanwhile is none of ours: it was not found when the work began.

    :raises SourceError: naming a file. A retry reads it again: an export may just have been on its way.
    """
    now = {one.record.uri: one.record for one in find_source(args, may_be_empty=False)}
    changed = [one.record.uri for one in files if now.get(one.record.uri) != one.record]
    if changed:
        raise SourceError(
            f"{changed[0]}: has changed while it was checked ({len(changed)} of {how_many(len(files), 'file')}); is it still being "
            f"written? {_what_was_sent(args)} A retry reads it again."
        )


def _what_was_sent(args: UploadArguments) -> str:
    return "Parts may have left before (overlap=True)." if args.sending.overlap else "Nothing was sent."


def compare(recorded: SourcePlan, found: SourcePlan, *, spread: bool = False) -> None:
    """Refuse a source that changed between tries, naming both fingerprints.

    :param spread: it is sent by several tasks; none of them can begin anew alone.
    :raises SourceChanged: naming a changed file where it is known.
    """
    if recorded.fingerprint == found.fingerprint:
        return
    before = dict(recorded.files)
    changed = [name for name, mark in found.files if before.get(name, mark) != mark]
    gone_or_new = sorted(set(before) ^ {name for name, _ in found.files})
    named = [*(f"{name} changed" for name in changed), *(f"{name} came or went" for name in gone_or_new)]
    detail = "; ".join(named[:3]) or f"{how_many(recorded.file_count, 'file')} before, {found.file_count} now"
    if spread:
        raise SourceChanged(
            f"The source changed, or was spread in another way, since an earlier try began to send it: fingerprint "
            f"{recorded.fingerprint} before, {found.fingerprint} now ({detail}). Nothing more was sent. Put the files back as "
            "they were, or import them as they are now in a new DAG run."
        )
    raise SourceChanged(
        f"The source changed since an earlier try began to send it: fingerprint {recorded.fingerprint} before, "
        f"{found.fingerprint} now ({detail}). Nothing more was sent. Put the files back, or say "
        "on_source_change='restart' to cancel what can be cancelled and import the source as it is now."
    )


def layout_of(args: UploadArguments, plan: SourcePlan | None) -> Layout:
    """How the source is cut: as it was when an earlier try began, else as the arguments say.

    Parts that were recorded are ranges of the source; cut in another way, the rest would not follow on them.
    """
    sending = args.sending
    asked = Layout(
        max_part_bytes=int(sending.max_part_bytes),
        one_part_per_file=bool(sending.one_part_per_file),
        workers=int(sending.workers),
    )
    if plan is None or plan.layout is None or plan.layout == asked:
        return asked
    log.warning(
        "This import was begun with parts of %s (one_part_per_file=%s, workers=%d) and goes on with them.",
        how_many(plan.layout.max_part_bytes, "byte"),
        plan.layout.one_part_per_file,
        plan.layout.workers,
    )
    return plan.layout


def line_rules(args: UploadArguments) -> LineRules:
    """What a line of this source may be."""
    return LineRules(
        document_type=args.document_type,
        mime_type=args.mime_type,
        delimiter=args.sending.csv_delimiter,
        check=bool(args.sending.check),
        line_check=args.line_check,
        encoding=str(args.fields.get("encoding") or "utf-8"),
    )


def open_pool(
    args: UploadArguments,
    files: Sequence[FoundFile],
    rejects: RejectFile | None,
    layout: Layout | None = None,
) -> SenderPool:
    """The pool that checks and sends this source.

    :param layout: how it is cut; None: as the arguments say.
    """
    from airflow_bulk.hooks.sending.pool import SenderPool  # a source that is only checked needs none

    sending = args.sending
    return SenderPool(
        files=files,
        rules=line_rules(args),
        layout=layout or layout_of(args, None),
        workers=int(sending.workers),
        spool_dir=sending.spool_dir,
        rejects=rejects,
        # Wide enough for a busy store, and over before a newer try that waits `settle` has looked.
        commit_window=max(COMMIT_WINDOW, float(sending.settle) - 1),
    )


def reject_file(args: SourceArguments, identity: str, kind: str = "rejects") -> RejectFile | None:
    """The reject file of this task, of the same name at every try; None where nobody asked for one.

    :param identity: dag, run, task, map index and generation.
    :param kind: what the file holds, a part of its name.
    """
    if args.rejects_path is None:
        return None
    folder: Any = open_path(args.rejects_path) if "://" in args.rejects_path else args.rejects_path
    name = re.sub(r"[^A-Za-z0-9_.+:-]", "_", identity)
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}_{xxhash.xxh3_64_hexdigest(identity.encode())}"
    return RejectFile(
        folder, f"{name}.{kind}.ndjson", content="position" if args.rejects_content == "position" else "line"
    )


def judge_checked(
    args: SourceArguments, plan: SourcePlan, found: CheckTotals, sent: str = "Nothing was sent."
) -> None:
    """Log what pass 1 found and refuse the whole source where it is not good enough.

    :param sent: what the error says of what has left.
    :raises AirflowFailException: more rejected lines than ``max_failures``.
    """
    for kind, count in found.hints.most_common(20):
        log.info("Hint, %s: %s", how_many(count, "time"), kind)
    for one in found.first:
        log.warning("%s, line %d, rejected: %s", one.uri, one.line, "; ".join(one.reasons))
    if plan.rejected > len(found.first):
        reasons = "; ".join(
            f"{how_many(count, 'time')}: {reason}" for reason, count in found.reasons.most_common(10)
        )
        log.warning("%s rejected in all. %s", how_many(plan.rejected, "line"), reasons)
    log.info(
        "Checked %s in %s: %d to send in %s (%s), %d rejected (%s), %d blank.",
        how_many(plan.lines_read, "line"),
        how_many(plan.file_count, "file"),
        plan.lines_to_send,
        how_many(plan.parts, "part"),
        gigabytes(plan.body),
        plan.rejected,
        share_of(plan.rejected, plan.lines_read),
        plan.blank,
    )
    if not args.tolerance.allows(plan.rejected, plan.lines_read):
        where = "; ".join(f"{one.uri} line {one.line}: {', '.join(one.reasons)}" for one in found.first[:3])
        rejects = f" All of them: {plan.rejects_uri}." if plan.rejects_uri else ""
        raise AirflowFailException(
            f"{plan.rejected} of {how_many(plan.lines_read, 'line')} ({share_of(plan.rejected, plan.lines_read)}) "
            f"{'breaks' if plan.rejected == 1 else 'break'} a rule, "
            f"more than max_failures={args.tolerance}. {sent} First: {where}.{rejects} A retry cannot help until "
            "the source or max_failures is changed."
        )


def judge_plan(args: UploadArguments, plan: SourcePlan, found: CheckTotals) -> None:
    """Judge what is to be sent.

    :raises AirflowFailException: more rejected lines than ``max_failures``, or more deletions than allowed.
    """
    judge_checked(args, plan, found, _what_was_sent(args))
    refuse_deletions(plan, args.max_deletions)


def refuse_deletions(plan: SourcePlan, max_deletions: int | None) -> None:
    """Refuse to delete more than is allowed.

    :param max_deletions: None for what does not delete.
    :raises AirflowFailException: there are more.
    """
    if max_deletions is not None and plan.lines_to_send > max_deletions:
        raise AirflowFailException(
            f"{how_many(plan.lines_to_send, 'deletion')}, more than max_deletions={max_deletions}. Nothing was sent; a "
            "retry cannot help until the source or max_deletions is changed."
        )


def hint_small_parts(parts: Sequence[Part], worth: int) -> None:
    """Say once when a part is smaller than what the platform's bulk import is made for.

    :param worth: lines that are worth a part; 0 for a platform that has no such figure.
    """
    small = [part for part in parts if 0 < part.lines < worth]
    if small:
        log.info(
            "Hint: %d of %s %s under %s; the vendor advises bulk import for more than that many lines.",
            len(small),
            how_many(len(parts), "part"),
            "has" if len(small) == 1 else "have",
            how_many(worth, "line"),
        )


@contextmanager
def before_sending() -> Iterator[None]:
    """Check a whole source while nothing is sent: the log says how long it took, an error that nothing was sent.

    :raises SourceError: the source cannot be read to its end.
    """
    began = time.monotonic()
    try:
        yield
    except SourceChanged:
        raise
    except SourceError as error:
        unsent = "" if "othing was sent" in str(error) else " Nothing was sent."
        raise type(error)(f"{error}{unsent}") from None
    log.info("Checked the source in %.1f s.", time.monotonic() - began)


def check_all_before_sending(pool: SenderPool, gate: Gate) -> None:
    """Check the whole source with the pool's workers while nothing is sent.

    :raises SourceError: it cannot be read to its end.
    """
    with before_sending():
        pool.run(pool.first_pass(), gate)
