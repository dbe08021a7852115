"""Any text for a URL, and any answer of a server, ends in a file or in one of few messages."""

import io
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.data import safe_http
from roclip.data.safe_http import FetchError, Guard, fetch

PARTS = st.sampled_from(
    ["http://", "https://", "file:", "file:///etc/passwd", "ftp://", "h", "[::1]", "[", "]", ":", ":80", ":99999", "@", "%00",
     "%0d%0a", "\r\n", "\x1b[31m", "/",
     "?", "#", "\\", "é", "\u2028", "\ud800", "127.0.0.1", "0x7f.1", "a" * 70, ".", "xn--", " ", "\0"]
)  # fmt: skip
URLS = st.one_of(st.text(max_size=20), st.lists(PARTS, max_size=6).map("".join))


@pytest.fixture(autouse=True)
def nothing_resolves(monkeypatch):
    def asked(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    monkeypatch.setattr(safe_http, "WAITS", ())


@given(URLS)
@settings(max_examples=300, deadline=None)
def test_any_text_is_refused_in_one_line(url):
    with pytest.raises(FetchError) as caught:
        fetch(url, {}, Guard())
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


class _Answer:
    """A connection on which a server has said all that it will say."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def makefile(self, *_, **__) -> io.BytesIO:
        return io.BytesIO(self.content)

    def settimeout(self, *_) -> None: ...

    def sendall(self, *_) -> None: ...

    def close(self) -> None: ...


LINES = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200\r\n", b"HTTP/1.1 302 x\r\n", b"HTTP/1.1 100 x\r\n", b"HTTP/9.9 -1 x\r\n", b"\r\n",
     b"0\r\n", b"-5\r\n", b"5\r\n12345\r\n", b"zz\r\n", b"9" * 5000 + b"\r\n", b"Content-Length: 5\r\n",
     b"Content-Length: -5\r\n",
     b"Content-Length: " + b"9" * 5000 + b"\r\n", b"Content-Length: \xb2\r\n", b"Content-Length: 1\r\nContent-Length: 2\r\n",
     b"Transfer-Encoding: chunked\r\n", b"Location: //[\r\n", b"Location: \x1b[31m\r\n", b"Location: file:///etc/passwd\r\n",
     b"Content-Type: \xff\0\r\n", b": x\r\n", b" x\r\n", b"\0" * 9]
)  # fmt: skip


@given(
    st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"]),
    st.lists(LINES, max_size=6),
)
@settings(max_examples=300, deadline=None)
def test_any_answer_is_a_file_or_one_line(monkeypatch_module, start, lines):
    monkeypatch_module.setattr(safe_http, "connect", lambda *_: _Answer(start + b"".join(lines)))
    try:
        body, _ = fetch("http://a/", {}, Guard())
    except FetchError as error:
        message = str(error)
        assert message.isprintable()
        assert message != "not a URL" or b"Location" in b"".join(lines)
    else:
        assert isinstance(body, bytes)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch
