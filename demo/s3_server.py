"""An S3 server on loopback (moto's) that counts the object bytes it hands out."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import boto3
from airflow.sdk.io import store
from moto.moto_server.threaded_moto_server import MotoRequestHandler  # type: ignore[attr-defined]
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "crm"


class S3Server:
    """A running server with one bucket.

    :ivar read: key -> body bytes handed out by GET.
    :ivar gets: key -> the Range headers of its GETs.
    """

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()
        self.gets: dict[str, list[str]] = {}
        self._server = make_server(
            "127.0.0.1",
            0,
            self._counting(DomainDispatcherApplication(create_backend_app)),
            threaded=True,
            request_handler=MotoRequestHandler,
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="canary-storage-secret",
        )
        self.client.create_bucket(Bucket=BUCKET)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        # Airflow keeps the store of a connection id for the life of the process; the next server has another port.
        store._STORE_CACHE.clear()

    def connection_json(self) -> str:
        """The value of an ``AIRFLOW_CONN_...`` variable."""
        return json.dumps(
            {
                "conn_type": "aws",
                "login": "key",
                "password": "canary-storage-secret",
                "extra": {"endpoint_url": self.url, "region_name": "us-east-1"},
            }
        )

    def put(self, key: str, body: bytes) -> None:
        """Store an object."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=body)

    def body(self, key: str) -> bytes:
        """Read an object."""
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def forget(self) -> None:
        """Begin to count anew."""
        self.read.clear()
        self.gets.clear()

    def _counting(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterator[bytes]]:
        def counted(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            key = environ["PATH_INFO"].removeprefix(f"/{BUCKET}/")
            is_get = environ["REQUEST_METHOD"] == "GET" and not environ["PATH_INFO"].endswith(BUCKET)
            if is_get:
                self.gets.setdefault(key, []).append(environ.get("HTTP_RANGE", ""))
            for chunk in app(environ, start_response):
                if is_get:
                    self.read[key] += len(chunk)
                yield chunk

        return counted
