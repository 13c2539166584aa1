"""nginx on loopback, and a line of 1 Gbit/s: between two network namespaces where that is possible."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

GIGABIT_BYTES_PER_S = 125_000_000
REPOSITORY, REVISION = "bench/model", "0123456789abcdef0123456789abcdef01234567"
# Addresses of documentation (RFC 5737): seen by nobody but the two namespaces.
_SERVER, _CLIENT = "192.0.2.1", "192.0.2.2"
_CONFIG = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address}:{port};
        root {root};
        {limit}
        location /{repository}/resolve/{revision}/ {{
            alias {model}/;
            etag off;
            add_header ETag '"{sha256}"';
            add_header X-Repo-Commit {revision};
        }}
    }}
}}
"""


class MissingError(Exception):
    """Something that the benchmark needs is not on this host."""


@dataclass(frozen=True)
class Server:
    """A running nginx.

    Attributes:
        base, root: the URL of what it serves, and the folder that this is.
        prefix: what a client's command begins with to reach it.
        line: how its speed is limited, in words; empty for not.
    """

    base: str
    root: Path
    prefix: tuple[str, ...] = ()
    line: str = ""

    def url(self, path: Path) -> str:
        """The URL of a file below the root."""
        return f"{self.base}/{path.relative_to(self.root)}"


@dataclass(frozen=True)
class Site:
    """What is served.

    Attributes:
        folder: for configuration and logs.
        root: what is served.
        model: the folder of the raw model, which a hub's client asks for as well.
        sha256: of that model: the hub's ETag.
    """

    folder: Path
    root: Path
    model: Path
    sha256: str


@contextmanager
def serving(site: Site) -> Iterator[Server]:
    """Serve as fast as loopback is.

    Raises:
        MissingError: there is no nginx.
    """
    with _nginx(site, "127.0.0.1", "loopback") as port:
        yield Server(f"http://127.0.0.1:{port}", site.root)


@contextmanager
def serving_at_a_gigabit(site: Site) -> Iterator[Server]:
    """Serve at 1 Gbit/s: through a shaped veth pair where namespaces can be made, else by nginx's own limit."""
    with ExitStack() as stack:
        try:
            ours, theirs = stack.enter_context(_namespaces())
        except MissingError as error:
            limit = f"limit_rate {GIGABIT_BYTES_PER_S};"
            port = stack.enter_context(_nginx(site, "127.0.0.1", "limited", limit=limit))
            yield Server(f"http://127.0.0.1:{port}", site.root, line=f"nginx limit_rate ({error})")
            return
        port = stack.enter_context(_nginx(site, _SERVER, "gigabit", prefix=theirs))
        line = "veth pair between two namespaces, tc tbf 1 Gbit/s, MTU 1500"
        yield Server(f"http://{_SERVER}:{port}", site.root, ours, line)


@contextmanager
def _nginx(site: Site, address: str, name: str, *, limit: str = "", prefix: tuple[str, ...] = ()) -> Iterator[int]:
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        raise MissingError("nginx is missing: apt-get install nginx-light")
    folder, port = site.folder / name, _free_port()
    folder.mkdir(parents=True, exist_ok=True)
    user = "user root;" if os.geteuid() == 0 else ""
    text = _CONFIG.format(
        folder=folder, root=site.root, model=site.model, sha256=site.sha256, address=address, port=port, limit=limit,
        user=user, repository=REPOSITORY, revision=REVISION,
    )  # fmt: skip
    (folder / "nginx.conf").write_text(text)
    command = [*prefix, program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command) as process:
        try:
            _wait_for(folder / "nginx.pid", process)
            yield port
        finally:
            process.terminate()


def _wait_for(pid_file: Path, process: subprocess.Popen[bytes]) -> None:
    """Nginx writes its pid after it has begun to listen."""
    for _ in range(500):
        if pid_file.exists() and pid_file.read_text().strip():
            return
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise MissingError(f"nginx does not start: see {pid_file.parent / 'error.log'}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def _namespaces() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Two network namespaces with a shaped line between them; gives the prefixes of commands that run there."""
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("tc")):
        raise MissingError("network namespaces need root, ip and tc")
    here, there = (f"vvbench-{os.getpid()}-{side}" for side in "ab")
    with ExitStack() as stack:
        for name in (here, there):
            _run("ip", "netns", "add", name)
            stack.callback(_run, "ip", "netns", "del", name)
        _run("ip", "-n", here, "link", "add", "line", "type", "veth", "peer", "name", "line", "netns", there)
        for name, address in ((here, _CLIENT), (there, _SERVER)):
            _run("ip", "-n", name, "address", "add", f"{address}/30", "dev", "line")
            _run("ip", "-n", name, "link", "set", "line", "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
            shape = ("root", "tbf", "rate", "1gbit", "burst", "256kb", "latency", "20ms")
            _run("tc", "-n", name, "qdisc", "add", "dev", "line", *shape)
        yield ("ip", "netns", "exec", here), ("ip", "netns", "exec", there)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(f"{' '.join(command[:3])}: {done.stderr.strip() or 'failed'}")
