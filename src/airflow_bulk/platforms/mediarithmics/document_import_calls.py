"""Document imports of mediarithmics: the calls, and the port by which files are uploaded.

Facts: mediarithmics.md sections 1 to 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from airflow_bulk.platforms.answers import json_reader
from airflow_bulk.platforms.call import AnswerProblem, Call, CallSequence, Reply
from airflow_bulk.platforms.mediarithmics.document_imports import (
    CANCEL_BODY,
    CONTENT_TYPES,
    PAGE_SIZE,
    DocumentImport,
    Execution,
    Page,
    problem,
    read_execution,
    read_import,
    snapshot,
)
from airflow_bulk.platforms.status import RemoteSnapshot
from airflow_bulk.platforms.upload_port import UploadRequest

_import_page = json_reader(Page[DocumentImport])
_execution_page = json_reader(Page[Execution])
_any = json_reader(Any)


def imports_path(datamart_id: str) -> str:
    """Return the path of a datamart's document imports."""
    return f"/v1/datamarts/{quote(datamart_id, safe='')}/document_imports"


def import_path(datamart_id: str, import_id: str) -> str:
    """Return the path of one document import."""
    return f"{imports_path(datamart_id)}/{quote(import_id, safe='')}"


def executions_path(datamart_id: str, import_id: str) -> str:
    """Return the path of an import's executions; a file is uploaded by a POST to it (section 3)."""
    return f"{import_path(datamart_id, import_id)}/executions"


def create_document_import(datamart_id: str, body: Mapping[str, Any]) -> Call[DocumentImport]:
    """Create an import. Not repeatable: the API has no idempotency key (section 1.6 [assumed])."""
    return Call(
        "POST",
        imports_path(datamart_id),
        f"create the document import in datamart {datamart_id}",
        lambda reply: read_import(reply.body),
        problem,
        json=dict(body),
        repeatable=False,
    )


def get_document_import(datamart_id: str, import_id: str) -> Call[DocumentImport]:
    """Get one import."""
    return Call(
        "GET",
        import_path(datamart_id, import_id),
        f"read document import {import_id}",
        lambda reply: read_import(reply.body),
        problem,
    )


def get_raw_document_import(datamart_id: str, import_id: str) -> Call[dict[str, Any]]:
    """Get one import with every field it has, for an update that must put the whole object back (section 2.2)."""
    return Call(
        "GET",
        import_path(datamart_id, import_id),
        f"read document import {import_id}",
        lambda reply: dict(_any(reply.body)["data"]),
        problem,
    )


def list_document_imports(
    datamart_id: str,
    *,
    keywords: str | None = None,
    mime_type: str | None = None,
    document_types: Sequence[str] | None = None,
    order_by: str | None = None,
    label_ids: Sequence[str] | None = None,
    first_result: int = 0,
    max_results: int = PAGE_SIZE,
) -> Call[Page[DocumentImport]]:
    """List a datamart's imports (filters of section 2.2; ``keywords`` is case sensitive)."""
    query = {
        "keywords": keywords,
        "mime_type": mime_type,
        "document_types": ",".join(document_types) if document_types else None,
        "order_by": order_by,
        "label_ids": ",".join(label_ids) if label_ids else None,
        "first_result": first_result,
        "max_results": max_results,
    }
    return Call(
        "GET",
        imports_path(datamart_id),
        f"list the document imports of datamart {datamart_id}",
        lambda reply: _import_page(reply.body),
        problem,
        query=query,
    )


def update_document_import(datamart_id: str, import_id: str, body: Mapping[str, Any]) -> Call[DocumentImport]:
    """Put an import. Repeatable: a PUT of the same object changes nothing the second time."""
    return Call(
        "PUT",
        import_path(datamart_id, import_id),
        f"update document import {import_id}",
        lambda reply: read_import(reply.body),
        problem,
        json=dict(body),
    )


def delete_document_import(datamart_id: str, import_id: str) -> Call[None]:
    """Delete an import; the answer may be a body, empty or 204 (section 2.2 [assumed])."""
    return Call(
        "DELETE",
        import_path(datamart_id, import_id),
        f"delete document import {import_id}",
        lambda reply: None,
        problem,
    )


def list_executions(
    datamart_id: str, import_id: str, *, first_result: int = 0, max_results: int = PAGE_SIZE
) -> Call[Page[Execution]]:
    """List an import's executions, newest first; no status filter exists (section 4.7)."""
    return Call(
        "GET",
        executions_path(datamart_id, import_id),
        f"list the executions of document import {import_id}",
        lambda reply: _execution_page(reply.body),
        problem,
        query={"first_result": first_result, "max_results": max_results},
    )


def get_execution(datamart_id: str, import_id: str, execution_id: str) -> Call[Execution]:
    """Get one execution."""
    return Call(
        "GET",
        f"{executions_path(datamart_id, import_id)}/{quote(execution_id, safe='')}",
        f"read execution {execution_id} of document import {import_id}",
        lambda reply: read_execution(reply.body),
        problem,
    )


def cancel_execution(datamart_id: str, import_id: str, execution_id: str) -> Call[Execution]:
    """Cancel an execution; works only while it is PENDING (section 4.7 [documented]).

    Repeatable: a second cancel finds the execution cancelled, or is refused. What a refusal looks like is not
    documented, so callers read the execution again.
    """
    return Call(
        "POST",
        f"{executions_path(datamart_id, import_id)}/{quote(execution_id, safe='')}/action",
        f"cancel execution {execution_id} of document import {import_id}",
        lambda reply: read_execution(reply.body),
        problem,
        json=CANCEL_BODY,
    )


def data_file(uri: str, *, access_token: str | None = None) -> Call[bytes]:
    """Fetch a file of the platform, such as an error file (section 4.5).

    :param uri: the ``mics://`` URI.
    :param access_token: the credentials, to send as a query parameter [seen]; None sends them in the header, which
        keeps the token out of access logs [assumed].
    """
    return Call(
        "GET",
        "/v1/data_file/data",
        "fetch a data file",
        lambda reply: reply.body,
        lambda reply: AnswerProblem(reply.status, "") if reply.status >= 300 else None,
        query={"uri": uri, "access_token": access_token},
    )


class DocumentImports:
    """The document imports of a datamart as a :class:`~airflow_bulk.platforms.upload_port.UploadPort`.

    :param datamart_id: the datamart.
    """

    noun = "document import"

    def __init__(self, datamart_id: str) -> None:
        self.datamart_id = datamart_id
        self.place: Mapping[str, str] = {"datamart_id": datamart_id}

    def create(self, name: str, fields: Mapping[str, Any]) -> Call[str]:
        """Create an import; fields without a value are not sent (section 2.2)."""
        body = {key: value for key, value in fields.items() if value is not None}
        return create_document_import(self.datamart_id, {**body, "name": name}).then(lambda made: made.id)

    def find(self, marker: str) -> CallSequence[list[str]]:
        """Ask for the names that hold the marker, and take those that end in it (``keywords``, section 2.2)."""
        found: list[str] = []
        offset: int | None = 0
        while offset is not None:
            page = yield list_document_imports(self.datamart_id, keywords=marker, first_result=offset)
            found += [one.id for one in page.data if one.name.endswith(f"[{marker}]")]
            offset = page.next_offset(offset, PAGE_SIZE)
        return found

    def upload(self, import_id: str, mime_type: str) -> UploadRequest:
        """Return the request: a POST of raw bytes, with the mime type and no parameters (section 3)."""
        headers = {"Content-Type": CONTENT_TYPES[mime_type], "Accept": "application/json"}
        return UploadRequest(executions_path(self.datamart_id, import_id), headers)

    def read_upload(self, reply: Reply) -> RemoteSnapshot:
        """Read the execution that an upload made (section 3)."""
        return snapshot(read_execution(reply.body))

    def problem(self, reply: Reply) -> AnswerProblem | None:
        """Return what a bad answer says (section 1.5)."""
        return problem(reply)

    def list_executions(self, import_id: str) -> CallSequence[list[RemoteSnapshot]]:
        """List all executions of an import, newest first (section 4.7)."""
        found: list[RemoteSnapshot] = []
        offset: int | None = 0
        while offset is not None:
            page = yield list_executions(self.datamart_id, import_id, first_result=offset)
            found += [snapshot(one) for one in page.data]
            offset = page.next_offset(offset, PAGE_SIZE)
        # When another party adds an execution between two pages, the last one of a page stands on the next page, too.
        return list({one.id: one for one in found}.values())

    def get_execution(self, import_id: str, execution_id: str) -> Call[RemoteSnapshot]:
        """Get one execution."""
        return get_execution(self.datamart_id, import_id, execution_id).then(snapshot)

    def cancel_execution(self, import_id: str, execution_id: str) -> Call[Execution]:
        """Cancel an execution; works only while it is PENDING (section 4.7)."""
        return cancel_execution(self.datamart_id, import_id, execution_id)

    def data_file(self, uri: str) -> Call[bytes]:
        """Fetch a file of the platform; the token goes in the header (section 4.5)."""
        return data_file(uri)
