"""What an HTTP server's answers say, and how patiently it is asked."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Patience:
    """How long and how often a server is asked."""

    connect_seconds: float = 10.0
    """Time-out of a connection."""
    read_seconds: float = 60.0
    """Time-out between two pieces of an answer."""
    tries: int = 8
    """Tries in a row without a byte of progress before giving up."""
    first_wait: float = 0.5
    """Seconds before the second try, before jitter; doubled for each further one."""
    longest_wait: float = 120.0
    """Seconds between two tries at the most, also if the server asks for more."""
    first_request: int = 1 << 19
    """Bytes of the first range."""
    largest_request: int = 1 << 25
    """Bytes of a range at the most."""
    growth: float = 0.25
    """Bytes of a range, as a share of what was read without a jump before it."""


@dataclass(frozen=True)
class Identity:
    """What tells one version of a file on a server from another."""

    etag: str | None
    modified: str | None
    length: int | None

    def differs(self, other: Identity) -> bool:
        """Whether a field that both know is not the same."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified))
        known = [(a, b) for a, b in (*pairs, (self.length, other.length)) if a is not None]
        return any(b is not None and a != b for a, b in known)

    @property
    def validator(self) -> str | None:
        """What If-Range may carry: a strong ETag, or else the date."""
        if self.etag is not None:
            return None if self.etag.startswith("W/") else self.etag
        return self.modified

    def version(self) -> str | None:
        """One text for one version; ``None`` if the server says nothing that tells them apart."""
        if self.etag is not None:
            return f"etag {self.etag} length {self.length}"
        if self.modified is not None:
            return f"modified {self.modified} length {self.length}"
        return None


def content_encoding(headers: Mapping[str, str]) -> str:
    """The Content-Encoding; empty if the bytes are the file's own."""
    encoding = headers.get("Content-Encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding


def retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header (seconds or a date) asks for; 0 if it says nothing."""
    if value is None:
        return 0.0
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def innermost_reason(error: Exception) -> str:
    """The innermost cause in a few words."""
    seen = error
    while seen.args and isinstance(seen.args[-1], Exception):
        seen = seen.args[-1]
    reason = getattr(seen, "reason", None)
    return str(reason if isinstance(reason, Exception) else seen)[:200] or type(seen).__name__


def without_secrets(url: str) -> str:
    """The URL without login and query, which may hold keys, for messages and records."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
