"""The download stage on a real server and real files: order, gate, and nothing opened outside the data folder."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from roclip import download
from roclip.download import DownloadOptions, absolute
from roclip.errors import UserError
from roclip.tables import read_table, write_table

COLUMNS = ("split", "url", "caption", "label")
CAPTIONS = ["NA", "null", "nan", "", 'a "quoted", caption']


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "www"
    folder.mkdir()
    for n in range(12):
        Image.new("RGB", (64, 48), (20 * n, 0, 0)).save(folder / f"{n}.png")
    (folder / "page.png").write_text("<html>not an image</html>")
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:60])
    running = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join(5)


def run(tmp_path, names, server, max_bad_fraction):
    rows = [
        {"split": "train", "url": f"{server}/{name}", "caption": CAPTIONS[n % 5], "label": ""} for n, name in enumerate(names)
    ]
    rows += [{"split": s, "url": f"{server}/11.png", "caption": "c", "label": "l"} for s in ("validation", "test", "probe")]
    write_table(tmp_path / "urls.tsv", COLUMNS, rows)
    download.run(
        DownloadOptions(
            url_list=tmp_path / "urls.tsv", data=tmp_path / "data", image_size=32, image_format="png",
            max_bad_fraction=max_bad_fraction,
        )
    )  # fmt: skip
    return read_table(tmp_path / "data/train.csv", ("path", "caption"))


@pytest.mark.slow
def test_good_images_come_in_the_order_of_the_list_and_bad_ones_are_reported(tmp_path, server, caplog):
    names = [f"{n}.png" for n in range(9, -1, -1)]
    names[3:3] = ["absent.png", "page.png", "cut.png"]
    rows = run(tmp_path, names, server, 0.3)
    assert [row["caption"] for row in rows] == [CAPTIONS[n % 5] for n in range(len(names)) if n not in (3, 4, 5)]
    reds = []
    for row in rows:
        with Image.open(row["path"]) as image:
            assert image.size == (43, 32)
            reds.append(image.convert("RGB").getpixel((0, 0))[0])
    assert reds == [20 * n for n in range(9, -1, -1)]
    assert "row 4: no image from" in caplog.text
    assert not (tmp_path / "data/download").exists()


@pytest.mark.slow
def test_too_many_failures_end_the_run_and_leave_no_table(tmp_path, server):
    with pytest.raises(
        UserError, match=r"2 of 7 images could not be downloaded, first row 1; data.max_bad_fraction allows 0.1"
    ):
        run(tmp_path, ["gone.png", "page.png", "1.png", "2.png"], server, 0.1)
    assert not (tmp_path / "data/train.csv").exists()


def test_file_urls_stay_inside_the_folder_of_their_list(tmp_path):
    assert absolute("file:scenes/a.png", tmp_path) == (tmp_path / "scenes/a.png").resolve().as_uri()
    assert absolute("http://example.org/a.png", tmp_path) == "http://example.org/a.png"
    (tmp_path / "link").symlink_to("/etc")
    for outside in ("file:../a.png", "file:///etc/passwd", "file:link/passwd"):
        with pytest.raises(UserError, match="must stay inside"):
            absolute(outside, tmp_path)


def test_a_list_without_a_split_is_refused(tmp_path):
    write_table(tmp_path / "urls.tsv", COLUMNS, [{"split": "train", "url": "u", "caption": "", "label": ""}])
    options = DownloadOptions(
        url_list=tmp_path / "urls.tsv", data=tmp_path / "data", image_size=32, image_format="png", max_bad_fraction=0
    )
    with pytest.raises(UserError, match="no row of the split 'validation'"):
        download.run(options)
