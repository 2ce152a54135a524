from __future__ import annotations

import random
from email.utils import formatdate
from time import time

import pytest
from misbehaving_server import PATH, Behaviour, serve

from perigee.corpus.answers import Patience
from perigee.corpus.bytestream import open_bytes
from perigee.errors import DownloadError, SourceError
from perigee.observer import ListObserver

DATA = random.Random(1).randbytes(300_000)
QUICK = Patience(
    connect_seconds=5,
    read_seconds=5,
    tries=4,
    first_wait=0.001,
    longest_wait=1.0,
    first_request=40_000,
    largest_request=60_000,
)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def fetch(behaviour: Behaviour, observer: ListObserver | None = None, size: int = 10_000) -> bytes:
    pieces = []
    with (
        serve(behaviour) as url,
        open_bytes(url, patience=QUICK, observer=observer or ListObserver()) as stream,
    ):
        while data := stream.read(size):
            pieces.append(data)
            assert len(data) <= size
            assert stream.position == sum(map(len, pieces))
        assert stream.read(size) == b""
    return b"".join(pieces)


def refused(behaviour: Behaviour) -> str:
    with pytest.raises(DownloadError) as error:
        fetch(behaviour)
    assert "\n" not in str(error.value)
    assert "127.0.0.1" in str(error.value)
    return str(error.value)


def test_a_good_server_is_asked_in_growing_ranges() -> None:
    behaviour = Behaviour(DATA)
    assert fetch(behaviour) == DATA
    assert behaviour.ranges_asked[:3] == [
        "bytes=0-39999",
        "bytes=40000-79999",
        "bytes=80000-119999",
    ]
    assert behaviour.ranges_asked[-1].endswith(f"-{len(DATA) - 1}")
    assert behaviour.sent == len(DATA)
    assert [r.get("If-Range") for r in behaviour.requests] == [None] + ['"one"'] * 6
    assert all(r["Accept-Encoding"] == "identity" for r in behaviour.requests)


def test_a_reader_who_stops_has_hardly_drawn_more() -> None:
    behaviour = Behaviour(DATA)
    with serve(behaviour) as url, open_bytes(url, patience=QUICK) as stream:
        read = b""
        while len(read) < 90_000:
            read += stream.read(5_000)
    assert read == DATA[: len(read)]
    assert behaviour.sent <= 120_000


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_broken_connections_change_nothing(ranges: bool, length: bool) -> None:
    cut = random.Random(2)
    behaviour = Behaviour(
        DATA,
        ranges=ranges,
        length=length,
        # Without ranges every answer begins at the first byte: it has to get further each time.
        break_after=lambda n: cut.randrange(1, 30_000) if ranges else 50_000 * (n + 1),
    )
    assert fetch(behaviour) == DATA
    assert len(behaviour.requests) > 5


def test_five_hundred_disconnections() -> None:
    cut = random.Random(3)
    behaviour = Behaviour(DATA, break_after=lambda n: cut.randrange(0, 1_000) if n < 500 else None)
    patience = Patience(tries=20, first_wait=0.0001, first_request=1_000)
    with serve(behaviour) as url, open_bytes(url, patience=patience) as stream:
        data = b"".join(iter(lambda: stream.read(1 << 16), b""))
    assert data == DATA
    assert len(behaviour.requests) > 500


def test_giving_up_counts_tries_without_progress() -> None:
    behaviour = Behaviour(DATA, break_after=lambda n: 0)
    message = refused(behaviour)
    assert "gave up after 4 tries at byte 0" in message
    assert len(behaviour.requests) == 4


def test_a_server_without_ranges_that_always_breaks_at_one_place() -> None:
    behaviour = Behaviour(DATA, ranges=False, break_after=lambda n: 70_000)
    assert "gave up after 4 tries at byte 70000" in refused(behaviour)


def test_no_server_at_all() -> None:
    with serve(Behaviour(DATA)) as url:
        pass
    with (
        pytest.raises(DownloadError, match="gave up after 4 tries"),
        open_bytes(url, patience=QUICK) as stream,
    ):
        stream.read(10)


def test_a_time_out_is_a_break() -> None:
    def slow(number: int, behaviour: Behaviour) -> None:
        if number == 1:
            import time

            time.sleep(1.0)

    patience = Patience(read_seconds=0.3, first_wait=0.001, first_request=100_000)
    behaviour = Behaviour(DATA, answer=slow)
    with serve(behaviour) as url, open_bytes(url, patience=patience) as stream:
        data = b"".join(iter(lambda: stream.read(1 << 16), b""))
    assert data == DATA
    assert behaviour.ranges_asked[1] == behaviour.ranges_asked[2]


def change_after(requests: int, **changes: object) -> Behaviour:
    def answer(number: int, behaviour: Behaviour) -> None:
        if number == requests:
            for key, value in changes.items():
                setattr(behaviour, key, value)

    return Behaviour(DATA, answer=answer)


@pytest.mark.parametrize(
    "changes",
    [
        {"etag": '"two"'},
        {"etag": '"two"', "if_range": False},
        {"etag": '"two"', "ranges": False},
        {"data": DATA[:200_000], "etag": None, "if_range": False},
        {"data": DATA[:10_000], "if_range": False},
        {"data": DATA + b"more", "if_range": False},
    ],
)
def test_a_file_that_changes_midway_is_an_error(changes: dict[str, object]) -> None:
    assert "changed while it was read; run it again" in refused(change_after(2, **changes))


def test_a_change_without_etag_is_seen_by_its_bytes() -> None:
    behaviour = Behaviour(
        DATA, etag=None, ranges=False, break_after=lambda n: 50_000 if n == 0 else None
    )

    def answer(number: int, behaviour: Behaviour) -> None:
        if number == 1:
            behaviour.data = b"!" + DATA[1:]

    behaviour.answer = answer
    assert "changed while it was read" in refused(behaviour)


def test_a_weak_etag_is_not_put_into_if_range_but_compared() -> None:
    behaviour = Behaviour(DATA, etag='W/"one"')
    assert fetch(behaviour) == DATA
    assert all("If-Range" not in request for request in behaviour.requests)
    changed = change_after(2, etag='W/"two"')
    changed.etag = 'W/"one"'
    assert "changed" in refused(changed)


def test_a_date_stands_in_for_an_etag() -> None:
    date = "Fri, 01 Jan 2021 00:00:00 GMT"
    behaviour = Behaviour(DATA, etag=None, modified=date)
    assert fetch(behaviour) == DATA
    assert behaviour.requests[1]["If-Range"] == date


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, "is the link still valid"), (404, "check the URL"), (410, "gone"), (401, "login")],
)
def test_refusals_are_errors_at_once(status: int, words: str) -> None:
    behaviour = Behaviour(DATA, answer=lambda n, b: (status, {}))
    message = refused(behaviour)
    assert f"status {status}" in message
    assert words in message
    assert len(behaviour.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_troubles_that_pass(status: int) -> None:
    behaviour = Behaviour(DATA, answer=lambda n, b: (status, {}) if n in (0, 3, 4) else None)
    observer = ListObserver()
    assert fetch(behaviour, observer) == DATA
    assert any(f"status {status}" in message for _, message in observer.messages)


def test_troubles_that_do_not_pass() -> None:
    behaviour = Behaviour(DATA, answer=lambda n, b: (503, {}))
    assert "status 503; gave up after 4 tries" in refused(behaviour)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(form: str) -> None:
    value = "1" if form == "seconds" else formatdate(int(time()) + 2, usegmt=True)
    behaviour = Behaviour(
        DATA, answer=lambda n, b: (429, {"Retry-After": value}) if n == 0 else None
    )
    with serve(behaviour) as url, open_bytes(url, patience=Patience(first_wait=0.001)) as stream:
        begin = time()
        assert stream.read(10) == DATA[:10]
    assert 0.9 <= time() - begin < 4


def test_retry_after_that_is_too_long_is_said() -> None:
    behaviour = Behaviour(DATA, answer=lambda n, b: (429, {"Retry-After": "3600"}))
    assert "not before 3600 s" in refused(behaviour)
    assert len(behaviour.requests) == 1


def test_a_redirect_is_followed() -> None:
    behaviour = Behaviour(
        DATA, answer=lambda n, b: (302, {"Location": PATH}) if n % 2 == 0 else None
    )
    assert fetch(behaviour) == DATA


def test_redirects_without_end() -> None:
    behaviour = Behaviour(DATA, answer=lambda n, b: (302, {"Location": PATH}))
    assert "redirects without end" in refused(behaviour)


def test_gzip_in_between_is_undone() -> None:
    behaviour = Behaviour(DATA, compress="gzip", break_after=lambda n: 100_000 if n == 1 else None)
    assert fetch(behaviour) == DATA
    assert behaviour.ranges_asked[0] != ""
    assert behaviour.ranges_asked[1:] == ["", ""]


def test_an_unknown_encoding_is_an_error() -> None:
    behaviour = Behaviour(DATA, compress="zebra", ranges=False)
    assert "comes encoded as 'zebra'" in refused(behaviour)


def test_a_wrong_range_is_never_taken() -> None:
    wrong = {"Content-Range": "bytes 5-10/300000", "Content-Length": "0"}
    behaviour = Behaviour(DATA, answer=lambda n, b: (206, wrong) if n == 2 else None)
    assert fetch(behaviour) == DATA
    always = Behaviour(DATA, answer=lambda n, b: (206, wrong))
    assert "another range than asked for" in refused(always)


def test_an_empty_file() -> None:
    assert "is empty" in refused(Behaviour(b""))


def test_identity_of_a_url() -> None:
    with serve(Behaviour(DATA)) as url, open_bytes(url + "?key=secret", patience=QUICK) as stream:
        found = stream.identify()
        assert stream.read(10) == DATA[:10]
    assert found.name == "openwebtext2.jsonl.zst.tar"
    assert found.version == 'etag "one" length 300000'
    assert "secret" not in str(found)


def test_a_url_without_version_warns() -> None:
    observer = ListObserver()
    behaviour = Behaviour(DATA, etag=None)
    with serve(behaviour) as url, open_bytes(url, patience=QUICK, observer=observer) as stream:
        assert "unversioned" in stream.identify().version
    assert observer.messages[0][0] == "warning"


def test_other_schemes_and_missing_files() -> None:
    with pytest.raises(SourceError, match="scheme 'ftp'"), open_bytes("ftp://x/y"):
        pass
    with pytest.raises(SourceError, match="cannot be opened"), open_bytes("/no/such/file"):
        pass
