"""One GET, with nothing taken from the environment: redirects by hand, credentials only where they belong.

A `requests.Session` reads netrc over an explicit header, reads it again for the host of a redirect, keeps cookies, and
loads the body of every redirect into memory even if told not to follow it. So the adapter below it is used alone.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urldefrag, urljoin, urlsplit, urlunsplit

from vvmigrate.content.delivery.answers import REDIRECTS, Answer, AttemptError
from vvmigrate.content.delivery.lanes import within
from vvmigrate.errors import RefusedError

if TYPE_CHECKING:
    import requests

    from vvmigrate.content.delivery.pace import Pace

MAX_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class HttpSettings:
    """What the environment says about the network; read by the caller, never here.

    Attributes:
        proxies: proxy URL for each of `http` and `https`.
        no_proxy: comma-separated hosts, domains and networks that are reached directly; `*` for all.
        ca_bundle: file or directory of trusted certificates in place of the built-in ones.
        tokens: bearer token for each host, as `host` or `host:port` in lower case; sent over https only, and never
            after a redirect to another host.
    """

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    no_proxy: str = ""
    ca_bundle: str | None = None
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)

    def proxies_for(self, url: SplitResult) -> dict[str, str]:
        """The proxies as requests wants them, empty for a host that is reached directly."""
        direct = any(_covers(rule.strip().lower(), url.hostname or "") for rule in self.no_proxy.split(","))
        return {} if direct else dict(self.proxies)

    def token_for(self, url: SplitResult) -> str | None:
        """The token of this very host, if the connection hides it."""
        if url.scheme != "https":
            return None
        host, port = (url.hostname or ""), url.port or _PORTS["https"]
        return self.tokens.get(f"{host}:{port}") or (self.tokens.get(host) if port == _PORTS["https"] else None)


def _covers(rule: str, host: str) -> bool:
    try:
        if "/" in rule:
            return ip_address(host) in ip_network(rule, strict=False)
    except ValueError:
        return False
    domain = rule.lstrip(".")
    return rule == "*" or (bool(domain) and (host == domain or host.endswith("." + domain)))


def shown(url: str) -> str:
    """The URL as it may be printed and stored: a query or a user part can be a credential."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    text = urlunsplit((parts.scheme, host, parts.path, "", ""))
    return text if text.isprintable() else ascii(text)[1:-1]


def reason(error: BaseException) -> AttemptError:
    """Say what went wrong on the line.

    Never `str(error)`: the messages of requests and urllib3 quote the URL with its query.
    """
    chain = list(_chain(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return AttemptError(f"its certificate is not trusted: {cause.verify_message}", final=True)
    for cause in reversed(chain):
        if text := _words(cause):
            return AttemptError(text)
    return AttemptError(f"the connection failed ({type(error).__name__})")


def _words(cause: BaseException) -> str:
    name, text = type(cause).__name__, ""
    if isinstance(cause, socket.gaierror):
        text = "its host name was not found"
    elif isinstance(cause, TimeoutError) or "Timeout" in name:
        text = "nothing came in time"
    elif isinstance(cause, ssl.SSLError):
        text = f"TLS failed ({cause.reason})"
    elif isinstance(cause, RemoteDisconnected | IncompleteRead):
        text = "the connection was closed too early"
    elif isinstance(cause, HTTPException):
        text = f"its answer is not HTTP ({name})"
    elif isinstance(cause, OSError) and cause.errno in errno.errorcode:
        text = cause.strerror or ""
    return text


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        this = waiting.pop(0)
        if isinstance(this, BaseException) and this not in seen:
            seen.append(this)
            yield this
            waiting += [*this.args, getattr(this, "reason", None), this.__cause__, this.__context__]


class Web:
    """Asks servers; one for a whole download."""

    def __init__(self, settings: HttpSettings, pace: Pace) -> None:
        """Check what can be checked before anything is sent."""
        if settings.ca_bundle and not Path(settings.ca_bundle).exists():
            raise RefusedError("the bundle of trusted certificates is missing", path=settings.ca_bundle)
        self._settings = settings
        self._pace = pace

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[tuple[Answer, requests.Response]]:
        """Ask for a URL and follow redirects; the answer is open, its body not yet read.

        Raises:
            AttemptError: no answer, or a redirect that is refused.
        """
        first = urlsplit(url)
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(url, headers, first)
            try:
                answer = Answer(response.status_code, response.reason or "", response.headers)
                if answer.status not in REDIRECTS:
                    yield answer, response
                    return
                url = _next(url, answer)
            finally:
                response.close()
        raise AttemptError(f"redirected more than {MAX_REDIRECTS} times", final=True)

    def _send(self, url: str, headers: Mapping[str, str], first: SplitResult) -> requests.Response:
        import requests  # 93 ms of CPU time that a run without a download does not pay
        from requests.adapters import HTTPAdapter
        from urllib3.exceptions import HTTPError

        try:
            here = urlsplit(url)
            # By origin, as browsers and curl do: what the first host may know is nobody else's business.
            token = self._settings.token_for(here) if _origin(here) == _origin(first) else None
            credential = {"Authorization": f"Bearer {token}"} if token else {}
            request = requests.Request("GET", url, headers={**headers, **credential}).prepare()
            send = partial(
                HTTPAdapter(pool_connections=1, pool_maxsize=1).send,
                request,
                stream=True,
                timeout=self._pace.timeouts(),
                verify=self._settings.ca_bundle or True,
                proxies=self._settings.proxies_for(here),
            )
            # The socket's own limit begins anew with each byte.
            limit_s = min(self._pace.answer_s, self._pace.left_s())
            return within(limit_s, send, lambda late: late.close())
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, ValueError) as error:
            raise AttemptError(f"not a URL that can be asked ({type(error).__name__})", final=True) from None
        except (requests.RequestException, HTTPError, HTTPException, OSError) as error:
            raise reason(error) from None


def _origin(url: SplitResult) -> tuple[str, str, int | None]:
    return url.scheme, url.hostname or "", url.port or _PORTS.get(url.scheme)


def _next(url: str, answer: Answer) -> str:
    location = answer.headers.get("location", "")
    if not location:
        raise AttemptError(f"HTTP {answer.status} without a Location", final=True)
    try:
        # http.client decodes headers as Latin-1, servers send UTF-8.
        target = urldefrag(urljoin(url, location.encode("latin-1").decode("utf-8", "replace"))).url
        old, new = urlsplit(url), urlsplit(target)
        new_origin, host = _origin(new), new.hostname
    except ValueError:
        raise AttemptError("redirects to something that is no URL", final=True) from None
    if new.scheme not in _PORTS or not host:
        raise AttemptError(f"redirects to {new.scheme or 'nothing'}:, which is refused", final=True)
    if (old.scheme, new.scheme) == ("https", "http"):
        raise AttemptError(f"redirects from https to http ({shown(target)}), which is refused", final=True)
    if new.username is not None and new_origin != _origin(old):
        raise AttemptError(f"redirects with a credential to {shown(target)}, which is refused", final=True)
    return target
