"""A server on loopback that behaves as badly as servers do: a path says how."""

import io
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import numpy as np
from PIL import Image


def picture(n: int, kind: str, side: tuple[int, int] = (64, 48)) -> bytes:
    """An image of which the corner's red value tells `n`, with noise in it, so that its file has some length."""
    pixels = np.random.default_rng(n).integers(0, 255, (side[1], side[0], 3), dtype=np.uint8)
    pixels[:16, :16] = (20 * n, 0, 0)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"quality": 95} if kind == "jpeg" else {}))
    return file.getvalue()


def chunk(kind: bytes, content: bytes, error: int = 0) -> bytes:
    """A chunk of a PNG, whose checksum may be in error."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) ^ error)


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, body: bytes, kind: str = "image/jpeg", status: int = 200, length: int | None = None, **headers: str):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def drip(self, piece: bytes, pause: float):
        while not self.server.stopping.wait(pause):
            self.wfile.write(piece)

    def do_GET(self):
        self.server.requests[self.path] += 1
        what, _, rest = self.path.lstrip("/").partition("/")
        with suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, what)(unquote(rest.partition("?")[0]))
        self.close_connection = True

    def jpg(self, name):
        self.answer(picture(int(name), "jpeg"))

    def png(self, name):
        self.answer(picture(int(name), "png"))

    def held(self, name):
        """As jpg, but those above 3 wait for `release`."""
        if int(name) > 3:
            self.server.waiting.set()
            self.server.release.wait(60)
        self.jpg(name)

    def page(self, _):
        self.answer(b"<html>not an image</html>")

    def cut(self, _):
        self.answer(picture(1, "jpeg")[:-400])

    def cutpng(self, _):
        self.answer(picture(1, "png")[:-400])

    def oddpng(self, name):
        """A small PNG with a remark whose checksum is wrong: OpenCV reads it, Pillow does not."""
        body = picture(int(name), "png", (30, 24))
        self.answer(body[:33] + chunk(b"tEXt", b"Comment\0x", error=1) + body[33:])

    def bomb(self, _):
        """A PNG that says of itself that it has 41 million pixels."""
        body = picture(1, "png")
        self.answer(body[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 6400, 6400, 8, 6, 0, 0, 0)) + body[33:])

    def short(self, _):
        body = picture(1, "jpeg")
        self.answer(body[:-400], length=len(body))

    def status(self, code):
        self.answer(b"sorry", status=int(code))

    def busy(self, times):
        """503 so many times, then an image."""
        if self.server.requests[self.path] <= int(times):
            self.status("503")
        else:
            self.jpg("1")

    def refuse(self, _):
        """Robots are asked to keep off."""
        self.answer(picture(1, "jpeg"), **{"X-Robots-Tag": "noai"})

    def hang(self, _):
        self.server.stopping.wait(30)

    def slow(self, _):
        self.send_response(200)
        self.end_headers()
        self.drip(b"\xff", 0.05)

    def slowheader(self, _):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        self.drip(b"x", 0.05)

    def endless(self, _):
        self.send_response(200)
        self.end_headers()
        self.drip(b"\xff" * 1_000_000, 0)

    def chunked(self, _):
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.drip(b"F4240\r\n" + b"\xff" * 1_000_000 + b"\r\n", 0)

    def negative(self, _):
        """A chunk of -1 bytes, which http.client takes for all that there is."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
        self.drip(b"\xff" * 1_000_000, 0)

    def trailers(self, _):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        self.drip(b"X-Trailer: " + b"x" * 60_000 + b"\r\n", 0)

    def continued(self, _):
        self.drip(b"HTTP/1.1 100 Continue\r\nX-Long: " + b"x" * 60_000 + b"\r\n\r\n", 0)

    def manyheaders(self, _):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.drip(b"X-Header: x\r\n" * 1000, 0)

    def rawredirect(self, _):
        """The letter é of the target as two bytes of UTF-8, as many servers send it."""
        self.wfile.write("HTTP/1.1 302 Found\r\nLocation: /page/é\r\n\r\n".encode())

    def announced(self, length):
        self.answer(b"\xff" * 1000, length=int(length))

    def hops(self, count):
        """So many redirects, then an image."""
        self.redirect(f"/hops/{int(count) - 1}" if int(count) > 1 else "/jpg/1")

    def loop(self, _):
        self.redirect("/loop/")

    def redirect(self, target):
        self.answer(b"", status=302, Location=target)

    def garbage(self, _):
        self.wfile.write(b"\x00\x01\x02 nothing of HTTP\r\n\r\n")


@contextmanager
def serving(tls: ssl.SSLContext | None = None):
    """A running server, with TLS where a context is given; it knows its `url` and counts `requests` by path."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    server.requests, server.stopping = Counter(), threading.Event()
    server.waiting, server.release = threading.Event(), threading.Event()
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.release.set()
        server.shutdown()
        server.socket.close()
        thread.join(5)


def wait_until(happens, seconds: float = 30) -> bool:
    """Whether `happens()` came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happens():
            return True
        time.sleep(0.05)
    return False
