"""Which store this installation shares: a Redis that the connection names, else Celery's Redis, else a file of the machine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from airflow_bulk.hooks.limits.store import StoreAddress, machine_address

log = logging.getLogger(__name__)

#: What the package redis takes as a URL.
SCHEMES = ("redis://", "rediss://", "unix://")
#: Executors whose workers may be on other machines (words of ``[core] executor``).
DISTRIBUTED = ("Celery", "Kubernetes", "Edge", "Ecs", "Batch", "Lambda")
#: Extra fields of a Redis connection that the URL takes as they are.
TLS_FIELDS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
#: Celery's settings for TLS, and what the package redis calls them.
CELERY_TLS = {"ssl_cacert": "ssl_ca_certs", "ssl_cert": "ssl_certfile", "ssl_key": "ssl_keyfile"}
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


def broker_url(broker: str, tls: Mapping[str, str]) -> str:
    """Return Celery's broker as the package redis takes it.

    :param broker: with options in Celery's words; those that are no part of TLS are left out.
    :param tls: paths for TLS by the names of the package redis; empty: as the URL says.
    """
    parts = urlsplit(broker)
    options = {name: value for name, value in parse_qsl(parts.query) if name in TLS_FIELDS}
    options |= {name: path for name, path in tls.items() if path}
    if "ssl_cert_reqs" in options:  # CERT_REQUIRED of the module ssl is "required"
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].lower().removeprefix("cert_")
    scheme = "rediss" if tls and parts.scheme == "redis" else parts.scheme
    return urlunsplit((scheme, parts.netloc, parts.path, urlencode(options), ""))


def installation_address(conn_id: str) -> StoreAddress:
    """The store of an installation whose connection names none.

    :param conn_id: for the message that says what is not shared.
    """
    from airflow.sdk import conf

    executor = conf.get("core", "executor", fallback="")
    if "Celery" in executor:
        broker = conf.get("celery", "broker_url", fallback="")
        if broker.startswith(SCHEMES):
            tls = {}
            if conf.getboolean("celery", "ssl_active", fallback=False):
                tls = {ours: conf.get("celery", theirs, fallback="") for theirs, ours in CELERY_TLS.items()}
            return StoreAddress(redis_url=broker_url(broker, tls))
    if any(word in executor for word in DISTRIBUTED) and conn_id not in _told:
        _told.add(conn_id)
        log.warning(
            "Each machine keeps the limits of connection %r for itself: name a Redis in its field limits_conn_id, and all share "
            "them.",
            conn_id,
        )
    return machine_address()
