"""Which store this installation shares: a Redis that the connection names, else Celery's Redis, else a file of the machine."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote, urlencode

from airflow_bulk.hooks.limits.store import StoreAddress, machine_address

log = logging.getLogger(__name__)

#: What the package redis takes as a URL.
SCHEMES = ("redis://", "rediss://", "unix://")
#: Executors whose workers may be on other machines (words of ``[core] executor``).
DISTRIBUTED = ("Celery", "Kubernetes", "Edge", "Ecs", "Batch", "Lambda")
#: Extra fields of a Redis connection that the URL takes as they are.
TLS_FIELDS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_told: set[str] = set()


def address_of(connection: Any) -> StoreAddress:
    """The store in a Redis that an Airflow connection describes, as the provider ``redis`` reads one.

    :param connection: host, port, login, password; extra fields ``db`` (in a URL: what stands behind the host), ``ssl`` and those of TLS.
    """
    extra = connection.extra_dejson
    secure = str(extra.get("ssl", "")).lower() in ("true", "1", "yes")
    login = ""
    if connection.password:
        login = f"{quote(connection.login or '', safe='')}:{quote(connection.password, safe='')}@"
    host = f"{connection.host or 'localhost'}:{connection.port or 6379}"
    options = urlencode({name: extra[name] for name in TLS_FIELDS if secure and extra.get(name)})
    database = extra.get("db") or connection.schema or 0
    url = f"redis{'s' if secure else ''}://{login}{host}/{database}"
    return StoreAddress(redis_url=f"{url}?{options}" if options else url)


def installation_address(conn_id: str) -> StoreAddress:
    """The store of an installation whose connection names none.

    :param conn_id: for the message that says what is not shared.
    """
    from airflow.sdk import conf

    executor = conf.get("core", "executor", fallback="")
    if "Celery" in executor:
        broker = conf.get("celery", "broker_url", fallback="")
        if broker.startswith(SCHEMES):
            return StoreAddress(redis_url=broker)
    if any(word in executor for word in DISTRIBUTED) and conn_id not in _told:
        _told.add(conn_id)
        log.warning(
            "Each machine keeps the limits of connection %r for itself: name a Redis in its field limits_conn_id, and all share "
            "them.",
            conn_id,
        )
    return machine_address()
