"""What the guard lets through and what not, against a real server on loopback."""

import shutil
import socket
import ssl
import subprocess
import time
import tracemalloc

import pytest

from roclip.data import safe_http
from roclip.data.safe_http import FetchError, Guard, fetch, is_cut_short
from tests.fixtures.webserver import picture, serving

LOCAL = Guard(loopback=True)
PUBLIC = [
    "93.184.216.34",
    "1.1.1.1",
    "172.32.0.1",
    "2606:2800:220:1::1",
    "64:ff9b::101:101",
    "2002:101:101::1",
    "::ffff:1.1.1.1",
]
PRIVATE = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.0.192", "168.63.129.16", "::ffff:168.63.129.16", "64:ff9b::a83f:8110", "2002:a83f:8110::1",
    "100.100.100.200", "fd00:ec2::254", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1",
    "64:ff9b::a00:1", "64:ff9b::7f00:1", "2002:0a00:0001::1", "2002:7f00:0001::1", "2001:db8::1", "4000::1",
]  # fmt: skip


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch):
    monkeypatch.setattr(safe_http, "WAITS", (0.01, 0.02))


def get(url: str, who: Guard = LOCAL) -> bytes:
    return fetch(url, {"User-Agent": "test"}, who)[0]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_admitted(address):
    assert Guard().admits(address)
    assert LOCAL.admits(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_all_others_are_not_and_loopback_only_when_it_is_allowed(address):
    assert not Guard().admits(address)
    assert LOCAL.admits(address) == (address in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"))


def test_an_image_arrives_as_it_is(server):
    assert get(f"{server.url}/jpg/3") == picture(3, "jpeg")
    assert get(f"{server.url}/hops/5") == get(f"{server.url}/hinted/1") == picture(1, "jpeg")
    assert get(f"{server.url}/packed/whole") == get(f"{server.url}/packed/plain") == picture(1, "jpeg")
    assert get(server.url.replace("127.0.0.1", "localhost") + "/jpg/3") == picture(3, "jpeg")


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_https_needs_a_certificate_of_a_known_authority_and_of_this_name(server, tmp_path, monkeypatch):
    certificate = tmp_path / "localhost.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=x",
        "-addext",
        "subjectAltName=DNS:localhost",
    ]
    subprocess.run([*command, "-keyout", tmp_path / "key.pem", "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    with serving(context) as secure:
        url = f"https://localhost:{secure.server_port}"
        with pytest.raises(FetchError, match="certificate: self-signed"):
            get(f"{url}/jpg/3")
        monkeypatch.setattr(safe_http, "_tls", lambda: ssl.create_default_context(cafile=certificate))
        assert get(f"{url}/jpg/3") == picture(3, "jpeg")
        assert get(f"{url}/redirect/{server.url}/jpg/2") == picture(2, "jpeg")
        with pytest.raises(FetchError, match="certificate: IP address mismatch"):
            get(f"{secure.url}/jpg/3")
        with pytest.raises(FetchError, match="more than 20 MB"):
            get(f"{url}/endless/")
        with pytest.raises(FetchError, match="not a public address"):
            get(f"{url}/jpg/3", Guard())
    with pytest.raises(FetchError, match="broken answer: SSLError"):
        get(server.url.replace("http:", "https:"))


def test_a_server_that_is_silent_when_tls_begins_has_so_many_seconds(monkeypatch):
    monkeypatch.setattr(safe_http, "SECONDS", 0.6)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(FetchError, match=r"longer than 0\.6 s|no answer in time"):
            get(f"https://127.0.0.1:{silent.getsockname()[1]}/")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"]
)
def test_no_spelling_of_this_machine_reaches_it(server, host):
    server.requests.clear()
    with pytest.raises(FetchError, match=r"not a public address|does not resolve"):
        get(f"http://{host}:{server.server_port}/jpg/1", Guard())
    assert not server.requests


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("file:///etc/passwd", "neither http nor https"),
        ("ftp://127.0.0.1/x", "neither http nor https"),
        ("gopher://127.0.0.1/x", "neither http nor https"),
        ("http://10.0.0.1/x", "not a public address"),
        ("http://169.254.169.254/latest/meta-data", "not a public address"),
        ("//192.168.0.1/x", "not a public address"),
        ("http://[fd00::1]/x", "not a public address"),
        ("http://:80/", "neither http nor https"),
        ("http://127.0.0.1:port/", "not a URL"),
    ],
)
def test_redirects_lead_nowhere_that_a_list_could_not(server, target, message):
    with pytest.raises(FetchError, match=message):
        get(f"{server.url}/redirect/{target}", Guard(loopback=True, roots=(safe_http.Path("/"),)))


@pytest.mark.parametrize("path", ["hops/6", "loop/"])
def test_the_sixth_redirect_is_not_followed(server, path):
    server.requests.clear()
    with pytest.raises(FetchError, match="more than 5 redirects"):
        get(f"{server.url}/{path}")
    assert server.requests.total() == 6


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(server, monkeypatch):
    """A name that is public when it is asked for once, and loopback ever after."""
    answers, connected = ["93.184.216.34"], []

    def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop() if answers else "127.0.0.1", port))]

    def connect(sock, address):
        connected.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", connect)
    server.requests.clear()
    for message in ("Connection refused", "not a public address"):
        with pytest.raises(FetchError, match=message):
            get(f"http://rebinding.test:{server.server_port}/jpg/1", Guard())
    assert connected == [("93.184.216.34", server.server_port)]


@pytest.mark.parametrize("path", ["hang/", "slow/", "slowheader/"])
def test_a_slow_server_has_so_many_seconds_in_all(server, monkeypatch, path):
    monkeypatch.setattr(safe_http, "SECONDS", 0.6)
    started = time.monotonic()
    with pytest.raises(FetchError, match=r"longer than 0\.6 s|no answer in time"):
        get(f"{server.url}/{path}")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "path", ["endless/", "chunked/", "trailers/", "continued/", "announced/20000001", "announced/1000000000000"]
)
def test_a_large_answer_is_left_before_it_fills_the_memory(server, path):
    tracemalloc.start()
    with pytest.raises(FetchError, match="more than 20 MB"):
        get(f"{server.url}/{path}")
    peak = tracemalloc.get_traced_memory()[1]  # the server's pieces are in it
    tracemalloc.stop()
    assert peak < 80e6


def test_a_header_without_end_is_left(server):
    with pytest.raises(FetchError, match="broken answer: HTTPException"):
        get(f"{server.url}/manyheaders/")


@pytest.mark.parametrize(
    ("path", "message", "requests"),
    [
        ("status/404", "HTTP status 404", 1),
        ("status/503", "HTTP status 503", 3),
        ("part/206", "HTTP status 206", 1),
        ("part/204", "HTTP status 204", 1),
        ("packed/half", "body cut short", 3),
        ("packed/broken", "broken answer: gzip", 1),
        ("packed/bomb", "more than 20 MB", 1),
        ("busy/3", "HTTP status 503", 3),
        ("short/", "body cut short", 3),
        ("garbage/", "broken answer: BadStatusLine", 1),
        ("chunk/-1", "broken answer: a chunk of negative length", 1),
        ("chunk/-5", "broken answer: a chunk of negative length", 1),
        ("chunk/zz", "connection lost", 3),
        (f"length/{'9' * 5000}", "more than 20 MB", 1),
        (f"length/{'0' * 5000}20000001", "more than 20 MB", 1),
    ],
)
def test_a_retry_is_made_where_it_may_help(server, path, message, requests):
    server.requests.clear()
    with pytest.raises(FetchError, match=message):
        get(f"{server.url}/{path}")
    assert server.requests.total() == requests


def test_a_jpeg_that_comes_cut_short_is_asked_for_again_and_left_to_the_decoder(server):
    server.requests.clear()
    assert get(f"{server.url}/cut/") == picture(1, "jpeg")[:-400]
    assert server.requests.total() == 3


def test_a_server_that_was_busy_twice_gives_its_image(server):
    assert get(f"{server.url}/busy/2") == picture(1, "jpeg")


@pytest.mark.parametrize(
    "url", ["", "x", "http://", "https://", "http://[::1", "http://a b/", "http://" + "a" * 70 + ".x/", "data:,x"]
)
def test_what_is_no_url_is_one_of_few_messages(url):
    with pytest.raises(FetchError, match=r"not a URL|neither http nor https|does not resolve|broken answer"):
        get(url)


def test_spaces_and_letters_of_other_alphabets_are_quoted(server):
    server.requests.clear()
    assert get(f"{server.url}/page/1 é?a=%20|b#part").startswith(b"<html>")
    assert list(server.requests) == ["/page/1%20%C3%A9?a=%20%7Cb"]


def test_a_redirect_s_letters_are_sent_back_as_the_bytes_that_they_came_as(server):
    server.requests.clear()
    assert get(f"{server.url}/rawredirect/").startswith(b"<html>")
    assert list(server.requests) == ["/rawredirect/", "/page/%C3%A9"]


def test_a_name_in_other_letters_is_resolved_and_checked_like_any(server):
    """As with the names of other alphabets, what is asked for is what IDNA makes of it: localhost."""
    url = server.url.replace("127.0.0.1", "lo\uff43alhost") + "/jpg/3"
    assert get(url) == picture(3, "jpeg")
    with pytest.raises(FetchError, match="not a public address"):
        get(url, Guard())


def test_files_are_read_inside_the_roots_only(tmp_path):
    root, other = tmp_path / "data", tmp_path / "data2"
    for folder in (root, other):
        folder.mkdir()
        (folder / "a b.txt").write_bytes(b"here")
    (root / "link").symlink_to(other / "a b.txt")
    (root / "large").write_bytes(bytes(20_000_001))
    inside = Guard(roots=(root,))
    assert get((root / "a b.txt").as_uri(), inside) == b"here"
    for url, message in [
        ((other / "a b.txt").as_uri(), "outside"),
        (f"file://{root}/../data2/a%20b.txt", "outside"),
        (f"file://{root}/%2e%2e/data2/a%20b.txt", "outside"),
        (f"file://{root}/link", "outside"),
        ("file:///etc/passwd", "outside"),
        ("file:etc/passwd", "outside"),
        (f"file://elsewhere{root}/link", "another machine"),
        (f"file://{root}/absent", "no such file"),
        (f"file://{root}", "no such file"),
        (f"file://{root}/large", "more than 20 MB"),
    ]:
        with pytest.raises(FetchError, match=message):
            get(url, inside)
    with pytest.raises(FetchError, match="outside"):
        get((root / "a b.txt").as_uri(), Guard(loopback=True))


def test_every_jpeg_that_was_cut_in_its_scan_is_noticed():
    whole = picture(2, "jpeg")
    start = whole.rfind(b"\xff\xda")
    assert not is_cut_short(whole)
    assert not is_cut_short(whole + b"what some cameras append")
    assert all(is_cut_short(whole[:length]) for length in range(start + 2, len(whole)))
    assert not is_cut_short(picture(2, "png"))
