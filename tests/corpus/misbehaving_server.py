"""A real HTTP server on 127.0.0.1 that misbehaves as it is told to."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATH = "/openwebtext2.jsonl.zst.tar"


@dataclass
class Behaviour:
    """What the server does; every request is noted in ``requests``."""

    data: bytes
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    """Whether Range is understood."""
    if_range: bool = True
    """Whether If-Range is understood."""
    length: bool = True
    """Whether Content-Length is sent (else: chunks)."""
    compress: str = ""
    """Content-Encoding that nobody asked for."""
    break_after: Callable[[int], int | None] = lambda number: None
    """Bytes of the answer to request ``number`` after which the connection is cut."""
    answer: Callable[[int, Behaviour], tuple[int, dict[str, str]] | None] = lambda n, b: None
    """Status and headers instead of the file, for request ``number``."""
    requests: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0
    """Bytes of the file that went out."""

    @property
    def ranges_asked(self) -> list[str]:
        return [headers.get("Range", "") for headers in self.requests]


def _handler(behaviour: Behaviour) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            with lock:
                number = len(behaviour.requests)
                behaviour.requests.append(dict(self.headers))
            other = behaviour.answer(number, behaviour)
            if other is not None:
                self.send_response(other[0])
                for key, value in {"Content-Length": "0", **other[1]}.items():
                    self.send_header(key, value)
                self.end_headers()
                return
            self._send_file(number)

        def _send_file(self, number: int) -> None:
            data, status = behaviour.data, 200
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            fits = self.headers.get("If-Range") in (None, behaviour.etag, behaviour.modified)
            if match and behaviour.ranges and (fits or not behaviour.if_range):
                start, end = int(match[1]), min(int(match[2]) + 1, len(data))
                if start >= len(data):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(data)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                status = 206
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
                data = data[start:end]
            for key, value in (("ETag", behaviour.etag), ("Last-Modified", behaviour.modified)):
                if value:
                    self.send_header(key, value)
            if behaviour.compress:
                self.send_header("Content-Encoding", behaviour.compress)
                data = gzip.compress(data, 1)
            self._send_body(data, behaviour.break_after(number))

        def _send_body(self, data: bytes, limit: int | None) -> None:
            if behaviour.length:
                self.send_header("Content-Length", str(len(data)))
            else:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            shown = data if limit is None else data[:limit]
            try:
                for start in range(0, len(shown), 1 << 14):
                    piece = shown[start : start + (1 << 14)]
                    if not behaviour.length:
                        self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                    else:
                        self.wfile.write(piece)
                    behaviour.sent += len(piece)
                if limit is not None and len(shown) < len(data):
                    self.close_connection = True
                elif not behaviour.length:
                    self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True  # the reader has had enough

    return Handler


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """Readers hang up on purpose: no traceback for that."""


@contextmanager
def serve(behaviour: Behaviour) -> Iterator[str]:
    """The URL of a file behind a server with this behaviour."""
    server = _QuietServer(("127.0.0.1", 0), _handler(behaviour))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{PATH}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
