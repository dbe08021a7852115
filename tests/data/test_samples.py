"""Shards of others: names as webdataset reads them, tars without img2dataset's notes, and what is not read is listed."""

import logging
import tarfile

import pytest
import webdataset

from roclip.core.errors import UserError
from roclip.data import pairs as pairs_module
from roclip.data.images import decode
from roclip.data.pairs import count_pairs, read_pairs
from roclip.data.samples import split_name
from tests.fixtures.shards import jpeg, write_tar


def red(path: str) -> int:
    return round(decode(path, 32)[4, 4, 0] / 20)


NAMES = [
    "a.jpg", "a.m.jpg", "a.m.txt", "a.txt", "b.JPG", "b.TXT", "c.jpeg", "c.txt", "x.y/d.PNG", "x.y/d.txt", "x.y/e.webp",
    "x.y/e.txt", "./f.jpg", "./f.txt", ".g.jpg", ".g.txt", "h.tar.gz", "x/._i.jpg", "deep/er/k.l.m.jpg", "deep/er/k.txt",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_are_cut_as_webdataset_cuts_them(name):
    key, suffix = webdataset.tariterators.base_plus_ext(name)
    if name.rpartition("/")[2].startswith("."):  # no image to either of them, under a key or not
        assert split_name(name)[0] == ""
        assert suffix not in ("jpg", "txt")
    else:
        assert split_name(name) == (key, suffix.lower())


def test_pairs_are_those_that_webdataset_groups(tmp_path):
    """Of its groups those with an image that open_clip reads, and a caption."""
    write_tar(tmp_path / "t.tar", [(name, name.encode() if "txt" in name.lower() else jpeg(1)) for name in NAMES])
    theirs = {}
    for sample in webdataset.WebDataset(str(tmp_path / "t.tar"), shardshuffle=False, empty_check=False):
        if {"jpg", "png", "jpeg", "webp"} & sample.keys() and "txt" in sample:
            theirs[sample["__key__"]] = sample["txt"].decode()
    ours = read_pairs(tmp_path)
    names = [path.split("@")[0].removeprefix(f"{tmp_path}/t.tar/") for path in ours["path"]]
    assert {split_name(name)[0]: caption for name, caption in zip(names, ours["caption"], strict=True)} == theirs
    assert sorted(names) == ["./f.jpg", "a.jpg", "b.JPG", "c.jpeg", "x.y/d.PNG", "x.y/e.webp"]


def test_what_is_not_read_is_counted_and_listed(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    plain = [("a.jpg", jpeg(1)), ("a.txt", b"a"), ("b.jpeg", jpeg(2)), ("b.txt", b"b"), ("b.json", b"{}"), ("c.jpg", jpeg(3))]
    odd = [
        ("d.jpg", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}), ("d.txt", b"d"),
        ("e.jpg", b"", {"type": tarfile.LNKTYPE, "linkname": "a.jpg"}), ("e.txt", b"e"),
        ("f.jpg", b"", {"type": tarfile.CHRTYPE}), ("f2.jpg", b"", {"type": tarfile.FIFOTYPE}),
        ("a.jpg", jpeg(4)), ("a.png", jpeg(5)), ("h.gif", b"GIF89a"), (".i.jpg", jpeg(6)),
        ("folder", b"", {"type": tarfile.DIRTYPE}), ("folder/a.m.jpg", jpeg(7)),
    ]  # fmt: skip
    write_tar(tmp_path / "00000.tar", plain + odd)
    left_out = []
    pairs = read_pairs(tmp_path, left_out=left_out)
    assert pairs["caption"] == ["a", "b"]
    assert [red(path) for path in pairs["path"]] == [4, 2]
    kinds = "what follows its first dot is none of jpg, png, jpeg, webp, txt"
    assert {(row, name): reason for _, row, name, reason in left_out} == {
        (6, "c.jpg"): "no caption", (7, "d.jpg"): "a link", (8, "d.txt"): "a caption without an image", (9, "e.jpg"): "a link",
        (10, "e.txt"): "a caption without an image", (11, "f.jpg"): "a pipe or device", (12, "f2.jpg"): "a pipe or device",
        (1, "a.jpg"): "a duplicate name; the later file is read", (14, "a.png"): "another image of its key is read",
        (15, "h.gif"): kinds, (16, ".i.jpg"): "its name begins with a dot", (18, "folder/a.m.jpg"): kinds,
    }  # fmt: skip
    assert {shard for shard, *_ in left_out} == {tmp_path / "00000.tar"}
    assert "left out 12 files: 2 a link; 2 a pipe or device; " in caplog.text
    members = [name for name, *_ in plain + odd]  # each is read, listed, img2dataset's record or a folder
    assert len(members) == 2 * len(pairs["path"]) + len(left_out) + 2


def test_a_sparse_file_is_listed(tmp_path):
    """Its bytes are not what lies in the tar; written with the header that GNU tar writes."""
    write_tar(tmp_path / "t.tar", [("a.jpg", jpeg(1)), ("a.txt", b"a"), ("b.jpg", jpeg(2)), ("b.txt", b"b")])
    content = bytearray((tmp_path / "t.tar").read_bytes())
    place = content.index(b"b.jpg\0")
    content[place + 156 : place + 157] = tarfile.GNUTYPE_SPARSE
    content[place + 386 : place + 512] = bytes(126)
    content[place + 483 : place + 495] = b"00000100000\0"
    content[place + 148 : place + 156] = b" " * 8
    content[place + 148 : place + 155] = b"%06o\0" % sum(content[place : place + 512])
    (tmp_path / "t.tar").write_bytes(content)
    left_out = []
    assert read_pairs(tmp_path, left_out=left_out)["caption"] == ["a"]
    assert [(name, reason) for _, _, name, reason in left_out] == [
        ("b.jpg", "a sparse file"), ("b.txt", "a caption without an image"),
    ]  # fmt: skip


def test_a_folder_is_read_by_the_same_names(tmp_path):
    (tmp_path / "00000/inner").mkdir(parents=True)
    files = {
        "a.JPG": jpeg(1),
        "a.txt": b"a",
        "b.m.jpg": jpeg(2),
        "b.jpeg": jpeg(3),
        "b.txt": b"b",
        "c.png": jpeg(4),
        "b.json": b"",
    }
    for name, content in files.items():
        (tmp_path / "00000" / name).write_bytes(content)
    left_out = []
    pairs = read_pairs(tmp_path, left_out=left_out)
    assert (pairs["caption"], [red(path) for path in pairs["path"]]) == (["a", "b"], [1, 3])
    assert sorted((name, reason) for _, _, name, reason in left_out) == [
        ("b.m.jpg", "what follows its first dot is none of jpg, png, jpeg, webp, txt"), ("c.png", "no caption"),
        ("inner", "a folder in a shard"),
    ]  # fmt: skip
    assert count_pairs(tmp_path) == 2


@pytest.mark.parametrize("shards", ["tars", "folders"])
def test_what_lies_beside_shards_and_may_hold_samples_is_listed(tmp_path, caplog, shards):
    names = ["00001.TAR", "00002.tar.gz", "00003.zip", "loose.jpg"]
    for name in [*names, "README.md", "00000_stats.json", "00000.parquet", "_SUCCESS", ".DS_Store"]:
        (tmp_path / name).write_bytes(b'{"successes": 1}')
    if shards == "tars":
        write_tar(tmp_path / "00000.tar", [("a.jpg", jpeg(1)), ("a.txt", b"a")])
        (tmp_path / "00004").mkdir()
        names = [*names, "00004"]
    else:
        (tmp_path / "00000").mkdir()
        (tmp_path / "00000/a.jpg").write_bytes(jpeg(1))
        (tmp_path / "00000/a.txt").write_bytes(b"a")
    left_out = []
    assert read_pairs(tmp_path, left_out=left_out)["caption"] == ["a"]
    assert {(place, name) for place, _, name, _ in left_out} == {(tmp_path, name) for name in names}
    assert f"left out {len(names)} files: {len(names)} beside the shards" in caplog.text


def test_pairs_of_shards_without_notes_are_counted(tmp_path, monkeypatch):
    for shard in range(4):  # the last image of each has no caption
        files = [(f"{shard}{n}.jpg", b"") for n in range(5)] + [(f"{shard}{n}.txt", b"a") for n in range(4)]
        write_tar(tmp_path / f"cc3m-train-{shard}.tar", files)
    assert count_pairs(tmp_path) == len(read_pairs(tmp_path)["path"]) == 16
    (tmp_path / "cc3m-train-0_stats.json").write_text('{"successes": 100}')  # one shard has a note
    assert count_pairs(tmp_path) == 100 + 12
    monkeypatch.setattr(pairs_module, "COUNTED", 8)  # of many shards the first tell of the others
    (tmp_path / "cc3m-train-3.tar").write_bytes(b"is not opened any more")
    assert count_pairs(tmp_path) == 100 + 12


def chained(depth: int) -> bytes:
    """A tar with so many headers of long names, one after the other, before a file."""
    long = tarfile.TarInfo("././@LongLink")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 10
    return (long.tobuf(tarfile.GNU_FORMAT) + b"x" * 10 + bytes(502)) * depth


def oversized(kind: bytes, size: int) -> bytes:
    """A header of a header that is larger than memory should be; the tar is sparse on the disk."""
    head = tarfile.TarInfo("long")
    head.type, head.size = kind, size
    return head.tobuf(tarfile.GNU_FORMAT)


def with_pax(words: dict[str, str], name: str = "a.jpg") -> bytes:
    member = tarfile.TarInfo(name)
    member.pax_headers = words
    return member.tobuf(tarfile.PAX_FORMAT)


@pytest.mark.parametrize(
    "words", [{"GNU.sparse.realsize": "1" + "0" * 30}, {"GNU.sparse.size": "9" * 20}, {"GNU.sparse.name": "a.png"}]
)
def test_what_says_that_it_is_sparse_is_listed(tmp_path, words):
    write_tar(tmp_path / "t.tar", [("a.txt", b"a"), ("b.jpg", jpeg(2)), ("b.txt", b"b")])
    (tmp_path / "t.tar").write_bytes(with_pax(words) + (tmp_path / "t.tar").read_bytes())
    left_out = []
    assert read_pairs(tmp_path, left_out=left_out)["caption"] == ["b"]
    assert [reason for _, _, _, reason in left_out] == ["a sparse file", "a caption without an image"]


@pytest.mark.parametrize("name", ["b.tar/c", ".tar/c", "deep/b.tar/c", "b\nc"])
def test_a_name_that_no_path_can_hold_is_listed(tmp_path, name):
    write_tar(tmp_path / "t.tar", [("a.jpg", jpeg(1)), ("a.txt", b"a"), (f"{name}.jpg", jpeg(2)), (f"{name}.txt", b"b")])
    left_out = []
    pairs = read_pairs(tmp_path, left_out=left_out)
    assert ([red(path) for path in pairs["path"]], pairs["caption"]) == ([1], ["a"])
    assert [reason for _, _, _, reason in left_out] == ["a line break or .tar/ in its name"] * 2


@pytest.mark.parametrize("shard", ["t.tar", "00000"])
def test_captions_are_a_line_each_without_a_byte_order_mark(tmp_path, shard):
    captions = {b"\xef\xbb\xbfa cat\r\n": "a cat", b"a\n dog ": "a dog", b" to  the\tletter ": " to  the\tletter "}
    files = [(f"{n}.txt", text) for n, text in enumerate(captions)] + [(f"{n}.jpg", jpeg(n)) for n in range(3)]
    if shard == "t.tar":
        write_tar(tmp_path / shard, files)
    else:
        (tmp_path / shard).mkdir()
        for name, content in files:
            (tmp_path / shard / name).write_bytes(content)
    assert read_pairs(tmp_path)["caption"] == list(captions.values())


@pytest.mark.parametrize(
    ("content", "length", "message"),
    [
        (chained(3000), 0, "a long chain of headers"),
        (oversized(tarfile.GNUTYPE_LONGNAME, 3 * 10**9), 3 * 10**9, "more than 1048576 bytes"),
        (oversized(tarfile.XHDTYPE, 3 * 10**9), 3 * 10**9, "more than 1048576 bytes"),
        (oversized(tarfile.XGLTYPE, 3 * 10**9), 3 * 10**9, "more than 1048576 bytes"),
        (oversized(tarfile.GNUTYPE_LONGNAME, -512), 0, "not a whole shard"),
        (oversized(tarfile.REGTYPE, -512), 0, "a negative size"),
        (oversized(tarfile.REGTYPE, 2**88 - 1), 0, "a size that no file has"),
        (oversized(tarfile.REGTYPE, 2**63 - 1), 0, "not a whole shard"),
        (with_pax({"size": "1" + "0" * 30}), 0, "a size that no file has"),
    ],
)  # fmt: skip
def test_headers_that_would_take_all_memory_or_for_ever_are_one_line(tmp_path, content, length, message):
    with open(tmp_path / "t.tar", "wb") as tar:
        tar.write(content)
        tar.truncate(len(content) + length + 1024)
    for read in (read_pairs, count_pairs):
        with pytest.raises(UserError, match=message) as caught:
            read(tmp_path)
        assert "t.tar: not a whole shard" in str(caught.value)
        assert str(caught.value).isprintable()
