"""deliver() against every way in which a server can fail: the right files, or a clear error, and never anything else.

Every fault is played against every format, serial and in threads, at several offsets, and in three scenes: then the
server is well again; it stays as it is; it stays as it is and another source is well.
"""

from __future__ import annotations

import gzip
import os
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from tests.content import fault_server as server_side
from tests.content.delivery_desk import Desk, Form, both_paths, every_form
from tests.content.fault_server import Act, FaultServer, body, chunked, good, status, truncated
from vvmigrate.errors import ChecksumError, DeliveryError

HTML = "text/html; charset=utf-8"
PAGE = b"<html>please sign in</html>"
PART = "206 Partial Content"
EVENTUALLY = 3  # of a random sequence's faults some bring nothing; so many more rounds than faults are allowed


@dataclass(frozen=True)
class Fault:
    """One way to fail.

    Attributes:
        acts: what the server plays, for a form and an offset.
        recovers: when the same server is well afterwards, the delivery must succeed; otherwise it may also give up.
        harmless: the delivery must succeed although the server stays like this; otherwise it must fail.
        left_over: which of the form's bytes an earlier run has received up to the offset.
        error: what it must then fail with.
    """

    acts: Callable[[Form, int], Sequence[Act]]
    recovers: bool = False
    harmless: bool = False
    left_over: str = ""
    error: type[Exception] = DeliveryError


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def _part(form: Form, at: int, skew: int) -> Act:
    """A 206 whose place is not the one that was asked for; what it sends is what it says."""
    start, last = max(0, at + skew), len(form.data) - 1
    span = f"bytes {start}-{last}/{len(form.data)}"
    return body(form.data[start:], line=PART, Content_Range=span, Content_Length=last + 1 - start)


def _of_another_size(form: Form, more: int) -> Act:
    size = len(form.data) + more
    return body((form.data + bytes(8))[:size], Content_Length=size)


FAULTS: dict[str, Fault] = {
    # The line breaks.
    "truncated": Fault(lambda f, at: [truncated(f.data, at)], recovers=True),
    "truncated, no length": Fault(lambda f, at: [body(f.data[:at])], recovers=True),
    "truncated chunks": Fault(
        lambda f, at: [body(b"%x\r\n" % len(f.data) + f.data[:at], Transfer_Encoding="chunked")], recovers=True
    ),
    "reset": Fault(lambda f, at: [good(f.data, until=at, reset=True)], recovers=True),
    "stalled": Fault(lambda f, at: [server_side.stalled(f.data, at)], recovers=True),
    "never answers": Fault(lambda f, at: [server_side.silent], recovers=True),
    "closed at once": Fault(lambda f, at: [server_side.raw(b"")], recovers=True),
    "garbage status line": Fault(lambda f, at: [server_side.raw(b"\0\xff what\r\n\r\n" + f.data)], recovers=True),
    "trickling": Fault(lambda f, at: [server_side.trickling(f.data)], recovers=True, harmless=True),
    # The answer does not fit.
    "longer than announced": Fault(
        lambda f, at: [body(f.data + b"more", Content_Length=len(f.data))], recovers=True, harmless=True
    ),
    "longer than promised": Fault(lambda f, at: [_of_another_size(f, 4)], error=ChecksumError),
    "shorter than promised": Fault(lambda f, at: [_of_another_size(f, -4)], error=ChecksumError),
    "an end before the end": Fault(lambda f, at: [chunked(f.data[:at])], error=ChecksumError),
    "gzip-encoded": Fault(lambda f, at: [body(gzip.compress(f.data), Content_Encoding="gzip")]),
    "200 to a Range": Fault(lambda f, at: [good(f.data, ranges=False)], recovers=True, harmless=True, left_over="data"),
    "206 too early": Fault(lambda f, at: [_part(f, at, -1)], recovers=True, left_over="data"),
    "206 too late": Fault(lambda f, at: [_part(f, at, 1)], recovers=True, left_over="data"),
    "206 of the whole": Fault(lambda f, at: [_part(f, 0, 0)], recovers=True, left_over="data"),
    "206 that nobody asked for": Fault(lambda f, at: [body(f.data, line=PART, Content_Length=len(f.data))]),
    "416": Fault(lambda f, at: [status("416 No")], recovers=True, left_over="data"),
    "416 of a shorter file": Fault(
        lambda f, at: [status("416 No", Content_Range="bytes */1")], left_over="data", error=ChecksumError
    ),
    # The content changes, or is another.
    "changed between parts": Fault(lambda f, at: [good(f.other, '"old"', until=at)], recovers=True),
    "changed, and no ETag says so": Fault(lambda f, at: [truncated(f.other, at)]),
    "an earlier run had another content": Fault(
        lambda f, at: [good(f.data)], recovers=True, harmless=True, left_over="other"
    ),
    "another file": Fault(lambda f, at: [good(f.other)], error=ChecksumError),
    "another file from an offset on": Fault(lambda f, at: [good(f.data[:at] + f.other[at:])], error=ChecksumError),
    "one bit": Fault(lambda f, at: [good(_flipped(f.data, at))], error=ChecksumError),
    # The server is busy, away, or sends us elsewhere.
    "404": Fault(lambda f, at: [status("404 Not Found")]),
    "429": Fault(lambda f, at: [status("429 Too Many Requests", Retry_After="3")], recovers=True),
    "503": Fault(lambda f, at: [status("503 Busy", Retry_After="3")], recovers=True),
    "a login page": Fault(lambda f, at: [body(PAGE, Content_Type=HTML, Content_Length=len(PAGE))]),
    "a login page without length": Fault(lambda f, at: [body(PAGE, Content_Type=HTML)]),
    "redirected in a circle": Fault(lambda f, at: [server_side.redirect("/model")]),
    "redirected to a file": Fault(lambda f, at: [server_side.redirect("file:///etc/passwd")]),
    "redirected to nowhere": Fault(lambda f, at: [body(b"", line="302 Found", Content_Length=0)]),
}
PASSING = [name for name, fault in FAULTS.items() if fault.recovers and not fault.left_over]

SILENT = ("stalled", "never answers")  # each try of these costs the stall limit

every_fault = pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, id=name, marks=[pytest.mark.full] * (name in SILENT)) for name, fault in FAULTS.items()],
)


def offsets(form: Form, fault: Fault | None = None) -> tuple[int, ...]:
    """Near the ends, at a block's border, in an archive's middle."""
    middle = len(form.data) * 2 // 3
    return (middle,) if fault in map(FAULTS.get, SILENT) else (262_144, middle, 1, len(form.data) - 1)


def play(desk: Desk, server: FaultServer, form: Form, fault: Fault, at: int) -> str:
    """Set the scene of an offset; the URL at which the fault waits."""
    desk.partial.remove_file(missing_ok=True)
    (desk.tree / "model.part.meta").remove_file(missing_ok=True)
    if fault.left_over:
        desk.left_over(getattr(form, fault.left_over)[:at], of=form.data)
    return server.url("/model", *fault.acts(form, at))


@both_paths
@every_form
@every_fault
def test_a_fault_that_passes(patient: Desk, server: FaultServer, form: Form, fault: Fault, threaded: bool) -> None:
    """Whatever fails once, wherever: the files are right in the same run, or the error says why not and the next is."""
    for at in offsets(form, fault):
        url = play(patient, server, form, fault, at)
        server.acts["/model"].append(good(form.data, '"new"'))
        error = patient.outcome(form, form.artefact(url), threaded=threaded)
        assert error is None or not fault.recovers, (at, error)
        assert patient.outcome(form, form.artefact(url), threaded=threaded) is None, at


@both_paths
@every_form
@every_fault
def test_a_fault_that_stays(patient: Desk, server: FaultServer, form: Form, fault: Fault, threaded: bool) -> None:
    """A server that stays wrong never gets its bytes installed, and a later run against a good one still succeeds."""
    hasty, steady = replace(patient.pace, rounds=1), patient.pace
    for at in offsets(form, fault)[:2]:
        url = play(patient, server, form, fault, at)
        patient.pace = steady if fault.harmless else hasty
        error = patient.outcome(form, form.artefact(url), threaded=threaded)
        assert isinstance(error, type(None) if fault.harmless else fault.error), (at, error)
        server.url("/model", good(form.data, '"new"'))
        patient.pace = steady
        assert patient.outcome(form, form.artefact(url), threaded=threaded) is None, at


@both_paths
@every_form
@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, id=name, marks=[pytest.mark.full] * (name in SILENT)) for name, fault in FAULTS.items()],
)
def test_a_fault_of_one_source(patient: Desk, server: FaultServer, form: Form, fault: Fault, threaded: bool) -> None:
    """A bad mirror, whatever it does, never keeps the good one from being used, in the same run."""
    well = server.url("/well", good(form.data, '"well"'))
    for at in offsets(form, fault)[:2]:
        url = play(patient, server, form, fault, at)
        assert patient.outcome(form, form.artefact(url, well), threaded=threaded) is None, at


@both_paths
@every_form
@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not kept"])
def test_the_sequence_of_the_issue(patient: Desk, server: FaultServer, form: Form, threaded: bool, keep: bool) -> None:
    """Reset, then 503, then a changed ETag, then good: the files are right, at whatever offsets it happens."""
    for first in offsets(form):
        for second in offsets(form)[:2]:
            acts = [
                good(form.other, '"one"', until=first, reset=True),
                status("503 Busy"),
                good(form.data, '"two"', until=second),
                good(form.data, '"two"'),
            ]
            patient.partial.remove_file(missing_ok=True)
            url = server.url("/model", *acts)
            assert patient.outcome(form, form.artefact(url), threaded=threaded, keep=keep) is None, (first, second)


@both_paths
@every_form
@pytest.mark.parametrize("chunk_bytes", [None, 100_000], ids=["whole", "chunks"])
@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 40), marks=pytest.mark.full)], ids=["few", "many"])
def test_random_sequences(
    patient: Desk, server: FaultServer, form: Form, threaded: bool, chunk_bytes: int | None, seeds: range
) -> None:
    """Up to six faults that pass, in any order and at any place, from two sources: the files are right in the end."""
    for seed in seeds:
        chance = random.Random(seed)
        names = chance.choices(PASSING, k=chance.randint(2, 6))
        acts = [act for name in names for act in FAULTS[name].acts(form, chance.randrange(len(form.data)))]
        half = chance.randint(1, len(acts))
        patient.pace = replace(patient.pace, rounds=len(acts) + EVENTUALLY)
        first = server.url("/model", *acts[:half], good(form.data))
        what = form.artefact(first, server.url("/mirror", *acts[half:], good(form.data)), chunk_bytes=chunk_bytes)
        patient.partial.remove_file(missing_ok=True)
        assert patient.outcome(form, what, threaded=threaded) is None, (seed, names)


@both_paths
@every_form
def test_bad_parts_in_a_sequence(patient: Desk, server: FaultServer, form: Form, threaded: bool) -> None:
    """With chunk hashes spoiled parts, a reset and a busy server in between still end with the right files."""
    for at in offsets(form):
        spoiled = _flipped(_flipped(form.data, at), 400_000)
        acts = [good(spoiled), status("503 Busy"), good(form.data, until=at, reset=True), good(form.data)]
        patient.partial.remove_file(missing_ok=True)
        what = form.artefact(server.url("/model", *acts), chunk_bytes=100_000)
        assert patient.outcome(form, what, threaded=threaded) is None, at


@both_paths
@every_form
@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not kept"])
def test_nothing_stays_open(desk: Desk, form: Form, threaded: bool, keep: bool) -> None:
    """Neither a success nor a failure leaves a thread or an open file behind: an upgrade has more steps to take."""

    def in_use() -> tuple[set[str], int]:
        return {thread.name for thread in threading.enumerate()}, len(os.listdir("/proc/self/fd"))

    before = in_use()
    for data in (form.data, _flipped(form.data, 300_000), form.other):
        (desk.release.path / "model").write_bytes(data)
        desk.partial.remove_file(missing_ok=True)
        error = desk.outcome(form, form.artefact("model"), threaded=threaded, keep=keep)
        assert (error is None) is (data == form.data)
        assert in_use() == before
