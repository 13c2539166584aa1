"""An HTTP server on loopback that misbehaves on demand.

Each path has a list of acts; every request to it plays the next one, and the last one is played again and again. An act
writes what it likes to the socket. Nothing here waits for time to pass: a stalled act waits until the client hangs up.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    target: str
    headers: Mapping[str, str]

    @property
    def start(self) -> int:
        """The first byte of its Range, 0 without one."""
        found = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("range", ""))
        return int(found[1]) if found else 0

    @property
    def last(self) -> int | None:
        """The last byte of its Range, if it names one."""
        found = re.fullmatch(r"bytes=\d+-(\d+)", self.headers.get("range", ""))
        return int(found[1]) if found else None


class Reply:
    """The server's side of one connection."""

    def __init__(self, connection: socket.socket, count: Callable[[int], None]) -> None:
        """Wrap an accepted connection; `count` is told the bytes of each piece of a body."""
        self._connection = connection
        self._count = count

    def head(self, status: str, headers: Mapping[str, object]) -> None:
        """Send a status line and headers."""
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items()), "Connection: close"]
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._connection.sendall(data)
        self._count(len(data))

    def wait_for_client(self) -> None:
        """Do nothing until the client hangs up."""
        while self._connection.recv(65536):
            pass

    def reset(self) -> None:
        """Break the connection with a TCP RST."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


Act: TypeAlias = Callable[[Reply, Request], None]


class FaultServer:
    """Plays acts; `requests` holds what was asked, in order, and `sent_bytes` counts what left in bodies."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        """Listen on a free port."""
        self.requests: list[Request] = []
        self.sent_bytes = 0
        self.acts: dict[str, list[Act]] = {}
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    def url(self, path: str, *acts: Act) -> str:
        """Let `acts` be played under a path, and return its URL."""
        self.acts[path] = list(acts)
        scheme, host = ("https", "localhost") if self._context else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self._listener.getsockname()[1]}{path}"

    def close(self) -> None:
        """Stop listening, and wait for the acts that still run."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._begin(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError):
            connection = self._context.wrap_socket(plain, server_side=True) if self._context else plain
            with connection, connection.makefile("rb") as stream:
                target = stream.readline().split(b" ")[1].decode("ascii")
                pairs = (line.decode("latin-1").split(":", 1) for line in iter(stream.readline, b"\r\n"))
                request = Request(target, {name.lower(): value.strip() for name, value in pairs})
                self.requests.append(request)
                acts = self.acts[target.partition("?")[0]]
                (acts.pop(0) if len(acts) > 1 else acts[0])(Reply(connection, self._sent), request)

    def _sent(self, size_bytes: int) -> None:
        self.sent_bytes += size_bytes


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[FaultServer]:
    """Run a server while the block runs."""
    server = FaultServer(context)
    try:
        yield server
    finally:
        server.close()


def good(
    data: bytes, etag: str = '"one"', *, ranges: bool = True, until: int | None = None, reset: bool = False
) -> Act:
    """Serve `data` as RFC 9110 says; with `until`, close the connection at that offset.

    With `reset` that close is a TCP RST: what the client has not yet read is then lost, and how much depends on luck.
    """

    def act(reply: Reply, request: Request) -> None:
        unchanged = request.headers.get("if-range", etag) == etag
        start = request.start if ranges and unchanged else 0
        if start and start >= len(data):
            reply.head("416 Range Not Satisfiable", {"Content-Range": f"bytes */{len(data)}", "Content-Length": 0})
            return
        partial = ranges and unchanged and (start > 0 or request.last is not None)
        end = len(data) if request.last is None or not partial else min(request.last + 1, len(data))
        span = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"} if partial else {}
        status = "206 Partial Content" if partial else "200 OK"
        reply.head(status, {"Content-Length": end - start, "ETag": etag, **span})
        reply.send(data[start : end if until is None else min(until, end)])
        if reset:
            reply.reset()

    return act


def status(line: str, **headers: object) -> Act:
    """Answer with this status, these headers (underscores are hyphens), and no body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda reply, _: reply.head(line, {"Content-Length": 0, **named})


def body(data: bytes, *, line: str = "200 OK", named: Mapping[str, object] | None = None, **headers: object) -> Act:
    """Answer with this body and these headers, and no others: without a length it ends with the connection."""

    def act(reply: Reply, _: Request) -> None:
        reply.head(line, {name.replace("_", "-"): value for name, value in {**(named or {}), **headers}.items()})
        reply.send(data)

    return act


def chunked(data: bytes, **headers: object) -> Act:
    """Send a chunked body in two chunks."""
    coded = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (data[:1000], data[1000:]) if part)
    return body(coded + b"0\r\n\r\n", named=headers, Transfer_Encoding="chunked")


def truncated(data: bytes, at: int) -> Act:
    """Announce everything, and close the connection early."""
    return body(data[:at], Content_Length=len(data))


def stalled(data: bytes, at: int) -> Act:
    """Announce everything, send a part, then nothing for ever."""

    def act(reply: Reply, _: Request) -> None:
        reply.head("200 OK", {"Content-Length": len(data)})
        reply.send(data[:at])
        reply.wait_for_client()

    return act


def trickling(data: bytes) -> Act:
    """Send everything, in many small pieces."""

    def act(reply: Reply, request: Request) -> None:
        reply.head("200 OK", {"Content-Length": len(data)})
        for at in range(request.start, len(data), 100):
            reply.send(data[at : at + 100])

    return act


def raw(data: bytes) -> Act:
    """Send bytes that need not be HTTP."""
    return lambda reply, _: reply.send(data)


def silent(reply: Reply, _: Request) -> None:
    """Accept the request, and never answer."""
    reply.wait_for_client()


def redirect(location: str, line: str = "302 Found") -> Act:
    """Send the client elsewhere, with an endless body that it must not read."""

    def act(reply: Reply, _: Request) -> None:
        reply.head(line, {"Location": location, "Content-Length": 1 << 40})
        reply.wait_for_client()

    return act
