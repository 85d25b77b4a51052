"""Where and how a connection is reached, and how its credentials are kept out of what is told."""

from __future__ import annotations

import json

import msgspec

from airflow_bulk.platforms.call import Reply

#: Anything shorter is a word and no secret; Airflow's own masks begin at the same length.
SHORTEST_SECRET = 5


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how a connection is reached. Its repr shows no header value.

    :param base_url: URL that every call's path is appended to.
    :param headers: headers of every request, credentials included.
    :param secrets: what must never be told, as the connection holds it: a header may say it with a word before.
    :param connect_timeout: seconds to connect.
    :param read_timeout: seconds without a byte.
    :param verify: check certificates; a text is the path of a CA bundle.
    :param proxies: as ``requests`` takes them.
    :param credentials: what the platform calls its credentials, for the 401 message.
    """

    base_url: str
    headers: dict[str, str]
    secrets: tuple[str, ...] = ()
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    verify: bool | str = True
    proxies: dict[str, str] = {}
    credentials: str = "credentials"

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url!r}, headers={sorted(self.headers)})"


def without_credentials(reply: Reply, endpoint: Endpoint) -> Reply:
    """An answer whose text may be told: a platform that quotes our credentials is not repeated, as JSON writes them either."""
    body = reply.body
    for secret in sorted({*endpoint.secrets, *endpoint.headers.values()}, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            written = json.dumps(secret)[1:-1]
            for form in (secret, written, written.replace("/", "\\/")):
                body = body.replace(form.encode(), b"*")
    return reply if body is reply.body else reply._replace(body=body)
