"""Fetching one file from an untrusted URL, safe against server-side request forgery (SSRF).

http and https only, to public addresses only, at most 20 MB (an answer's header and framing included), 30 s and 5 redirects.
A name is resolved once for each connection, and the address that was checked is the one that is connected to, so neither a
redirect nor a name that resolves differently the second time (DNS rebinding) leads elsewhere. Proxies of the environment are
not used, because a proxy would resolve the name itself and the address could not be checked.
"""

import functools
import http.client
import io
import ipaddress
import socket
import ssl
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import url2pathname

BYTES = 20_000_000
SECONDS = 30.0  # of a file, with its redirects and retries
REDIRECTS = 5
CONNECT_SECONDS = 10.0  # to one of a name's addresses, so that a dead one leaves time for the next
WAITS = (1.0, 4.0)  # seconds before each retry
TOO_LARGE = f"more than {BYTES // 10**6} MB"
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that a retry may cure
WHOLE = {200, 203}  # HTTP statuses of a whole file; 206 is a part of one, which nobody asked for, and 204 none
GZIP = b"\x1f\x8b"
NAT64 = ipaddress.ip_network("64:ff9b::/96")
PROTOCOLS = ipaddress.ip_network("192.0.0.0/24")  # a cloud's metadata was there; older Pythons take most of it for public
CLOUDS = (  # services of a cloud's own on public addresses, which answer to its machines alone: Azure's with secrets
    ipaddress.ip_address("168.63.129.16"),
)
UNQUOTED = "!#$%&'()*+,/:;=?@[]~"  # lists hold spaces and letters that are no ASCII; the rest of a URL stays as it is


class FetchError(OSError):
    """Why a URL gave no file; one of few messages, so that they can be counted. `passing`: a retry may help."""

    def __init__(self, message: str, passing: bool = False):
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True)
class Guard:
    """What is allowed beyond public addresses: loopback, and file: URLs inside any of the folders `roots`."""

    loopback: bool = False
    roots: tuple[Path, ...] = ()

    def admits(self, address: str) -> bool:
        """Whether a numeric IPv4 or IPv6 address may be connected to."""
        ip = ipaddress.ip_address(address)
        inner = None
        if ip.version == 6:  # an IPv4 address may hide in it
            inner = ip.ipv4_mapped or ip.sixtofour or (ip in NAT64 and ipaddress.ip_address(int(ip) & 0xFFFFFFFF)) or None
        if self.loopback and (ip.is_loopback or (ip.version == 6 and ip.ipv4_mapped and ip.ipv4_mapped.is_loopback)):
            return True
        if inner is not None and not self._is_public(inner):
            return False
        return inner is not None or self._is_public(ip)

    @staticmethod
    def _is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        if ip in PROTOCOLS or ip in CLOUDS or ip.is_multicast or ip.is_reserved or getattr(ip, "is_site_local", False):
            return False
        return ip.is_global


def _left(deadline: float) -> float:
    """Seconds until `deadline` on the monotonic clock. Raises FetchError when none are left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise FetchError(f"longer than {SECONDS:g} s")
    return left


def connect(host: str, port: int, deadline: float, guard: Guard) -> socket.socket:
    """A connection to the first address of `host` that is allowed and answers. Raises OSError."""
    fault: OSError = FetchError("no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if not guard.admits(str(address[0])):
            fault = FetchError("not a public address")
            continue
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(min(CONNECT_SECONDS, _left(deadline)))
            sock.connect(address)  # the very address that was checked
            return sock
        except OSError as error:
            sock.close()
            fault = error
    raise fault


class _Stream(io.RawIOBase):
    """A socket as a raw stream that ends at the deadline, and after so many bytes, whatever is being read.

    http.client keeps no account of what it reads beside the body, and of the body neither where a chunk has a negative length.
    """

    def __init__(self, sock: socket.socket, deadline: float):
        self._sock, self._deadline, self._bytes = sock, deadline, 0
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._deadline))
        count = self._raw.readinto(buffer)
        self._bytes += count or 0
        if self._bytes > BYTES:
            raise FetchError(TOO_LARGE)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **settings: Any):
        super().__init__(sock, *args, **settings)
        self.fp.close()
        self.fp = io.BufferedReader(_Stream(sock, deadline))

    def _read_status(self) -> tuple[str, int, str]:
        """Of the answer itself: what a server says before it, as 103 with early hints, is passed over like 100."""
        version, status, reason = super()._read_status()
        return version, http.client.CONTINUE if 101 < status < 200 else status, reason

    def _read_next_chunk_size(self) -> int:
        size = super()._read_next_chunk_size()
        if size < 0:  # http.client would read on to the end, or fail in a way of its own
            raise FetchError("broken answer: a chunk of negative length")
        return size


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Connection(http.client.HTTPConnection):
    """A connection through the guard, with TLS for https."""

    def __init__(self, scheme: str, host: str, port: int | None, deadline: float, guard: Guard):
        self.default_port = http.client.HTTPS_PORT if scheme == "https" else http.client.HTTP_PORT
        super().__init__(host, port or self.default_port)
        self._secure, self._deadline, self._guard = scheme == "https", deadline, guard
        self.response_class = functools.partial(_Response, deadline=deadline)

    def connect(self) -> None:
        self.sock = connect(self.host, self.port, self._deadline, self._guard)
        self.sock.settimeout(_left(self._deadline))
        if self._secure:
            self.sock = _tls().wrap_socket(self.sock, server_hostname=self.host)


def _read_file(url: str, guard: Guard) -> bytes:
    """The content of a file: URL inside one of the guard's folders, whatever links lie on the way."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise FetchError("file of another machine")
    path = Path(url2pathname(parts.path)).resolve()
    if not any(path.is_relative_to(root.resolve()) for root in guard.roots):
        raise FetchError("file outside the folder of its list")
    if not path.is_file():
        raise FetchError("no such file")
    with path.open("rb") as file:
        body = file.read(BYTES + 1)
    if len(body) > BYTES:
        raise FetchError(TOO_LARGE)
    return body


def _read_body(response: http.client.HTTPResponse) -> bytes:
    announced = response.headers.get("Content-Length", "").strip().lstrip("0") or "0"
    if response.chunked or not (announced.isascii() and announced.isdecimal()):
        announced = "0"
    if len(announced) > len(str(BYTES)) or int(announced) > BYTES:
        raise FetchError(TOO_LARGE)
    length = int(announced)
    body = bytearray()
    while piece := response.read(1 << 16):
        body += piece
    if len(body) < length:
        raise FetchError("body cut short", passing=True)
    packed = body.startswith(GZIP) and "gzip" in response.headers.get("Content-Encoding", "").lower()
    return _unpacked(body) if packed else bytes(body)


def _unpacked(body: bytes) -> bytes:
    """What a server compressed in transit, as some do unasked. Raises FetchError for what is broken or too large."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        whole = unpacker.decompress(body, BYTES + 1)
    except zlib.error:
        raise FetchError("broken answer: gzip") from None
    if len(whole) > BYTES:
        raise FetchError(TOO_LARGE)
    if not unpacker.eof:
        raise FetchError("body cut short", passing=True)
    return whole


def _follow(url: str, headers: Mapping[str, str], deadline: float, guard: Guard) -> tuple[bytes, Message]:
    """Body and header of what a URL leads to."""
    if url.startswith("file:"):
        return _read_file(url, guard), Message()
    for _ in range(REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FetchError("neither http nor https")
        connection = _Connection(parts.scheme, parts.hostname, parts.port, deadline, guard)
        try:
            selector = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            connection.request("GET", quote(selector, safe=UNQUOTED), headers={**headers, "Connection": "close"})
            response = connection.getresponse()
            if response.status in (301, 302, 303, 307, 308) and (target := response.headers.get("Location")):
                url = urljoin(url, quote(target, safe=UNQUOTED, encoding="iso-8859-1"))  # the bytes that the server sent
                continue
            if response.status not in WHOLE:
                raise FetchError(f"HTTP status {response.status}", passing=response.status in PASSING)
            return _read_body(response), response.headers
        finally:
            connection.close()
    raise FetchError(f"more than {REDIRECTS} redirects")


def _attempt(url: str, headers: Mapping[str, str], deadline: float, guard: Guard) -> tuple[bytes, Message]:
    """As `_follow`, with every failure told as a FetchError."""
    try:
        return _follow(url, headers, deadline, guard)
    except FetchError:
        raise
    except TimeoutError:
        raise FetchError("no answer in time") from None
    except socket.gaierror as error:
        raise FetchError("name does not resolve", passing=error.errno == socket.EAI_AGAIN) from None
    except ssl.SSLCertVerificationError as error:
        raise FetchError(f"certificate: {error.verify_message}") from None
    except http.client.InvalidURL:
        raise FetchError("not a URL") from None
    except (ConnectionResetError, BrokenPipeError, http.client.IncompleteRead, ssl.SSLEOFError):
        raise FetchError("connection lost", passing=True) from None
    except (ssl.SSLError, http.client.HTTPException) as error:
        raise FetchError(f"broken answer: {type(error).__name__}") from None
    except OSError as error:
        raise FetchError(error.strerror or type(error).__name__) from None
    except ValueError:  # a port that is no number, a host that IDNA refuses
        raise FetchError("not a URL") from None


def is_cut_short(body: bytes) -> bool:
    """Whether a JPEG ends before its end-of-image marker, as after a connection that was lost.

    Inside of a scan the byte FF is followed by 00 or a restart marker (ITU T.81, B.1.1.5), so the marker is no chance find.
    """
    return body.startswith(b"\xff\xd8") and body.rfind(b"\xff\xd9") < body.rfind(b"\xff\xda")


def fetch(url: str, headers: Mapping[str, str], guard: Guard) -> tuple[bytes, Message]:
    """Body and header of a URL, after retries with growing waits where they may help. Raises FetchError.

    A JPEG that comes cut short each time is returned: the decoder judges it as it judges files.
    """
    deadline = time.monotonic() + SECONDS
    for wait in (*WAITS, None):
        fault = None
        try:
            body, answer = _attempt(url, headers, deadline, guard)
        except FetchError as error:
            if not error.passing:
                raise
            fault = error
        over = wait is None or deadline - time.monotonic() <= wait
        if fault is None and (over or url.startswith("file:") or not is_cut_short(body)):
            return body, answer
        if over:
            raise fault
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")
