"""The Centrapay hook: create a batch, get it, and the asset reads that show what it loaded.

EXPERIMENTAL, as an older page of the vendor marks batches (centrapay.md section 1). Facts: centrapay.md sections 2
to 4, 7 and 8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from airflow_bulk.hooks.platform_hook import ConnectionFieldError, PlatformHook
from airflow_bulk.platforms import centrapay as api
from airflow_bulk.platforms.errors import Forbidden, PlatformError, Unauthorized

API_KEY, USER = "api-key", "user"


class CentrapayHook(PlatformHook):
    """Call the Centrapay API.

    :param centrapay_conn_id: connection of type ``centrapay``. The password is an API key, or a user's token with
        ``credentials`` set to ``user`` and the organisation's account in ``account_id``.
    """

    conn_name_attr = "centrapay_conn_id"
    default_conn_name = "centrapay_default"
    conn_type = "centrapay"
    hook_name = "Centrapay"
    base_url_default = api.BASE_URL
    credentials = "API key or token"

    def __init__(self, centrapay_conn_id: str = default_conn_name) -> None:
        super().__init__(centrapay_conn_id)
        self.centrapay_conn_id = centrapay_conn_id

    def authentication(self, connection: Any) -> dict[str, str]:
        """Return the headers of section 2: the key, or the bare token and the account it acts for."""
        secret = (connection.password or "").strip()
        kind = self.text("credentials") or API_KEY
        if kind not in (API_KEY, USER):
            raise ConnectionFieldError(
                f"Connection {self.conn_id!r}: field credentials is {API_KEY} or {USER}."
            )
        if not secret:
            raise ConnectionFieldError(
                f"Connection {self.conn_id!r} has no API key or user token (field password)."
            )
        if kind == API_KEY:
            return {"X-Api-Key": secret}
        account = self.text("account_id")
        if not account:
            raise ConnectionFieldError(
                f"Connection {self.conn_id!r}: a user's token needs the account it acts for (field account_id)."
            )
        return {"Authorization": secret, "X-Centrapay-Account": account}

    def budget_names(self) -> tuple[str, ...]:
        """Return the names of the account's limits."""
        # The limit is the calling account's (section 7). A key is bound to one account, so two keys of an account share
        # it; a user's token is charged to the user's own account, whichever account it acts for.
        endpoint = self.endpoint
        key = endpoint.headers.get("X-Api-Key")
        caller = hashlib.sha256((key or endpoint.headers["Authorization"]).encode()).hexdigest()
        account = self.text("account_id") if key else ""
        ours = f"centrapay {endpoint.base_url} {caller}"
        return (f"centrapay {endpoint.base_url} account {account}", ours) if account else (ours,)

    @property
    def requests_per_minute(self) -> float | None:
        """The limit of requests: the platform's own, unless the connection says less."""
        return super().requests_per_minute or api.REQUESTS_PER_MINUTE

    def account(self, account_id: str | None = None) -> str:
        """Return the account to use: the one given, else the connection's.

        :raises ConnectionFieldError: neither is set.
        """
        value = account_id or self.text("account_id")
        if not value:
            raise ConnectionFieldError(
                f"No account: give account_id, or set the field account_id of connection {self.conn_id!r}."
            )
        return value

    def create_batch(
        self, *, batch_type: str, url: str, account_id: str | None = None, test: bool | None = None
    ) -> api.CentrapayBatch:
        """Create a batch (section 3). Never repeated when its fate is unknown.

        :param url: where Centrapay fetches the file; a secret when it is signed.
        :param test: True for a test account; None is not sent.
        :raises FateUnknown: the answer was lost; a batch may exist, and nothing lists batches.
        """
        body: dict[str, Any] = {"type": batch_type, "url": url, "accountId": self.account(account_id)}
        if test is not None:
            body["test"] = test
        return self.send(api.create_batch(body))

    def get_batch(self, batch_id: str) -> api.CentrapayBatch:
        """Get one batch."""
        return self.send(api.get_batch(batch_id))

    async def aget_batch(self, batch_id: str) -> api.CentrapayBatch:
        """Get one batch, on the event loop of a trigger."""
        return await self.asend(api.get_batch(batch_id))

    def get_asset(self, asset_id: str) -> api.Asset:
        """Get one asset."""
        return self.send(api.get_asset(asset_id))

    def get_asset_summary(self, asset_id: str) -> api.Asset:
        """Get the summary of one asset."""
        return self.send(api.get_asset_summary(asset_id))

    def get_asset_by_external_id(self, asset_type: str, external_id: str) -> api.Asset:
        """Get an asset by its issuer's id, such as ``farmlands.nzd.main`` and a record's ``externalId``.

        :raises Forbidden: there is none, or no permission to read it.
        """
        return self.send(api.get_asset_by_external_id(asset_type, external_id))

    def list_account_assets(
        self, account_id: str | None = None, *, external_id: str | None = None
    ) -> Iterator[api.Asset]:
        """List an account's assets, page after page as they are consumed; archived ones are left out."""
        account, key = self.account(account_id), None
        while True:
            page = self.send(api.list_account_assets(account, external_id=external_id, page_key=key))
            yield from page.items
            key = page.next_page_key
            if not key:
                return

    def test_connection(self) -> tuple[bool, str]:
        """Ask for a made-up batch: 403 means that the credentials were accepted, 401 that they were refused."""
        try:
            self.send(api.get_batch(api.MADE_UP_BATCH), tries=1)
        except Unauthorized:
            return False, "401: Centrapay does not accept this API key or token."
        except Forbidden:
            return (
                True,
                "The API key or token is accepted. Which permissions it has is not seen from here.",
            )
        except (PlatformError, ValueError) as error:
            return False, str(error)
        return True, "The API key or token is accepted."
