"""What the download stage takes: lists, shards that are there already, splits on this disk. No server is needed."""

import dataclasses
import io
import tarfile

import pyarrow
import pyarrow.parquet as parquet
import pytest

from roclip.core.columns import QUARANTINE
from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from roclip.data import download
from roclip.data.download import DownloadOptions
from roclip.data.images import decode
from roclip.data.url_list import SPLITS
from tests.fixtures.downloads import CAPTIONS, COLUMNS, four_lists, reds, settings, write_shard
from tests.fixtures.webserver import picture


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


@pytest.mark.parametrize("content", [b"", b"{", b"xx", None])
@pytest.mark.parametrize("name", ["fingerprint.json", "train.parquet"])
def test_lists_of_a_run_that_was_stopped_are_written_again(tmp_path, name, content):
    lists = four_lists(tmp_path, **{split: ["http://h/1"] for split in SPLITS})
    options = DownloadOptions(**settings(tmp_path, url_list=lists))
    shards = download.plan_shards(options, tmp_path / "work")
    (tmp_path / "work/list" / name).unlink()
    if content is not None:
        (tmp_path / "work/list" / name).write_bytes(content)
    assert download.plan_shards(options, tmp_path / "work") == shards
    assert parquet.read_table(tmp_path / "work/list/train.parquet").num_rows == 1


def test_a_shard_is_of_its_own_part_of_the_list(tmp_path):
    """The second shard of a split is not the first one, though both have rows of its list."""
    lists = four_lists(tmp_path, **{split: [f"http://h/{n}" for n in range(2502)] for split in SPLITS})
    options = DownloadOptions(**settings(tmp_path, url_list=lists))
    second = next(shard for shard in download.plan_shards(options, tmp_path / "work") if shard.rows == 2)
    listed = parquet.read_table(tmp_path / f"work/list/{second.split}.parquet").to_pylist()

    def fault(rows: list[dict]) -> str | None:
        kept = (tmp_path / f"work/list/{second.split}.parquet").read_bytes()
        write_shard(second.folder, {}, failed=2, number=second.number, split=second.split)
        (tmp_path / f"work/list/{second.split}.parquet").write_bytes(kept)
        cells = [{"key": str(n), "status": "failed_to_download", "error_message": "gone"} | row for n, row in enumerate(rows)]
        parquet.write_table(pyarrow.Table.from_pylist(cells), second.table)
        return second.fault()

    assert fault(listed[2500:]) is None
    assert fault(listed[:2]) == "its table is of other URLs, rows or texts than the list"


def made_before(tmp_path, error: str, url: str = "u") -> DownloadOptions:
    """Options of a stage whose shards are there, each with an image and a URL that failed."""
    lists = four_lists(tmp_path, **{split: ["http://h/1", "http://h/2"] for split in SPLITS})
    options = DownloadOptions(**settings(tmp_path, url_list=lists, image_format="jpg", max_bad_fraction=0.5))
    for shard in download.plan_shards(options, tmp_path / "data/download"):
        images = {f"{shard.number}0001": picture(1, "jpeg")}
        write_shard(shard.folder, images, number=shard.number, error=error, url=url, split=shard.split)
    return options


@pytest.mark.parametrize(("error", "message"), [("gone\nfor good", "gone"), ("", "no reason given")])
def test_an_error_without_text_is_counted_too(tmp_path, caplog, error, message):
    download.run(made_before(tmp_path, error))
    assert f"      4  50.0%  {message}" in caplog.text
    listed = read_table(tmp_path / "data/quarantine.csv", QUARANTINE)
    assert [(row["path"], row["reason"]) for row in listed] == [("u", message)] * 4
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
        write_shard(shard.folder, images, failed=bad, number=shard.number, split=shard.split)
    match = r"2 of 4 images of the split 'test' could not be downloaded, first in .*test\.tsv, row 9; data\.max"
    with pytest.raises(UserError, match=match):
        download.judge(options, shards)
    assert download.judge(dataclasses.replace(options, max_bad_fraction=0.5), shards) == 47


def test_what_a_kill_left_when_all_was_done_does_not_stop_the_next_run(tmp_path):
    options = made_before(tmp_path, "gone")
    (tmp_path / "data/download.done").mkdir()
    (tmp_path / "data/download.done/00000.tar").touch()
    download.run(options)
    assert {path.name for path in (tmp_path / "data").iterdir()} - {".download.lock"} == {
        "images", "quarantine.csv", *(f"{split}.csv" for split in SPLITS),
    }  # fmt: skip


def test_a_list_without_a_split_is_refused(tmp_path):
    write_table(tmp_path / "urls.tsv", COLUMNS, [{"split": "train", "url": "file:a", "caption": "", "label": ""}])
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
    (tmp_path / "open_clip.csv").write_text(f"filepath\ttitle\n{tmp_path}/a.jpg\tA, b\n")
    write_table(tmp_path / "test.csv", ("label", "path"), [{"label": "l", "path": str(tmp_path / "a.jpg")}])
    (tmp_path / "a.jpg").write_bytes(picture(1, "jpeg"))
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
    assert read_table(data / "validation.csv", ("path", "caption")) == [{"path": f"{tmp_path}/a.jpg", "caption": "A, b"}]
    assert read_table(data / "test.csv", ("path", "label")) == [{"path": f"{tmp_path}/a.jpg", "label": "l"}]
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
