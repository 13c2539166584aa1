"""fetch() against a server on loopback that answers something else, or later, or never."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest

from tests.content import fault_server as server_side
from tests.content.delivery_desk import DATA, OTHER, SIZE, Desk, artefact
from tests.content.fault_server import FaultServer, Reply, Request, body, chunked, good, status
from vvmigrate.content.delivery.download import Pace, discard
from vvmigrate.errors import ChecksumError, DeliveryError

HTML = "text/html; charset=utf-8"

# ---- servers that answer something else ------------------------------------------------------------------------------


def test_200_to_a_range_begins_again(desk: Desk, server: FaultServer) -> None:
    """The whole is never appended to a part."""
    desk.left_over(DATA[:300_000])
    desk.fetch(artefact(server.url("/model", good(DATA, ranges=False))))
    assert desk.held() == DATA


@pytest.mark.parametrize(
    "content_range",
    [
        f"bytes 299999-{SIZE - 1}/{SIZE}",
        f"bytes 300000-{SIZE - 2}/{SIZE}",
        f"bytes 300000-{SIZE - 1}/*",
        f"bytes 0-{SIZE - 1}/{SIZE}",
        f"items 300000-{SIZE - 1}/{SIZE}",
        "bytes */1",
        "",
    ],
)
def test_206_at_another_place_is_refused(desk: Desk, server: FaultServer, content_range: str) -> None:
    """A part that is not exactly the one asked for is not appended; the whole is asked for instead."""
    desk.left_over(DATA[:300_000])
    wrong = body(DATA[300_000:], line="206 Partial Content", Content_Range=content_range)
    desk.fetch(artefact(server.url("/model", wrong, good(DATA))))
    assert desk.held() == DATA
    assert "range" not in server.requests[1].headers


def test_a_server_that_cannot_do_better_is_left(desk: Desk, server: FaultServer) -> None:
    """A 206 to a request without Range ends the attempts at that source, and the part that is here stays."""
    desk.left_over(DATA[:300_000])
    url = server.url("/model", body(DATA, line="206 Partial Content"))
    with pytest.raises(DeliveryError, match="part that was not asked for"):
        desk.fetch(artefact(url))
    assert len(server.requests) == 2
    assert desk.held() == DATA[:300_000]


def test_416_of_a_shorter_file_names_both_sizes(desk: Desk, server: FaultServer) -> None:
    """A server whose file ends before our part has another file."""
    desk.left_over(DATA[:300_000])
    with pytest.raises(ChecksumError, match=f"has 1000 bytes instead of {SIZE}"):
        desk.fetch(artefact(server.url("/model", good(DATA[:1000]))))


def test_416_without_reason_begins_again(desk: Desk, server: FaultServer) -> None:
    """A server that refuses the part without saying why is asked for the whole."""
    desk.left_over(DATA[:300_000])
    desk.fetch(artefact(server.url("/model", status("416 No"), good(DATA))))
    assert desk.held() == DATA


@pytest.mark.parametrize("whole", [OTHER, DATA + b"more", DATA[:-1], b""])
@pytest.mark.parametrize("act", [good, chunked], ids=["length", "chunked"])
def test_other_bytes_are_never_kept(
    desk: Desk, server: FaultServer, act: Callable[[bytes], server_side.Act], whole: bytes
) -> None:
    """Other bytes, of any size, announced or not, are an error of exit code 7, or never get beyond the right bytes."""
    if whole[:SIZE] == DATA and act is chunked:
        desk.fetch(artefact(server.url("/model", act(whole))))
        assert desk.held() == DATA
        return
    with pytest.raises(ChecksumError) as caught:
        desk.fetch(artefact(server.url("/model", act(whole))))
    assert caught.value.exit_code == 7
    assert desk.held() == b""


def test_a_mirror_with_other_bytes_is_left_for_the_next(desk: Desk, server: FaultServer) -> None:
    """What a bad mirror sent is discarded, and the next one is asked for the whole."""
    desk.fetch(artefact(server.url("/bad", good(OTHER)), server.url("/good", good(DATA))))
    assert desk.held() == DATA
    assert [request.target for request in server.requests] == ["/bad", "/good"]


@pytest.mark.parametrize("act", [body, chunked], ids=["no length", "chunked"])
def test_a_login_page_is_called_one_and_leaves_the_part(
    desk: Desk, server: FaultServer, act: Callable[..., server_side.Act]
) -> None:
    """An HTML page with 200 fails by its size, the message says what it may be, and it is not resumed from."""
    url = server.url("/model", act(b"<html>sign in</html>", Content_Type=HTML))
    with pytest.raises(DeliveryError, match="HTML page, perhaps a login page"):
        desk.fetch(artefact(url))
    assert desk.held() == b""


def test_an_announced_login_page_costs_nothing(desk: Desk, server: FaultServer) -> None:
    """A page whose length is announced is refused before the part that is here is touched."""
    desk.left_over(DATA[:300_000])
    with pytest.raises(DeliveryError, match=r"announces 4 bytes instead of 600001 .*login page"):
        desk.fetch(artefact(server.url("/model", body(b"page", Content_Length=4, Content_Type=HTML))))
    assert desk.held() == DATA[:300_000]


@pytest.mark.parametrize("header", ["gzip", "zstd", "br", "GZIP, identity"])
def test_an_encoded_body_is_refused(desk: Desk, server: FaultServer, header: str) -> None:
    """Bytes that were encoded on the way are other bytes, even if the length happens to fit."""
    with pytest.raises(DeliveryError, match="although asked not to"):
        desk.fetch(artefact(server.url("/model", body(DATA, Content_Length=SIZE, Content_Encoding=header))))


@pytest.mark.parametrize(
    "answer", [b"\x00\xff garbage\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 2OO OK\r\n\r\n", b""]
)
def test_an_answer_that_is_not_http_is_tried_again(desk: Desk, server: FaultServer, answer: bytes) -> None:
    """A garbage status line is a fault of the line, not the end."""
    desk.fetch(artefact(server.url("/model", server_side.raw(answer), good(DATA))))
    assert desk.held() == DATA


def test_a_server_that_never_answers_is_given_up(desk: Desk, server: FaultServer) -> None:
    """Silence ends after the stall limit, in every round, with an error that says so."""
    with pytest.raises(DeliveryError, match="nothing came in time"):
        desk.fetch(artefact(server.url("/model", server_side.silent)))
    assert len(server.requests) == 2


def test_headers_that_never_end_are_given_up(desk: Desk, server: FaultServer) -> None:
    """However patient the socket is with each byte, an answer has a limit of its own; the next source is asked."""
    over = threading.Event()

    def act(reply: Reply, _: Request) -> None:
        reply.send(b"HTTP/1.1 200 OK\r\nX-Slow: a")
        over.wait()

    desk.pace = Pace(stall_s=3600, answer_s=0.2)
    what = artefact(server.url("/slow", act))
    desk.fetch(replace(what, urls=(*what.urls, server.url("/good", good(DATA)))))
    over.set()
    assert desk.held() == DATA


def test_a_trickle_is_given_up(desk: Desk, server: FaultServer) -> None:
    """One byte now and then defeats a socket's timeout, but not the minimum rate over a window."""
    seconds = count()
    desk.pace = replace(desk.pace, clock=lambda: float(next(seconds)), window_s=1, min_bytes_per_s=1 << 30)
    with pytest.raises(DeliveryError, match="too slow"):
        desk.fetch(artefact(server.url("/model", server_side.trickling(DATA))))


def test_a_slow_line_is_good_enough(desk: Desk, server: FaultServer) -> None:
    """A line above the minimum rate is never given up."""
    seconds = count()
    desk.pace = replace(desk.pace, clock=lambda: float(next(seconds)), window_s=5, min_bytes_per_s=1)
    desk.fetch(artefact(server.url("/model", server_side.trickling(DATA))))
    assert desk.held() == DATA


# ---- trying again ----------------------------------------------------------------------------------------------------


def test_a_sequence_of_faults_ends_with_the_right_bytes(desk: Desk, server: FaultServer) -> None:
    """Reset, then 503, then a changed ETag, then good: the bytes are right, and each wait is as it should be."""
    url = server.url(
        "/model",
        good(DATA, '"one"', until=300_000),
        status("503 Busy", Retry_After="7"),
        good(DATA, '"two"', until=400_000),
        good(DATA, '"two"'),
    )
    desk.fetch(artefact(url))
    assert desk.held() == DATA
    assert [request.start for request in server.requests] == [0, 300_000, 300_000, 400_000]
    assert desk.waits == [1, 7, 1]


@pytest.mark.parametrize("at", [0, 1, 262_144, SIZE - 1])
def test_real_resets_in_a_sequence_end_with_the_right_bytes(desk: Desk, server: FaultServer, at: int) -> None:
    """A TCP reset loses what was under way; wherever it strikes, and whatever follows, the bytes are right."""
    acts = [
        good(DATA, '"one"', until=at, reset=True),
        status("503 Busy"),
        good(DATA, '"two"', until=at, reset=True),
        server_side.raw(b"garbage\r\n\r\n"),
        good(DATA, '"two"'),
    ]
    desk.pace = replace(desk.pace, rounds=6)
    desk.fetch(artefact(server.url("/model", *acts)))
    assert desk.held() == DATA


def test_waits_double_and_are_capped(desk: Desk, server: FaultServer) -> None:
    """Without progress each wait is twice the one before, up to the limit, and then it is over."""
    desk.pace = replace(desk.pace, rounds=6, wait_max_s=5)
    with pytest.raises(DeliveryError, match="503 Busy"):
        desk.fetch(artefact(server.url("/model", status("503 Busy"))))
    assert desk.waits == [1, 2, 4, 5, 5]


@pytest.mark.parametrize("line", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize(
    ("value", "wait"),
    [("9", 9), ("999999999999", 60), ("Sun, 22 Nov 2026 12:00:30 GMT", 30), ("soon", 1), ("-5", 1), ("", 1)],
)
def test_retry_after_is_honoured_within_reason(
    desk: Desk, server: FaultServer, line: str, value: str, wait: float
) -> None:
    """Seconds, or a date that counts from the server's own clock; never longer than the cap."""
    busy = status(line, Retry_After=value, Date="Sun, 22 Nov 2026 12:00:00 GMT")
    desk.fetch(artefact(server.url("/model", busy, good(DATA))))
    assert desk.waits == [wait]


def test_progress_resets_the_count_of_rounds(desk: Desk, server: FaultServer) -> None:
    """A line that breaks often but always brings a block is never given up, although only two rounds are allowed."""
    stops = [262_144, 262_145, 524_288, 524_289]
    url = server.url("/model", *(good(DATA, until=stop) for stop in stops), good(DATA))
    desk.fetch(artefact(url))
    assert desk.held() == DATA


def test_a_server_that_sends_byte_by_byte_ends(desk: Desk, server: FaultServer) -> None:
    """One byte per connection is no progress: it would take six hundred thousand connections."""
    acts = [good(DATA, until=stop) for stop in range(1, 50)]
    with pytest.raises(DeliveryError):
        desk.fetch(artefact(server.url("/model", *acts)))
    assert len(server.requests) == 2


def test_all_sources_are_named_in_the_end(desk: Desk, server: FaultServer) -> None:
    """When nobody has it the message names every source, its reason, and no secret; the hint says how it goes on."""
    urls = [
        server.url("/gone", status("404 Not Found")) + "?token=secret",
        server.url("/busy", status("503 Busy")).replace("://", "://user:secret@"),
        "missing/model.gguf",
    ]
    with pytest.raises(DeliveryError) as caught:
        desk.fetch(artefact(*urls))
    for words in ("/gone: HTTP 404 Not Found", "/busy: HTTP 503 Busy", "missing/model.gguf: No such file"):
        assert words in caught.value.message
    assert "secret" not in f"{caught.value!r} {caught.value.hint} {caught.value.__cause__!r}"
    assert [request.target.partition("?")[0] for request in server.requests].count("/gone") == 1


def test_the_deadline_ends_everything(desk: Desk, server: FaultServer) -> None:
    """A boot is never held up: when the time is over the reasons so far are told, and the part stays."""
    desk.pace = replace(desk.pace, deadline=5, wait_max_s=600, rounds=9)
    url = server.url("/model", good(DATA, until=300_000), status("503 Busy", Retry_After="30"))
    with pytest.raises(DeliveryError, match=r"time allowed .* is over; .*503 Busy"):
        desk.fetch(artefact(url))
    assert desk.held() == DATA[:300_000]


def test_nothing_is_asked_after_the_deadline(desk: Desk, server: FaultServer) -> None:
    """A deadline that has passed already costs no request, but what is complete is still accepted."""
    desk.pace = replace(desk.pace, deadline=0)
    what = artefact(server.url("/model", good(DATA)))
    with pytest.raises(DeliveryError, match="is over"):
        desk.fetch(what)
    assert not server.requests
    discard(desk.partial)
    desk.left_over(DATA)
    desk.fetch(what)
