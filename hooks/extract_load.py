"""The hook of the extract/load server: batches, connections, tenants. Facts: extract_load.md sections 1 to 4.

The documented server stores no status and no error: a finished batch may have succeeded or failed, and nobody can
tell. To know what happened, expand the batch into tasks (``ExtractLoadTaskGroup``) instead of delegating it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_bulk.hooks.platform_hook import ConnectionFieldError, PlatformHook
from airflow_bulk.hooks.transport import TRIES
from airflow_bulk.judging import how_many
from airflow_bulk.platforms import extract_load as api
from airflow_bulk.platforms.errors import PlatformError, Unauthorized


class BearerHook(PlatformHook):
    """A hook whose connection may hold a bearer token (password) and further headers (extra ``headers``).

    No authentication of this API is documented (extract_load.md section 1), so both are optional [assumed].
    """

    credentials = "token"

    def authentication(self, connection: Any) -> dict[str, str]:
        """Return the Authorization header, if there is a token, and the connection's own headers."""
        headers = connection.extra_dejson.get("headers") or {}
        if not isinstance(headers, Mapping):
            raise ConnectionFieldError(f"Connection {self.conn_id!r}: extra field headers must be an object.")
        found = {str(name): str(value) for name, value in headers.items()}
        token = (connection.password or "").strip()
        return {**found, "Authorization": f"Bearer {token}"} if token else found


class ExtractLoadHook(BearerHook):
    """Call the extract/load server.

    :param extract_load_conn_id: connection of type ``extract_load``: base URL in the host, an optional bearer token
        in the password, ``prefix`` of all paths and further ``headers`` in the extra.
    """

    conn_name_attr = "extract_load_conn_id"
    default_conn_name = "extract_load_default"
    conn_type = "extract_load"
    hook_name = "Extract/load batches"

    def __init__(self, extract_load_conn_id: str = default_conn_name) -> None:
        super().__init__(extract_load_conn_id)
        self.extract_load_conn_id = extract_load_conn_id

    @property
    def prefix(self) -> str:
        """What stands before every path, e.g. ``/v1``."""
        text = self.text("prefix").strip("/")
        return f"/{text}" if text else ""

    def list_batches(self) -> list[api.ServerBatch]:
        """List all stored batches."""
        return [api.as_batch(raw) for raw in self.send(api.list_objects("batch", self.prefix))]

    def get_batch(self, batch_id: str) -> api.ServerBatch:
        """Get one batch."""
        return self.send(api.get_batch(batch_id, self.prefix))

    async def aget_batch(self, batch_id: str) -> api.ServerBatch:
        """Get one batch on the event loop of a trigger."""
        await self.aprepare()
        return await self.asend(api.get_batch(batch_id, self.prefix))

    def create_batch(self, definition: Mapping[str, Any], *, tries: int = TRIES) -> api.ServerBatch:
        """Store a batch, which starts its run.

        :param definition: as in section 1.1, without an id.
        :param tries: attempts in all, where the server certainly did nothing.
        :raises FateUnknown: the answer was lost; the server has no key by which to find the batch again.
        """
        return self.send(api.create_batch(definition, self.prefix), tries=tries)

    def replace_batch(self, batch_id: str, definition: Mapping[str, Any]) -> api.ServerBatch:
        """Replace a stored batch; never starts a run. An id in *definition* must be *batch_id*."""
        return api.as_batch(self.send(api.replace_object("batch", batch_id, definition, self.prefix)))

    def delete_batch(self, batch_id: str) -> None:
        """Delete a batch. Whether that stops a running one is not documented (section 4)."""
        self.send(api.delete_object("batch", batch_id, self.prefix))

    def list_connections(self) -> list[dict[str, Any]]:
        """List the server's own connections, secrets masked."""
        return [api.masked(raw) for raw in self.send(api.list_objects("connection", self.prefix))]

    def get_connection_object(self, connection_id: str) -> dict[str, Any]:
        """Get one of the server's own connections, secrets masked."""
        return _masked(self.send(api.get_object("connection", connection_id, self.prefix)))

    def create_connection_object(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Store a connection on the server; the answer comes with secrets masked."""
        return _masked(self.send(api.create_object("connection", body, self.prefix)))

    def replace_connection_object(self, connection_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replace one of the server's own connections.

        :raises ValueError: a secret is the mask with which it is shown, and would be lost.
        """
        if masked := [key for key, value in body.items() if value == api.MASK]:
            raise ValueError(f"{', '.join(masked)} is the mask, not the secret: give the secret itself")
        return _masked(self.send(api.replace_object("connection", connection_id, body, self.prefix)))

    def delete_connection_object(self, connection_id: str) -> None:
        """Delete one of the server's own connections."""
        self.send(api.delete_object("connection", connection_id, self.prefix))

    def list_tenants(self) -> list[dict[str, Any]]:
        """List the tenants."""
        return [api.masked(raw) for raw in self.send(api.list_objects("tenant", self.prefix))]

    def get_tenant(self, tenant_id: str) -> dict[str, Any]:
        """Get one tenant."""
        return _masked(self.send(api.get_object("tenant", tenant_id, self.prefix)))

    def create_tenant(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Store a tenant."""
        return _masked(self.send(api.create_object("tenant", body, self.prefix)))

    def replace_tenant(self, tenant_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replace one tenant."""
        return _masked(self.send(api.replace_object("tenant", tenant_id, body, self.prefix)))

    def delete_tenant(self, tenant_id: str) -> None:
        """Delete a tenant."""
        self.send(api.delete_object("tenant", tenant_id, self.prefix))

    def test_connection(self) -> tuple[bool, str]:
        """GET the batches."""
        try:
            count = len(self.send(api.list_objects("batch", self.prefix), tries=1))
        except Unauthorized:
            return False, "401: the server does not accept the token (field password)."
        except (PlatformError, ValueError) as error:
            return False, str(error)
        return True, f"The server answers and holds {how_many(count, 'batch', 'batches')}."


class EndpointHook(BearerHook):
    """The connection of a source or a destination, type ``extract_load``."""

    conn_name_attr = "conn_id"
    conn_type = "extract_load"
    hook_name = "Extract/load batches"


def _masked(raw: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = api.masked(raw)
    return found
