"""The download stage with img2dataset, on a real server: order, limit of failures, guard, and resuming after a kill."""

import dataclasses
import io
import logging
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from PIL import Image

from roclip.core.columns import QUARANTINE
from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from roclip.core.options import flags
from roclip.data import download
from roclip.data.download import DownloadOptions
from roclip.data.images import decode_crop
from roclip.data.url_list import SPLITS, TEXT
from tests.conftest import ROOT
from tests.fixtures.downloads import CAPTIONS, COLUMNS, four_lists, reds, settings
from tests.fixtures.webserver import serving, wait_until


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.mark.slow
def test_good_images_come_in_the_order_of_the_list_and_bad_ones_are_counted(tmp_path, server, caplog):
    caplog.set_level(logging.INFO)
    good = [f"{server.url}/png/{n}" for n in range(9, -1, -1)]
    bad = [
        f"{server.url}/{path}"
        for path in ("status/404", "status/404", "page/x.jpg", "cutpng/", "cut/x.jpg", "endless/", "announced/30000000",
                     "redirect/file:///etc/passwd", "redirect/http://10.0.0.1/", "loop/", "refuse/", "bomb/", "oddpng/4")
    ] + ["http://192.168.0.1/", "file:///etc/passwd", (tmp_path / "urls.tsv").as_uri()]  # fmt: skip
    names = good[:3] + bad + good[3:]
    rows = [{"split": "train", "url": url, "caption": CAPTIONS[n % 5], "label": ""} for n, url in enumerate(names)]
    rows[4:4] = [{"split": s, "url": f"{server.url}/png/11", "caption": "c", "label": "l"} for s in SPLITS[1:]]
    write_table(tmp_path / "urls.tsv", COLUMNS, rows)
    total, share = len(rows), len(bad) / len(names)
    options = DownloadOptions(**settings(tmp_path, max_bad_fraction=share, output_format="webdataset"))
    download.run(options)
    assert "urls.tsv, row 4: no image from" in caplog.text
    listed = read_table(tmp_path / "data/quarantine.csv", QUARANTINE)
    assert sorted(row["path"] for row in listed) == sorted(bad)
    assert all(rows[int(row["number"]) - 1]["url"] == row["path"] and row["reason"] for row in listed)
    for message, count in {
        "HTTP status 404": 2, "more than 20 MB": 2, "neither http nor https": 1, "not a public address": 2,
        "more than 5 redirects": 1, "file outside the folder of its list": 2,
        "Use of image disallowed by X-Robots-Tag directive": 1,
        "no JPEG, PNG or WebP, or its header is broken": 2, "OSError: image file is truncated": 1,
        "a JPEG whose picture ends early": 1,
        "6400 x 6400 pixels, more than 40 million": 1,
    }.items():  # fmt: skip
        assert f"{count:7d} {100 * count / total:5.1f}%  {message}" in caplog.text, message

    assert server.requests["/status/404"] == 2
    table = read_table(tmp_path / "data/train.csv", ("path", "caption"))
    assert [row["caption"] for row in table] == [CAPTIONS[n % 5] for n, url in enumerate(names) if url in good]
    images = [decode_crop(row["path"], 32, (1, 0.5, 0, 0, 1), 1) for row in table]  # as the later stages read them
    assert [image[4, 4, 0] for image in images] == [20 * n for n in range(9, -1, -1)]
    with tarfile.open(tmp_path / "data/images/00002.tar") as tar:
        name = Path(table[0]["path"]).name.partition("@")[0]
        with Image.open(tar.extractfile(name)) as image:
            assert image.size == (43, 32)
    for split in SPLITS[1:]:
        (row,) = read_table(tmp_path / f"data/{split}.csv", ("path", TEXT[split]))
        assert row[TEXT[split]] == ("c" if split == "validation" else "l")

    strict = dataclasses.replace(options, max_bad_fraction=share - 0.01)
    shards = download.plan_shards(strict, tmp_path / "data/images")
    with pytest.raises(UserError, match=rf"{len(bad)} of {len(names)} images of the split 'train' could .*, row 4; data.max"):
        download.judge(strict, shards)
    # they may have been a passing trouble of the network: another run takes the shard again
    assert download.faults(shards, strict.max_bad_fraction) == {shards[2]: f"{len(bad)} of {len(names)} URLs failed"}
    assert not download.faults(shards, 18 / 28)


def processes(of: Path) -> list[int]:
    """The processes whose command line names a folder, and their workers."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(of).encode() in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            pass
    return found


@pytest.mark.slow
def test_after_a_kill_it_resumes_without_duplicates_or_half_files(tmp_path, server):
    """CC3M's lists and tar files. Shards are made in the order probe, test, train, validation; it is killed in the third."""
    urls = {split: [f"{server.url}/jpg/{n % 12}?{split}{n}" for n in range(3)] for split in SPLITS}
    urls["train"] = [f"{server.url}/held/{n}" for n in range(12)]
    chosen = settings(
        tmp_path, url_list=four_lists(tmp_path, **urls), image_format="jpg", output_format="webdataset", image_size=64
    )
    command = [sys.executable, "-m", "roclip_command", "download", *shlex.split(flags(chosen))]
    stage = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    images = tmp_path / "data/images"
    try:
        assert server.waiting.wait(180)
        assert wait_until(lambda: (images / "00002.tar").exists())
        os.kill(stage.pid, signal.SIGKILL)
    finally:
        stage.kill()
        stage.wait()
    assert wait_until(lambda: not processes(tmp_path), 10), "img2dataset outlived the stage"
    assert sorted(path.name for path in images.glob("*.json")) == ["00000_stats.json", "00001_stats.json"]
    assert not list((tmp_path / "data").glob("*.csv"))
    server.release.set()
    with open(images / "00001.tar", "r+b") as tar:  # and what was whole was cut short since
        tar.truncate(2000)

    download.run(DownloadOptions(**chosen))
    for split in SPLITS:
        table = read_table(tmp_path / f"data/{split}.csv", ("path", TEXT[split]))
        assert [row[TEXT[split]] for row in table] == [f"{split} {n}" for n in range(len(urls[split]))]
        shards = {}
        for n, row in enumerate(table):
            shard, key = row["path"].partition("@")[0].rsplit("/", 1)
            with tarfile.open(shard) as tar:
                content = tar.extractfile(key).read()
                shards.setdefault(shard, tar.getnames())
                assert tar.extractfile(key.replace(".jpg", ".txt")).read().decode() == row[TEXT[split]]
            assert abs(reds(io.BytesIO(content)) - 20 * (n % 12)) < 30
        members = [name for names in shards.values() for name in names]
        assert len(members) == len(set(members)) == 3 * len(table)
    asked = [server.requests[f"/jpg/{n}?{split}{n}"] for split in ("probe", "test", "validation") for n in range(3)]
    assert asked == [1, 1, 1, 2, 2, 2, 1, 1, 1]
    assert max(server.requests[f"/held/{n}"] for n in range(12)) == 2
    assert parquet.read_table(images / "00002.parquet").num_rows == 12

    download.run(DownloadOptions(**chosen))  # all is there: nothing is asked for again
    assert sum(server.requests.values()) == sum(asked) + sum(server.requests[f"/held/{n}"] for n in range(12))


@pytest.mark.slow
def test_a_process_that_hangs_is_stopped_and_the_rest_is_fetched(tmp_path, server, monkeypatch, caplog):
    """A worker that is killed, as when memory runs out, leaves img2dataset waiting for it forever."""
    urls = {split: [f"{server.url}/jpg/1"] for split in SPLITS} | {"train": [f"{server.url}/held/{n}" for n in (1, 4)]}
    chosen = settings(tmp_path, url_list=four_lists(tmp_path, **urls))
    real, quiet = download.run_watched, []

    def kill_workers(progress: Path):
        while not server.waiting.wait(0.5):
            progress.touch()  # a busy machine may take long to start
        for pid in processes(tmp_path):
            if b"spawn_main" in cmdline(pid):
                os.kill(pid, signal.SIGKILL)
        server.release.set()

    def watch(command, progress, seconds, start, *rest):
        if not quiet:
            threading.Thread(target=kill_workers, args=(progress,), daemon=True).start()
        quiet.append((3.0, 60.0) if not quiet else (seconds, start))  # only the first run hangs
        return real(command, progress, *quiet[-1], *rest)

    monkeypatch.setattr(download, "run_watched", watch)
    download.run(DownloadOptions(**chosen))
    assert quiet == [(3.0, 60.0), (120.0, 900.0)]
    assert "img2dataset made no progress for 120 s or more and was stopped" in caplog.text
    assert [row["caption"] for row in read_table(tmp_path / "data/train.csv", ("path", "caption"))] == ["train 0", "train 1"]
    assert not (tmp_path / "data/download").exists()


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
