"""What a person approves is what is sent: a dry run tells what it has found, and a later task sends that or nothing.

The fingerprint is of the bodies of the parts, so of every line that would be sent, in order, and of where they go: the document
type, the MIME type and the place on the platform. It tells a source that has
changed from one that has not; it is no proof against somebody who can both write the source and reckon a collision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import xxhash
from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.documents.source.sampling import SampledLine, spread
from airflow_bulk.judging import how_many

if TYPE_CHECKING:
    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.documents.source.parts import Part
    from airflow_bulk.hooks.sending.pool import SenderPool


def fingerprint_of(args: UploadArguments, place: Mapping[str, str], parts: Sequence[Part]) -> str:
    """Of what would be sent, as what, and where: 32 hexadecimal digits.

    :param args: its document type and MIME type.
    :param place: of the port: the datamart. The connection is left out: its id says nothing of what it leads to.
    :param parts: checked, so that their digests are known; those without a good line are never sent.
    """
    bodies = [(part.body, part.lines, part.digest) for part in parts if part.lines]
    whole = (args.document_type, args.mime_type, sorted(place.items()), bodies)
    return xxhash.xxh3_128_hexdigest(msgspec.json.encode(whole))


def refuse_unexpected(args: UploadArguments, place: Mapping[str, str], parts: Sequence[Part]) -> None:
    """Refuse what is not what ``expect_fingerprint`` names; called before anything of it is sent.

    :raises AirflowFailException: naming both fingerprints.
    """
    found = fingerprint_of(args, place, parts)
    if args.expect_fingerprint in ("", found):
        return
    lines = sum(part.lines for part in parts)
    raise AirflowFailException(
        f"The source is not what was approved: fingerprint {args.expect_fingerprint} expected, {found} found "
        f"({how_many(lines, 'line')} to send). Either it has changed since the dry run, or it is sent in another way: source, "
        "sending, document type, MIME type and datamart must be the same in both tasks. Nothing more was sent. A retry cannot help: have the source as it "
        "is now approved, in a new DAG run."
    )


def sample_of(pool: SenderPool, parts: Sequence[Part], count: int) -> list[SampledLine]:
    """Some of the lines that would be sent, spread evenly; reads the source once more, up to the last of them.

    :param pool: has checked the parts.
    :param count: how many.
    """
    sample: list[SampledLine] = []
    wanted = spread(sum(part.lines for part in parts), count)
    before = 0
    for part in parts:
        here = [number - before for number in wanted if before <= number < before + part.lines]
        if here:
            hashes = pool.hash_lines(part, here)
            sample += [
                SampledLine(before + number + 1, one) for number, one in zip(here, hashes, strict=True)
            ]
        before += part.lines
    return sample


def approvable(
    args: UploadArguments, place: Mapping[str, str], parts: Sequence[Part], sample: Sequence[SampledLine]
) -> dict[str, Any]:
    """What the result of a dry run has besides the counts."""
    return {"fingerprint": fingerprint_of(args, place, parts), "sample": [one._asdict() for one in sample]}
