"""A file on a server, read in order over connections that may break."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import urllib3

from perigee.corpus.answers import (
    Identity,
    Patience,
    content_encoding,
    innermost_reason,
    retry_after,
    without_secrets,
)
from perigee.errors import DownloadError
from perigee.manifest import Input
from perigee.observer import Observer
from perigee.randomness import generator

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_TRANSIENT = frozenset({408, 425, 429})
_REMEDIES = {
    401: "the server wants a login",
    403: "access is refused: is the link still valid?",
    404: "check the URL",
    410: "the file is gone: look for another mirror",
}
_BREAKS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
    OSError,
)
_DISCARD = 1 << 20
_DRAINED = 1 << 15


class _TryAgainError(Exception):
    """An answer that calls for another try."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class HttpStream:
    """The bytes behind a URL; see :mod:`perigee.corpus.bytestream` for the rules."""

    def __init__(self, url: str, patience: Patience, observer: Observer) -> None:
        self.position = 0
        self.breaks = 0
        self._url = url
        self._place = without_secrets(url)
        self._patience = patience
        self._observer = observer
        self._session = requests.Session()
        self._response: requests.Response | None = None
        self._decode = False
        self._end: int | None = None  # where the present answer ends, if that is known
        self._length: int | None = None
        self._identity: Identity | None = None
        self._ranges = True
        self._digest = hashlib.sha256()
        self._run_start = 0  # where reading without a jump began
        self._jumped = False
        self._failures = 0

    def __enter__(self) -> HttpStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._drop()
        self._session.close()

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end.

        Raises
        ------
        DownloadError
            If the server refuses, goes on failing, or the file changed.
        """
        while self._length is None or self.position < self._length:
            try:
                response = self._response or self._ask()
                # read1: what has arrived counts, even if the connection breaks right after it.
                data: bytes = response.raw.read1(size, decode_content=self._decode)
                if not data:
                    self._finish()
            except _TryAgainError as again:
                self._wait(str(again), again.wait)
            except _BREAKS as error:
                self._wait(innermost_reason(error))
            else:
                if data:
                    self.position += len(data)
                    self._digest.update(data)
                    self._failures = 0
                    return data
        return b""

    def seek(self, position: int) -> None:
        """Go on reading at byte ``position``.

        Raises
        ------
        DownloadError
            If the server does not answer requests for ranges.
        """
        if position == self.position:
            return
        self._jumped = True
        self._need_ranges()
        if self._end is None or not 0 <= position - self.position <= _DRAINED:
            self._drop()
            self.position = self._run_start = position
            return
        while self.position < position and self.read(position - self.position):
            pass  # a little is read faster than a new connection is made
        self._run_start = position

    def _need_ranges(self) -> None:
        if self._jumped and not self._ranges:
            raise self._error("the server does not answer Range requests", "use sampling 'first'")

    def identify(self) -> Input:
        """Name, ETag (or date) and length; a version of its own if the server tells neither."""
        while self._identity is None:
            try:
                self._ask()
            except _TryAgainError as again:
                self._wait(str(again), again.wait)
            except _BREAKS as error:
                self._wait(innermost_reason(error))
        known = self._identity
        version = known.version()
        details: dict[str, Any] = {"url": self._place, "etag": known.etag, "bytes": known.length}
        if version is None:
            self._observer.say(
                f"{self._place}: neither ETag nor date: a change of it cannot be seen", "warning"
            )
            version = f"unversioned {self._place} length {known.length}"
            details["versioned"] = False
        name = unquote(urlsplit(self._url).path).rpartition("/")[2] or "archive"
        return Input(name, version, details=details)

    def _ask(self) -> requests.Response:
        """Ask for the bytes from ``position`` on."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "perigee"}
        if self._ranges:
            headers["Range"] = f"bytes={self.position}-{self._range_end() - 1}"
            validator = self._identity.validator if self._identity else None
            if validator is not None:
                headers["If-Range"] = validator
        patience = self._patience
        try:
            response = self._session.get(
                self._url,
                headers=headers,
                stream=True,
                timeout=(patience.connect_seconds, patience.read_seconds),
            )
        except requests.exceptions.SSLError as error:
            raise self._error(f"the connection is not secure ({innermost_reason(error)})") from None
        except requests.exceptions.TooManyRedirects:
            raise self._error("redirects without end", "check the URL") from None
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise self._error(f"is not a URL to fetch ({error})") from None
        self._response = response
        self._check_redirects(response)
        match response.status_code:
            case 206:
                self._accept_range(response)
            case 200:
                self._accept_whole(response)
            case 416:
                self._accept_end(response)
            case status:
                raise self._refusal(status, response.headers)
        return response

    def _range_end(self) -> int:
        patience = self._patience
        grown = int((self.position - self._run_start) * patience.growth)
        size = min(max(grown, patience.first_request), patience.largest_request)
        end = self.position + size
        return end if self._length is None else min(end, self._length)

    def _check_redirects(self, response: requests.Response) -> None:
        secure = [urlsplit(hop.url).scheme == "https" for hop in (*response.history, response)]
        if any(secure) and not secure[-1]:
            raise self._error("redirects from https to http", "find a URL that does not")

    def _accept_range(self, response: requests.Response) -> None:
        if content_encoding(response.headers):
            self._ranges = False
            self._need_ranges()
            raise _TryAgainError("a range of a compressed answer")
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != self.position or int(match[2]) < self.position:
            raise _TryAgainError(
                f"another range than asked for ({response.headers.get('Content-Range')})"
            )
        total = None if match[3] == "*" else int(match[3])
        self._recognise(response.headers, total)
        self._end = int(match[2]) + 1
        self._decode = False
        if total is not None:
            self._length = total

    def _accept_whole(self, response: requests.Response) -> None:
        """An answer from the first byte on, though a range was asked for."""
        encoding = content_encoding(response.headers)
        if encoding not in ("", "gzip", "x-gzip", "deflate"):
            raise self._error(f"comes encoded as {encoding!r}", "fetch it as a file first")
        self._decode = bool(encoding)
        stated = response.headers.get("Content-Length", "")
        length = int(stated) if stated.isdigit() and not encoding else None
        self._recognise(response.headers, length)
        self._ranges = False
        self._length = self._end = length
        self._need_ranges()
        if self.position:
            self._skip_known(response)

    def _skip_known(self, response: requests.Response) -> None:
        """Read again what was read before, and make sure that it is the same."""
        left, again = self.position, hashlib.sha256()
        while left:
            data = response.raw.read(min(left, _DISCARD), decode_content=self._decode)
            if not data:
                raise _TryAgainError("the answer ended before the byte that was to come next")
            again.update(data)
            left -= len(data)
        if again.digest() != self._digest.digest():
            raise self._changed()

    def _accept_end(self, response: requests.Response) -> None:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if self._identity is None and total == "0":
            raise self._error("is empty")
        if self._length is None and (not total.isdigit() or int(total) == self.position):
            self._length = self.position
            return
        raise self._changed()

    def _recognise(self, headers: Mapping[str, str], length: int | None) -> None:
        identity = Identity(headers.get("ETag"), headers.get("Last-Modified"), length)
        if self._identity is None:
            self._identity = identity
        elif self._identity.differs(identity):
            raise self._changed()

    def _finish(self) -> None:
        """The present answer has no more bytes."""
        end = self._end
        self._drop()
        if end is None:
            self._length = self.position
        elif self.position < end:
            raise _TryAgainError(f"the answer ended at byte {self.position} of {end}")

    def _refusal(self, status: int, headers: Mapping[str, str]) -> Exception:
        if status in _TRANSIENT or 500 <= status < 600:
            wait = retry_after(headers.get("Retry-After"))
            if wait <= self._patience.longest_wait:
                return _TryAgainError(f"status {status}", wait)
            return self._error(f"status {status}", f"the server says: not before {wait:.0f} s")
        return self._error(f"status {status}", _REMEDIES.get(status, "check the URL"))

    def _wait(self, reason: str, at_least: float = 0.0) -> None:
        """Sleep before the next try, or give up."""
        self._drop()
        self._failures += 1
        self.breaks += 1
        patience = self._patience
        if self._failures >= patience.tries:
            raise self._error(
                f"{reason}; gave up after {self._failures} tries at byte {self.position}",
                "check the connection and run it again",
            )
        wait = min(patience.first_wait * 2.0 ** (self._failures - 1), patience.longest_wait)
        # Jitter differs between processes, so that they do not come back all at once.
        wait *= 0.5 + 0.5 * float(generator(os.getpid(), "download.jitter", self.breaks).random())
        wait = max(wait, at_least)
        if self._failures > 1 or at_least:
            self._observer.say(f"{self._place}: {reason}; next try in {wait:.1f} s", "warning")
        time.sleep(wait)

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _changed(self) -> DownloadError:
        return self._error("changed while it was read", "run it again")

    def _error(self, problem: str, remedy: str | None = None) -> DownloadError:
        return DownloadError(problem, place=self._place, remedy=remedy)
