"""fetch() where all goes well in the end: whole downloads, broken ones that go on, files and mirrors."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.content import fault_server as server_side
from tests.content.delivery_desk import DATA, OTHER, SIZE, Desk, artefact
from tests.content.fault_server import Act, FaultServer, body, chunked, good, stalled, status, truncated
from vvmigrate.content.delivery.download import Progress, discard
from vvmigrate.content.manifest import Artefact
from vvmigrate.errors import ChecksumError, RefusedError, VvmigrateError

OFFSETS = (0, 1, 999, 262_143, 262_144, 524_289, SIZE - 1)

# ---- what goes well --------------------------------------------------------------------------------------------------


def test_the_bytes_arrive_and_their_source_is_named_without_query(desk: Desk, server: FaultServer) -> None:
    """A plain download ends with the right bytes, and what is kept of the URL holds no secret."""
    url = server.url("/model", good(DATA))
    assert desk.fetch(artefact(url + "?signature=secret")) == url
    assert desk.held() == DATA
    assert b"secret" not in (desk.tree / "model.part.meta").read()


def test_a_body_without_length_arrives(desk: Desk, server: FaultServer) -> None:
    """Neither a chunked body nor one that ends with the connection needs a Content-Length."""
    for act in (chunked(DATA), body(DATA)):
        desk.fetch(artefact(server.url("/model", act)))
        assert desk.held() == DATA
        discard(desk.partial)
    assert not any(desk.tree.path.iterdir())


def test_only_identity_is_asked_for(desk: Desk, server: FaultServer) -> None:
    """No compression is offered: it would change the bytes that the SHA-256 is of."""
    desk.fetch(artefact(server.url("/model", good(DATA))))
    assert server.requests[0].headers["accept-encoding"] == "identity"
    assert "range" not in server.requests[0].headers


def test_progress_counts_whole_blocks_up_to_the_size(desk: Desk, server: FaultServer) -> None:
    """Reports, and so writes, come at the same places however the network cuts the stream."""
    desk.fetch(artefact(server.url("/model", server_side.trickling(DATA))))
    assert [(seen.phase, seen.done_bytes) for seen in desk.seen] == [
        ("download", 262_144),
        ("download", 524_288),
        ("download", SIZE),
    ]


def test_a_complete_file_is_not_asked_for_again(desk: Desk, server: FaultServer) -> None:
    """What an earlier run completed is verified from the disk, without a request."""
    desk.left_over(DATA)
    desk.fetch(artefact(server.url("/model", status("500 Never Asked"))))
    assert not server.requests
    assert desk.seen[-1] == Progress("verify", SIZE, SIZE)


# ---- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", OFFSETS)
@pytest.mark.parametrize(
    "fault",
    [truncated, stalled, lambda data, at: body(data[:at]), lambda data, at: good(data, until=at, reset=True)],
    ids=["truncated", "stalled", "no length", "reset"],
)
def test_a_broken_download_goes_on(
    desk: Desk,
    server: FaultServer,
    fault: Callable[[bytes, int], server_side.Act],
    at: int,
    request: pytest.FixtureRequest,
) -> None:
    """Whatever breaks a download, wherever: it goes on from there in the same run, and nothing comes twice."""
    desk.fetch(artefact(server.url("/model", fault(DATA, at), good(DATA))))
    assert desk.held() == DATA
    assert len(server.requests) == 2
    # A reset takes with it what was not yet read, and a busy machine may take the stall limit for over.
    exact = not {"reset", "stalled"} & set(request.node.callspec.id.split("-"))
    assert server.requests[1].start == at if exact else server.requests[1].start <= at


@pytest.mark.parametrize("at", [1, 262_144, SIZE - 1])
def test_the_next_run_goes_on(desk: Desk, server: FaultServer, at: int) -> None:
    """A partial file of an earlier run is replayed and completed, under its strong ETag."""
    url = server.url("/model", good(DATA))
    desk.left_over(DATA[:at], source=url, etag='"one"')
    desk.fetch(artefact(url))
    assert desk.held() == DATA
    assert server.requests[0].headers["range"] == f"bytes={at}-"
    assert server.requests[0].headers["if-range"] == '"one"'


def test_a_weak_etag_is_never_used(desk: Desk, server: FaultServer) -> None:
    """RFC 9110, 13.1.5: If-Range with a weak validator is not allowed, as it does not promise the same bytes."""
    url = server.url("/model", good(DATA, 'W/"weak"', until=300_000), good(DATA, 'W/"weak"'))
    desk.fetch(artefact(url))
    assert desk.held() == DATA
    assert "if-range" not in server.requests[1].headers


def test_an_etag_is_not_shown_to_another_source(desk: Desk, server: FaultServer) -> None:
    """A resume may change mirrors: the part is asked for without the first one's validator."""
    broken = server.url("/a", good(DATA, '"a"', until=100), status("404 Gone"))
    desk.fetch(artefact(broken, server.url("/b", good(DATA, '"b"'))))
    assert desk.held() == DATA
    assert server.requests[-1].headers["range"] == "bytes=100-"
    assert "if-range" not in server.requests[-1].headers


def test_a_changed_etag_begins_again(desk: Desk, server: FaultServer) -> None:
    """If the content changed between two parts, the server sends the whole, and the old part is forgotten."""
    url = server.url("/model", good(OTHER, '"old"', until=300_000), good(DATA, '"new"'))
    desk.fetch(artefact(url))
    assert desk.held() == DATA


def test_parts_of_two_contents_are_noticed(desk: Desk, server: FaultServer) -> None:
    """Without a validator the mixture has the right size; its SHA-256 gives it away, and the whole comes once more."""
    url = server.url("/model", good(OTHER, until=300_000), good(DATA))
    desk.left_over(OTHER[:100])
    desk.fetch(artefact(url))
    assert desk.held() == DATA


def test_the_meta_of_another_artefact_is_not_ours(desk: Desk, server: FaultServer) -> None:
    """When the manifest's SHA-256 changed, what was received for the old one is of no use."""
    desk.left_over(OTHER[:5000])
    (desk.tree / "model.part.meta").replace(json.dumps({"sha256": "0" * 64, "source": "", "etag": ""}).encode())
    desk.fetch(artefact(server.url("/model", good(DATA))))
    assert desk.held() == DATA
    assert "range" not in server.requests[0].headers


@pytest.mark.parametrize("meta", [b"", b"[]", b"{", b'{"sha256": 1}', b"\xff", b"[" * 50_000])
def test_a_damaged_meta_is_no_obstacle(desk: Desk, server: FaultServer, meta: bytes) -> None:
    """The validators help; when they cannot be read the download goes on without."""
    desk.left_over(DATA[:5000])
    (desk.tree / "model.part.meta").replace(meta)
    desk.fetch(artefact(server.url("/model", good(DATA))))
    assert desk.held() == DATA


@pytest.mark.parametrize("junk", [OTHER, OTHER + b"more", DATA + b"x"])
def test_a_wrong_partial_file_is_replaced(desk: Desk, server: FaultServer, junk: bytes) -> None:
    """A partial file that is full and wrong, or too long, is discarded and fetched anew."""
    desk.left_over(junk)
    desk.fetch(artefact(server.url("/model", good(DATA))))
    assert desk.held() == DATA


def test_a_file_with_two_names_is_never_cut(desk: Desk, server: FaultServer) -> None:
    """An installed raw file is a second name of the partial file: a new download must not begin in its bytes."""
    desk.left_over(OTHER)
    desk.partial.make_hard_link(desk.tree / "installed")
    desk.fetch(artefact(server.url("/model", good(DATA))))
    assert desk.held() == DATA
    assert (desk.tree / "installed").read() == OTHER


@pytest.mark.parametrize("at", [300_000, 524_288])
def test_a_bad_part_is_found_and_fetched_again(desk: Desk, server: FaultServer, at: int) -> None:
    """Where the manifest has chunk hashes, only from the first bad chunk on is fetched again."""
    step = 100_000
    parts = tuple(hashlib.sha256(DATA[i : i + step]).hexdigest() for i in range(0, SIZE, step))
    spoiled = DATA[:at] + bytes([DATA[at] ^ 1]) + DATA[at + 1 :]
    url = server.url("/model", good(spoiled), good(DATA))
    desk.fetch(replace(artefact(url), chunk_sha256=parts, chunk_bytes=step))
    assert desk.held() == DATA
    assert [request.start for request in server.requests] == [0, at // step * step]


def in_parts(url: str, step: int) -> Artefact:
    """The promised bytes, with the SHA-256 of each part."""
    parts = tuple(hashlib.sha256(DATA[i : i + step]).hexdigest() for i in range(0, SIZE, step))
    return replace(artefact(url), chunk_sha256=parts, chunk_bytes=step)


@pytest.mark.parametrize("bad", [[0], [4500], [SIZE - 1], [1, 250_000, 250_999, 599_999]], ids=str)
@pytest.mark.parametrize("threaded", [False, True])
def test_only_bad_parts_on_the_disk_are_fetched_again(
    desk: Desk, server: FaultServer, bad: list[int], threaded: bool
) -> None:
    """A whole file with flipped bits costs the parts that they lie in, and nothing more."""
    spoiled = bytearray(DATA)
    for at in bad:
        spoiled[at] ^= 1
    desk.left_over(bytes(spoiled))
    desk.fetch(in_parts(server.url("/model", good(DATA)), 1000), threaded=threaded)
    assert desk.held() == DATA
    wanted = [(at // 1000 * 1000, min(at // 1000 * 1000 + 999, SIZE - 1)) for at in dict.fromkeys(bad)]
    assert [(request.start, request.last) for request in server.requests] == list(dict.fromkeys(wanted))


def test_a_bad_part_before_the_point_of_resumption_is_mended_too(desk: Desk, server: FaultServer) -> None:
    """What follows it is kept, and the download goes on where it stopped."""
    desk.left_over(DATA[:4500] + bytes([DATA[4500] ^ 1]) + DATA[4501:9500])
    desk.fetch(in_parts(server.url("/model", good(DATA)), 1000))
    assert desk.held() == DATA
    assert [(request.start, request.last) for request in server.requests] == [(4000, 4999), (9500, None)]


@pytest.mark.parametrize("act", [good(DATA, ranges=False), good(OTHER)], ids=["no ranges", "other bytes"])
def test_a_source_that_cannot_mend_is_left(desk: Desk, server: FaultServer, act: Act) -> None:
    """The next one mends; what a source gave in vain is never kept."""
    desk.left_over(DATA[:4500] + bytes([DATA[4500] ^ 1]) + DATA[4501:])
    what = in_parts(server.url("/bad", act), 1000)
    desk.fetch(replace(what, urls=(*what.urls, server.url("/good", good(DATA)))))
    assert desk.held() == DATA
    assert [(request.target, request.start, request.last) for request in server.requests] == [
        ("/bad", 4000, 4999),
        ("/good", 4000, 4999),
    ]


def test_a_part_that_nobody_can_mend_comes_with_the_rest(desk: Desk, server: FaultServer) -> None:
    """A server without ranges gives the whole again, and the bytes are right in the end."""
    desk.left_over(DATA[:4500] + bytes([DATA[4500] ^ 1]) + DATA[4501:])
    desk.fetch(in_parts(server.url("/model", good(DATA, ranges=False)), 1000))
    assert desk.held() == DATA


# ---- files, mirrors --------------------------------------------------------------------------------------------------


def test_a_file_of_the_release_is_copied(desk: Desk) -> None:
    """A relative URL is a file below the release's home, and goes on where an earlier run stopped."""
    (desk.release.path / "models").mkdir()
    (desk.release.path / "models" / "m.gguf").write_bytes(DATA)
    desk.left_over(DATA[:1000])
    assert desk.fetch(artefact("models/m.gguf")) == "models/m.gguf"
    assert desk.held() == DATA


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "models/../../secret", "link/secret", "linked"])
def test_a_relative_name_never_leads_out_of_the_release(desk: Desk, name: str) -> None:
    """Neither `..`, nor an absolute path, nor a link leads to a file that is not the release's."""
    (desk.release.path.parent / "secret").write_bytes(DATA)
    (desk.release.path / "models").mkdir()
    (desk.release.path / "link").symlink_to("..")
    (desk.release.path / "linked").symlink_to("../secret")
    with pytest.raises(VvmigrateError):
        desk.fetch(artefact(name))
    assert not desk.partial.stat() or desk.held() == b""


@pytest.mark.parametrize("size", [0, SIZE - 1, SIZE + 1])
def test_a_file_of_another_size_is_refused(desk: Desk, size: int) -> None:
    """A file's size is compared before a byte of it is copied."""
    (desk.release.path / "m.gguf").write_bytes(bytes(size))
    with pytest.raises(ChecksumError, match=f"has {size} bytes instead of {SIZE}"):
        desk.fetch(artefact("m.gguf"))


@pytest.mark.parametrize("form", ["url", "file", "path"])
def test_the_mirror_is_asked_first(desk: Desk, server: FaultServer, tmp_path: Path, form: str) -> None:
    """VV_MODEL_MIRROR is a prefix: a URL, a file: URL, or a folder of this host."""
    (tmp_path / "a stick").mkdir()
    (tmp_path / "a stick" / "model one.gguf").write_bytes(DATA)
    mirror = server.url("/mirror/model%20one.gguf", good(DATA)).rpartition("/")[0]
    stick = tmp_path / "a stick"
    desk.mirror = {"url": mirror + "/", "file": stick.as_uri(), "path": str(stick)}[form]
    source = desk.fetch(artefact(server.url("/far/model%20one.gguf", good(DATA)) + "?x=1"))
    assert desk.held() == DATA
    assert "/far/" not in source
    assert all(request.target.startswith("/mirror/") for request in server.requests)


@pytest.mark.parametrize("mirror", ["ftp://host/x", "relative/folder", "http://", "file://otherhost/x", "http://[/"])
def test_a_mirror_of_an_unknown_kind_is_refused(desk: Desk, mirror: str) -> None:
    """A mirror that cannot be used is said before anything is asked or made."""
    desk.mirror = mirror
    with pytest.raises(RefusedError):
        desk.fetch(artefact("m.gguf"))
    assert not any(desk.tree.path.iterdir())


# ---- the disk --------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_called_so_and_the_part_stays(desk: Desk, server: FaultServer) -> None:
    """ENOSPC is a matter of the disk: no other source is asked, the figures are told, the part stays for later."""
    code = f"""
import errno, hashlib, resource, signal, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from vvmigrate.content.delivery.download import fetch
from vvmigrate.content.manifest import Artefact, Limits
from vvmigrate.errors import DeliveryError
from vvmigrate.files import Tree
import vvmigrate.content.delivery.disk as disk
disk._FULL = (errno.EFBIG,)  # a limit on a file's size stands in for a full disk, which needs root
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))
tree, artefact = Tree.open(Path({str(desk.tree.path)!r})), {artefact(server.url("/a", good(DATA)))!r}
try:
    fetch(artefact, tree / "model.part", release=tree)
except DeliveryError as error:
    print(error.message)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "300000 of 600001 bytes are there, 300001 more are needed" in done.stdout, done
    assert desk.held() == DATA[:300_000]
    assert len(server.requests) == 1
    desk.fetch(artefact(server.url("/a", good(DATA))))
    assert desk.held() == DATA


def test_the_module_is_cheap_to_import() -> None:
    """The library requests costs 93 ms of CPU time, which only a download pays."""
    names = "vvmigrate.content.delivery.download, vvmigrate.content.delivery.archive"
    code = f"import sys, {names}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"requests", "urllib3", "isal", "backports.zstd"} & set(done.stdout.split())
