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

from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from roclip.core.options import flags
from roclip.data import download
from roclip.data.download import DownloadOptions
from roclip.data.images import decode, decode_crop
from roclip.data.url_list import SPLITS, TEXT, words
from tests.conftest import ROOT
from tests.data.test_shards import write_shard
from tests.fixtures.webserver import picture, serving, wait_until

COLUMNS = ("split", "url", "caption", "label")
CAPTIONS = ["NA", "null", "nan", "", 'a "quoted", caption']


@pytest.fixture
def server():
    with serving() as server:
        yield server


def settings(tmp_path, **changes) -> dict:
    return {
        "url_list": (str(tmp_path / "urls.tsv"),), "tables": (), "data": tmp_path / "data", "image_size": 32,
        "image_format": "png", "output_format": "files",
        "max_bad_fraction": 0.0, "allow": ("loopback",), "distributor": "multiprocessing",
    } | changes  # fmt: skip


def four_lists(tmp_path, **urls: list[str]) -> tuple[str, ...]:
    """Lists in CC3M's form; the text of row n of a split is `split n`."""
    for split, listed in urls.items():
        rows = [f"{split} {n}\t{url}\n" for n, url in enumerate(listed)]
        (tmp_path / f"{split}.tsv").write_text("".join(rows))
    return tuple(words({split: str(tmp_path / f"{split}.tsv") for split in SPLITS}))


def reds(content) -> int:
    with Image.open(content) as image:
        return image.convert("RGB").getpixel((4, 4))[0]


@pytest.mark.slow
def test_good_images_come_in_the_order_of_the_list_and_bad_ones_are_counted(tmp_path, server, caplog):
    caplog.set_level(logging.INFO)
    good = [f"{server.url}/png/{n}" for n in range(9, -1, -1)]
    good[5] = f"{server.url}/oddpng/4"
    bad = [
        f"{server.url}/{path}"
        for path in ("status/404", "status/404", "page/x.jpg", "cutpng/", "cut/x.jpg", "endless/", "announced/30000000",
                     "redirect/file:///etc/passwd", "redirect/http://10.0.0.1/", "loop/", "refuse/", "bomb/")
    ] + ["http://192.168.0.1/", "file:///etc/passwd", (tmp_path / "urls.tsv").as_uri(), "nothing", ""]  # fmt: skip
    names = good[:3] + bad + good[3:]
    rows = [{"split": "train", "url": url, "caption": CAPTIONS[n % 5], "label": ""} for n, url in enumerate(names)]
    rows[4:4] = [{"split": s, "url": f"{server.url}/png/11", "caption": "c", "label": "l"} for s in SPLITS[1:]]
    write_table(tmp_path / "urls.tsv", COLUMNS, rows)
    total, share = len(rows), len(bad) / len(names)
    options = DownloadOptions(**settings(tmp_path, max_bad_fraction=share, output_format="webdataset"))
    download.run(options)
    assert "urls.tsv, row 4: no image from" in caplog.text
    for message, count in {
        "HTTP status 404": 2, "more than 20 MB": 2, "JPEG cut short": 1, "neither http nor https": 1, "not a public address": 2,
        "more than 5 redirects": 1, "file outside the folder of its list": 2, "unknown url type: '...'": 2,
        "Use of image disallowed by X-Robots-Tag directive": 1, "Image decoding error": 2, "OpenCV": 1,
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
    assert download.faults(shards, strict.max_bad_fraction) == {shards[2]: "17 of 27 URLs failed"}
    assert not download.faults(shards, 17 / 27)


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

    def watch(command, progress, seconds, *rest):
        if not quiet:
            threading.Thread(target=kill_workers, args=(progress,), daemon=True).start()
        quiet.append(3.0 if not quiet else seconds)  # only the first run hangs
        return real(command, progress, quiet[-1], *rest)

    monkeypatch.setattr(download, "run_watched", watch)
    download.run(DownloadOptions(**chosen))
    assert quiet == [3.0, 120.0]
    assert "img2dataset made no progress for 120 s and was stopped" in caplog.text
    assert [row["caption"] for row in read_table(tmp_path / "data/train.csv", ("path", "caption"))] == ["train 0", "train 1"]
    assert not (tmp_path / "data/download").exists()


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_lists_of_the_embedded_kind_and_file_urls(tmp_path):
    """A relative file: URL is one in its list's folder."""
    rows = [{"split": split, "url": f"file:scenes/{split} 1.png", "caption": "c", "label": "l"} for split in SPLITS]
    rows.append({"split": "train", "url": "file:///etc/passwd", "caption": "c2", "label": ""})
    write_table(tmp_path / "urls.tsv", COLUMNS, rows)
    download.write_lists(DownloadOptions(**settings(tmp_path)), tmp_path / "list")
    assert parquet.read_table(tmp_path / "list/train.parquet").to_pylist() == [
        {"url": (tmp_path / "scenes/train 1.png").as_uri(), "row": 1, "caption": "c"},
        {"url": "file:///etc/passwd", "row": 5, "caption": "c2"},
    ]
    assert parquet.read_table(tmp_path / "list/probe.parquet")["caption"].to_pylist() == ["l"]


def test_another_list_or_setting_starts_anew_and_the_same_does_not(tmp_path):
    lists = four_lists(tmp_path, **{split: ["http://h/1"] * 5001 for split in SPLITS})
    options = DownloadOptions(**settings(tmp_path, url_list=lists))
    shards = download.plan_shards(options, tmp_path / "work")
    assert [(shard.number, shard.split, shard.rows) for shard in shards[:4]] == [
        (0, "probe", 2500), (1, "probe", 2500), (2, "probe", 1), (3, "test", 2500),
    ]  # fmt: skip
    mark = tmp_path / "work/00000.tar"

    def stays(**changes) -> bool:
        mark.touch()
        download.plan_shards(DownloadOptions(**settings(tmp_path, **{"url_list": lists, **changes})), tmp_path / "work")
        return mark.exists()

    assert stays()
    assert stays(max_bad_fraction=0.5, threads=3)
    assert not stays(image_size=33)
    assert not stays(image_size=33, allow=())
    four_lists(tmp_path, train=["http://h/2"] * 5001)
    assert not stays(image_size=33, allow=())


def made_before(tmp_path, error: str, url: str = "u") -> DownloadOptions:
    """Options of a stage whose shards are there, each with an image and a URL that failed."""
    lists = four_lists(tmp_path, **{split: ["http://h/1", "http://h/2"] for split in SPLITS})
    options = DownloadOptions(**settings(tmp_path, url_list=lists, image_format="jpg", max_bad_fraction=0.5))
    for shard in download.plan_shards(options, tmp_path / "data/download"):
        write_shard(shard.folder, {f"{shard.number}0001": picture(1, "jpeg")}, number=shard.number, error=error, url=url)
    return options


@pytest.mark.parametrize(("error", "message"), [("gone\nfor good", "gone"), ("", "no reason given")])
def test_an_error_without_text_is_counted_too(tmp_path, caplog, error, message):
    download.run(made_before(tmp_path, error))
    assert f"      4  50.0%  {message}" in caplog.text
    assert [row["caption"] for row in read_table(tmp_path / "data/train.csv", ("path", "caption"))] == ["c"]


def test_what_a_terminal_would_act_on_is_escaped_in_the_log(tmp_path, caplog):
    download.run(made_before(tmp_path, "gone\x1b[2J", "http://h/\x1b]0;title\x07\r\nerror: forged"))
    assert "no image from http://h/\\x1b]0;title\\x07\\r\\nerror: forged" in caplog.text
    assert "gone\\x1b[2J" in caplog.text
    assert all(c.isprintable() or c == "\n" for c in caplog.text)


def test_a_small_split_that_is_lost_is_not_outweighed_by_a_large_one(tmp_path):
    lists = four_lists(tmp_path, **{s: ["http://h/1"] * 4 for s in SPLITS} | {"train": ["http://h/1"] * 40})
    options = DownloadOptions(**settings(tmp_path, url_list=lists, image_format="jpg", max_bad_fraction=0.25))
    shards = download.plan_shards(options, tmp_path / "data/download")
    for shard in shards:
        bad = 2 if shard.split == "test" else 1  # of 52 images in all, 5 fail
        images = {f"{shard.number}{n:04d}": picture(1, "jpeg") for n in range(shard.rows - bad)}
        write_shard(shard.folder, images, failed=bad, number=shard.number)
    match = r"2 of 4 images of the split 'test' could not be downloaded, first in .*test\.tsv, row 9; data\.max"
    with pytest.raises(UserError, match=match):
        download.judge(options, shards)
    assert download.judge(dataclasses.replace(options, max_bad_fraction=0.5), shards) == 47


def test_what_a_kill_left_when_all_was_done_does_not_stop_the_next_run(tmp_path):
    options = made_before(tmp_path, "gone")
    (tmp_path / "data/download.done").mkdir()
    (tmp_path / "data/download.done/00000.tar").touch()
    download.run(options)
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"images", *(f"{split}.csv" for split in SPLITS)}


def test_a_list_without_a_split_is_refused(tmp_path):
    write_table(tmp_path / "urls.tsv", COLUMNS, [{"split": "train", "url": "u", "caption": "", "label": ""}])
    with pytest.raises(UserError, match=r"urls\.tsv: no row of the split '"):
        download.run(DownloadOptions(**settings(tmp_path)))


def test_a_distributor_that_is_not_installed_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data\.distributor: pyspark is not installed; `pip install pyspark`"):
        download.run(DownloadOptions(**settings(tmp_path, distributor="pyspark")))


def test_splits_on_this_disk_are_taken_over_and_the_others_fetched(tmp_path, scenes, caplog):
    """Shards that img2dataset wrote, open_clip's and RoCLIP's tables, and a list of the one split that is left."""
    shards = tmp_path / "cc3m"
    shards.mkdir()
    captions = {f"000{n}": CAPTIONS[n] for n in range(3)}
    with tarfile.open(shards / "00000.tar", "w") as tar:
        for key, caption in captions.items():
            for suffix, content in (("jpg", picture(int(key), "jpeg")), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    (tmp_path / "open_clip.csv").write_text("filepath\ttitle\na.jpg\tA, b\n")
    write_table(tmp_path / "test.csv", ("label", "path"), [{"label": "l", "path": "t.png"}])
    write_table(tmp_path / "urls.tsv", COLUMNS, [{"split": s, "url": "file:a.png", "caption": s, "label": s} for s in SPLITS])
    (tmp_path / "a.png").write_bytes(picture(3, "png"))
    chosen = settings(
        tmp_path, allow=("file",),
        tables=(f"train={shards}", f"validation={tmp_path}/open_clip.csv", f"test={tmp_path}/test.csv"),
    )  # fmt: skip
    download.run(DownloadOptions(**chosen))
    data = tmp_path / "data"
    train = read_table(data / "train.csv", ("path", "caption"))
    assert [row["caption"] for row in train] == CAPTIONS[:3]
    assert [reds(io.BytesIO(picture(n, "jpeg"))) for n in range(3)] == [decode(r["path"], 43)[4, 4, 0] for r in train]
    assert read_table(data / "validation.csv", ("path", "caption")) == [{"path": "a.jpg", "caption": "A, b"}]
    assert read_table(data / "test.csv", ("path", "label")) == [{"path": "t.png", "label": "l"}]
    (probe,) = read_table(data / "probe.csv", ("path", "label"))
    assert probe["label"] == "probe"
    assert decode(probe["path"], 32)[4, 1, 0] == 60

    everything = tuple(f"{split}={data}/{split}.csv" for split in SPLITS)
    again = dataclasses.replace(DownloadOptions(**chosen), url_list=(), tables=everything, data=tmp_path / "again")
    download.run(again)
    assert all((tmp_path / f"again/{s}.csv").read_bytes() == (data / f"{s}.csv").read_bytes() for s in SPLITS)
    with pytest.raises(UserError, match=r"the split 'probe' is neither in data\.url_list nor in data\.tables"):
        download.run(dataclasses.replace(again, tables=everything[:3]))
    (data / "train.csv").write_text("path,caption\n")
    with pytest.raises(UserError, match=r"train\.csv: no rows; the split 'train' needs some"):
        download.run(again)
