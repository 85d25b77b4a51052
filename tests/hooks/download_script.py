"""Download a file of so many bytes from a server in another process; print the peak of this process's memory in kB."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection

from airflow_bulk.hooks.download import Download
from airflow_bulk.hooks.endpoint import Endpoint
from airflow_bulk.hooks.limits.rate import RateBudget
from airflow_bulk.hooks.transport import Transport
from airflow_bulk.platforms.mediarithmics.document_import_calls import data_file

BLOCK = b"x" * (1 << 20)


def serve(size: int, tell: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            left = size
            while left:
                left -= self.wfile.write(BLOCK[:left])

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    tell.send(server.server_address[1])
    server.handle_request()


def main(size: int) -> None:
    import requests

    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    process = context.Process(target=serve, args=(size, its))
    process.start()
    endpoint = Endpoint(base_url=f"http://127.0.0.1:{mine.recv()}", headers={})
    transport = Transport(endpoint, requests.Session(), RateBudget())
    with tempfile.TemporaryFile() as into:
        file = Download(into, size)
        transport.send(data_file("mics://x"), into=file)
        assert into.tell() == file.size == size
    process.join()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main(int(sys.argv[1]))
