"""fetch() and what surrounds a request: redirects, credentials, TLS, proxies."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.content import fault_server as server_side
from tests.content.delivery_desk import DATA, Desk, artefact
from tests.content.fault_server import FaultServer, good, redirect
from vvmigrate.content.delivery.download import HttpSettings, discard
from vvmigrate.errors import DeliveryError, RefusedError

if TYPE_CHECKING:
    import trustme


@pytest.mark.parametrize("line", ["301 Moved", "302 Found", "303 Other", "307 Temporary", "308 Permanent"])
def test_redirects_are_followed_and_bodies_left_alone(desk: Desk, server: FaultServer, line: str) -> None:
    """A redirect may be relative; its endless body is not read; a resume asks the first URL again."""
    final = good(DATA, until=300_000)
    server.url("/signed", final, good(DATA))
    desk.fetch(artefact(server.url("/model", redirect("/signed?x=1", line))))
    assert desk.held() == DATA
    assert [request.target for request in server.requests] == ["/model", "/signed?x=1"] * 2


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher:x", "http://[", "http://:80/", "data:,x"]
)
def test_a_redirect_out_of_the_web_is_refused(desk: Desk, server: FaultServer, location: str) -> None:
    """Only http and https are ever followed, whatever a server says."""
    with pytest.raises(DeliveryError, match="redirects to"):
        desk.fetch(artefact(server.url("/model", redirect(location))))


def test_a_redirect_loop_ends(desk: Desk, server: FaultServer) -> None:
    """Six requests are the most for one attempt."""
    with pytest.raises(DeliveryError, match="redirected more than 5 times"):
        desk.fetch(artefact(server.url("/model", redirect("/model"))))
    assert len(server.requests) == 6


def test_tls_works_with_the_given_bundle(desk: Desk, secure: FaultServer) -> None:
    """A certificate of the given authority is trusted."""
    desk.fetch(artefact(secure.url("/model", good(DATA))))
    assert desk.held() == DATA


def test_an_untrusted_certificate_is_final(desk: Desk, secure: FaultServer) -> None:
    """Without the bundle the certificate is refused once, not five times, and nothing was asked."""
    desk.settings = HttpSettings()
    with pytest.raises(DeliveryError, match="certificate is not trusted"):
        desk.fetch(artefact(secure.url("/model", good(DATA))))
    assert not secure.requests
    assert not desk.waits


def test_https_never_becomes_http(desk: Desk, secure: FaultServer, server: FaultServer) -> None:
    """A redirect from https to http is refused, and the plain server never asked."""
    plain = server.url("/model", good(DATA))
    with pytest.raises(DeliveryError, match="from https to http"):
        desk.fetch(artefact(secure.url("/model", redirect(plain + "?signature=secret"))))
    assert not server.requests


def test_a_token_goes_to_its_host_and_to_no_other(desk: Desk, secure: FaultServer, authority: trustme.CA) -> None:
    """The token is sent over https to the host it is for, and not to where that one redirects."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with server_side.serving(context) as other:
        url = secure.url("/model", redirect(other.url("/model", good(DATA))))
        hosts = {u.split("/")[2]: "secret-token" for u in (url, other.url("/model", good(DATA)))}
        desk.settings = replace(desk.settings, tokens=hosts)
        desk.fetch(artefact(url))
        assert secure.requests[0].headers["authorization"] == "Bearer secret-token"
        assert "authorization" not in other.requests[0].headers
    assert "secret-token" not in repr(desk.settings)


def test_a_token_is_not_sent_in_the_clear(desk: Desk, server: FaultServer) -> None:
    """Over http no token is sent, not even to its host."""
    url = server.url("/model", good(DATA))
    desk.settings = HttpSettings(tokens={url.split("/")[2]: "secret-token"})
    desk.fetch(artefact(url))
    assert "authorization" not in server.requests[0].headers


def test_the_environment_is_not_read(desk: Desk, server: FaultServer, monkeypatch: pytest.MonkeyPatch,
                                     tmp_path: Path) -> None:  # fmt: skip
    """Neither netrc nor proxy variables count: what counts is what the caller passes."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    desk.fetch(artefact(server.url("/model", good(DATA))))
    assert "authorization" not in server.requests[0].headers


def test_a_proxy_is_used_unless_the_host_is_excepted(desk: Desk, server: FaultServer) -> None:
    """The given proxy gets the request; hosts, domains and networks of `no_proxy` are reached directly."""
    with server_side.serving() as proxy:
        proxy_url = proxy.url("http://model.example.org/model", good(DATA)).split("http://model")[0]
        desk.settings = HttpSettings(proxies={"http": proxy_url}, no_proxy="other.org, 127.0.0.0/8,.example.net")
        desk.fetch(artefact("http://model.example.org/model"))
        discard(desk.partial)
        desk.fetch(artefact(server.url("/model", good(DATA))))
        assert len(proxy.requests) == len(server.requests) == 1


def test_a_missing_bundle_is_refused(desk: Desk) -> None:
    """A CA bundle that is not there is a setting to correct, not a network to wait for."""
    desk.settings = HttpSettings(ca_bundle="/nowhere/authority.pem")
    with pytest.raises(RefusedError, match="trusted certificates"):
        desk.fetch(artefact("https://127.0.0.1:9/model"))
