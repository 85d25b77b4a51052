"""The mediarithmics hook: every document-import and execution call, and what a connection holds.

Facts: mediarithmics.md sections 1 to 4 and 10. The calls to plugins and batches are in
:mod:`airflow_bulk.hooks.mediarithmics_batches`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from airflow_bulk.hooks.executions import UploadExecutions
from airflow_bulk.hooks.mediarithmics_batches import IntegrationBatchHook
from airflow_bulk.hooks.platform_hook import ConnectionFieldError
from airflow_bulk.platforms.errors import Forbidden, PlatformError, Unauthorized
from airflow_bulk.platforms.mediarithmics import document_import_calls as calls
from airflow_bulk.platforms.mediarithmics import document_imports as api
from airflow_bulk.platforms.mediarithmics import integration_batch_calls as batches


class MediarithmicsHook(IntegrationBatchHook):
    """Call the mediarithmics API.

    Only long-lived API tokens are used (section 1.2, the second way [documented]); they are made in the
    console under settings, My Account, API Tokens.

    :param mediarithmics_conn_id: connection of type ``mediarithmics``: the API token in the password.
    """

    conn_name_attr = "mediarithmics_conn_id"
    default_conn_name = "mediarithmics_default"
    conn_type = "mediarithmics"
    hook_name = "mediarithmics"
    base_url_default = api.BASE_URL
    credentials = "API token"

    def __init__(self, mediarithmics_conn_id: str = default_conn_name) -> None:
        super().__init__(mediarithmics_conn_id)
        self.mediarithmics_conn_id = mediarithmics_conn_id

    def authentication(self, connection: Any) -> dict[str, str]:
        """Return the Authorization header: the raw token, or with ``token_prefix`` before it (section 1.2)."""
        token = (connection.password or "").strip()
        if not token:
            raise ConnectionFieldError(
                f"Connection {self.conn_id!r} has no API token (field password). "
                "Make one in the console under My Account, API Tokens."
            )
        # A blank at its end is part of it.
        prefix = str(connection.extra_dejson.get("token_prefix") or "").lstrip()
        if prefix and not token.startswith(prefix):
            token = f"{prefix}{token}"
        return {"Authorization": token}

    def datamart(self, datamart_id: str | int | None = None) -> str:
        """Return the datamart to use: the one given, else the connection's.

        :raises ConnectionFieldError: neither is set, or it is not made of digits.
        """
        value = str(datamart_id).strip() if datamart_id is not None else self.text("datamart_id")
        if not value:
            raise ConnectionFieldError(
                f"No datamart: give datamart_id, or set the field datamart_id of connection {self.conn_id!r}."
            )
        if not api.is_id(value):
            raise ConnectionFieldError("datamart_id must be made of digits.")
        return value

    def create_document_import(
        self,
        *,
        document_type: str,
        name: str,
        mime_type: str = "APPLICATION_X_NDJSON",
        encoding: str = "utf-8",
        datamart_id: str | int | None = None,
        **optional: Any,
    ) -> api.DocumentImport:
        """Create a document import (section 2.2). Never repeated when its fate is unknown.

        :param optional: ``priority``, ``shuffle_lines``, ``use_processing_pipeline``; None is not sent.
        :raises FateUnknown: the answer was lost; list by name before creating again.
        """
        body = {"document_type": document_type, "mime_type": mime_type, "encoding": encoding, "name": name}
        body |= {key: value for key, value in optional.items() if value is not None}
        return self.send(calls.create_document_import(self.datamart(datamart_id), body))

    def get_document_import(self, import_id: str, datamart_id: str | int | None = None) -> api.DocumentImport:
        """Get one document import."""
        return self.send(calls.get_document_import(self.datamart(datamart_id), import_id))

    def list_document_imports(
        self, datamart_id: str | int | None = None, **filters: Any
    ) -> Iterator[api.DocumentImport]:
        """List document imports, page after page as they are consumed.

        :param filters: ``keywords``, ``mime_type``, ``document_types``, ``order_by``, ``label_ids``.
        """
        datamart = self.datamart(datamart_id)
        return self._follow(
            lambda first, size: calls.list_document_imports(
                datamart, first_result=first, max_results=size, **filters
            )
        )

    def update_document_import(
        self, import_id: str, changes: Mapping[str, Any], datamart_id: str | int | None = None
    ) -> api.DocumentImport:
        """Change fields of an import: read, merge, put the whole object back (section 2.2 [assumed])."""
        datamart = self.datamart(datamart_id)
        current = self.send(calls.get_raw_document_import(datamart, import_id))
        return self.send(calls.update_document_import(datamart, import_id, {**current, **changes}))

    def delete_document_import(self, import_id: str, datamart_id: str | int | None = None) -> None:
        """Delete an import."""
        self.send(calls.delete_document_import(self.datamart(datamart_id), import_id))

    def list_executions(
        self, import_id: str, datamart_id: str | int | None = None
    ) -> Iterator[api.Execution]:
        """List an import's executions, newest first, page after page as they are consumed."""
        datamart = self.datamart(datamart_id)
        return self._follow(
            lambda first, size: calls.list_executions(
                datamart, import_id, first_result=first, max_results=size
            )
        )

    def get_execution(
        self, import_id: str, execution_id: str, datamart_id: str | int | None = None
    ) -> api.Execution:
        """Get one execution."""
        return self.send(calls.get_execution(self.datamart(datamart_id), import_id, execution_id))

    def cancel_execution(
        self, import_id: str, execution_id: str, datamart_id: str | int | None = None
    ) -> api.Execution:
        """Cancel an execution and return it as re-read: only its status tells whether it worked (section 4.7).

        A refused cancel is not an error here; anything else is.
        """
        datamart = self.datamart(datamart_id)
        try:
            self.send(calls.cancel_execution(datamart, import_id, execution_id))
        except (Unauthorized, Forbidden):
            raise
        except PlatformError as error:
            self.log.info("%s", error)
        return self.send(calls.get_execution(datamart, import_id, execution_id))

    def fetch_error_file(self, uri: str, *, token_in_query: bool = False) -> bytes:
        """Fetch an execution's error file. Its columns are not documented: opaque bytes (section 4.5).

        :param token_in_query: send the token as the console does, in the query, where access logs show it.
        """
        token = self.endpoint.headers["Authorization"] if token_in_query else None
        return self.send(calls.data_file(uri, access_token=token))

    def download_data_file(self, uri: str, into: BinaryIO, most_bytes: int) -> int:
        """Write a file of the platform, such as an error file or an input file, into an open file (section 4.5).

        Memory stays flat. The token goes in the header. A body that is cut short is asked for again.

        :param uri: the ``mics://`` URI.
        :param into: an open binary file that can seek and truncate; the body is put at its position.
        :param most_bytes: a larger file is refused.
        :returns: bytes written.
        :raises TooLarge: the file has more than ``most_bytes``.
        :raises PlatformError: the platform refused, or could not be asked.
        """
        return self.download(calls.data_file(uri), into, most_bytes)

    def document_imports(self, datamart_id: str | int | None = None) -> calls.DocumentImports:
        """The datamart's imports as whoever sends files into them needs them."""
        return calls.DocumentImports(self.datamart(datamart_id))

    def executions(self, import_id: str, datamart_id: str | int | None = None) -> UploadExecutions:
        """The executions of an import, to list and to cancel them."""
        return UploadExecutions(self, self.document_imports(datamart_id), import_id)

    def console_url(self, import_id: str, datamart_id: str, organisation_id: str | None = None) -> str | None:
        """Link to an import in the console; None when the base or the organisation is not known (section 10)."""
        return api.import_console_url(
            self.text("console_base_url") or "https://navigator.mediarithmics.com",
            organisation_id or self.text("organisation_id"),
            datamart_id,
            import_id,
        )

    def test_connection(self) -> tuple[bool, str]:
        """Ask the platform something small: the datamart's imports, else the plugins."""
        try:
            if self.text("datamart_id"):
                datamart = self.datamart()
                self.send(calls.list_document_imports(datamart, max_results=1), tries=1)
                return True, f"The API token is accepted, and datamart {datamart} can be read."
            organisation = self.text("organisation_id") or None
            self.send(batches.list_plugins(organisation_id=organisation, max_results=1), tries=1)
        except Unauthorized:
            return False, (
                "401: the platform does not know this API token. Make one in the console under "
                "My Account, API Tokens; e-mail and password do not work here."
            )
        except Forbidden:
            return False, "403: the API token is known, but has no right on this datamart or organisation."
        except (PlatformError, ValueError) as error:
            return False, str(error)
        return True, "The API token is accepted. Set datamart_id to test the rights on a datamart."
