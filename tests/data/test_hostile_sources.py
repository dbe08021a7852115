"""Hostile lists of URLs and shards: each is read to the letter or refused in one line."""

import os
import tarfile
from io import BytesIO

import pytest

from roclip.core.errors import UserError
from roclip.core.files import CELL
from roclip.data.pairs import read_pairs
from roclip.data.url_list import SPLITS, count_rows, read_entries, words
from tests.fixtures.hostile_tables import one_line

URL_LISTS = {
    "no tab": (b"a caption http://h/a\n", "line 1: expected a caption, a tab and a URL"),
    "two tabs": (b"a\thttp://h/a\nb\tc\thttp://h/b\n", "line 2: expected"),
    "a header": (b"caption\turl\n", "line 1: .* has no header"),
    "old mac": (b"a\thttp://h/a\rb\thttp://h/b\r", "line 1: expected"),
    "latin-1": (b"a\thttp://h/a\n\xe9\thttp://h/b\n", "line 2: not UTF-8"),
    "utf-16": ("a\thttp://h/a\n".encode("utf-16"), "line 1: not UTF-8"),
    "a long line": (b"a\thttp://h/a\n" + b"x" * (CELL + 1), f"line 2: more than {CELL} characters"),
    "a long line with a tab": (b"x" * 1_000_000 + b"\thttp://h/" + b"y" * 1_000_000, f"line 1: more than {CELL} characters"),
    "blank, and then none": (b"\n\nx\n", "line 3: expected"),
}


@pytest.mark.parametrize("case", URL_LISTS)
def test_lists_of_urls_are_refused_with_file_and_line(tmp_path, case):
    content, message = URL_LISTS[case]
    (tmp_path / "t.tsv").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        list(read_entries([f"train={tmp_path}/t.tsv"], ["train"]))
    one_line(caught, tmp_path / "t.tsv")
    assert count_rows([f"train={tmp_path}/t.tsv"], "train") >= 1


def test_lists_of_urls_are_read_to_the_letter(tmp_path):
    content = "=1\thttp://h/a\r\n'=2\tfile:/etc/passwd\nNA\u2028\thttp://h/\n\"a\r\\t\tx:"
    (tmp_path / "t.tsv").write_bytes(b"\xef\xbb\xbf" + content.encode())
    setting = words(dict.fromkeys(SPLITS, str(tmp_path / "t.tsv")))
    found = [(entry.row, entry.text, entry.url) for entry in read_entries(setting, ["train"])]
    assert found == [
        (1, "=1", "http://h/a"), (2, "'=2", "file:/etc/passwd"), (3, "NA\u2028", "http://h/"), (4, '"a\r\\t', "x:"),
    ]  # fmt: skip
    assert count_rows(setting, "train") == 4


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pipe", "pipe or device"), ("link", "a link, which may lead outside"), ("long", "more than"), ("latin-1", "not UTF-8"),
        ("name", "not UTF-8; rename it"), ("tar pipe", "pipe or device"), ("tar long", "a.txt has more than"),
        ("tar junk", "not a whole"), ("tar name", "not UTF-8; rename it"), ("tar link", "no shards"),
    ],
)  # fmt: skip
def test_shards_are_refused(tmp_path, kind, message):
    folder = tmp_path / "shards/00000"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"")
    caption, tar = folder / "a.txt", tmp_path / "shards/00000.tar"

    def add(archive: tarfile.TarFile, name: str, content: bytes = b"", size: int | None = None, link: str = "") -> None:
        member = tarfile.TarInfo(name)
        member.size, member.linkname = len(content) if size is None else size, link
        member.type = tarfile.SYMTYPE if link else tarfile.REGTYPE
        archive.addfile(member, BytesIO(content))

    if kind == "pipe":
        os.mkfifo(caption)
    elif kind == "link":
        caption.symlink_to("/etc/passwd")
    elif kind == "long":
        caption.write_bytes(b"x" * (CELL + 1))
    elif kind == "latin-1":
        caption.write_bytes(b"\xe9")
    elif kind == "name":
        caption.write_text("a")
        for suffix in (b"jpg", b"txt"):
            (folder / os.fsdecode(b"\xe9." + suffix)).write_bytes(b"")
    elif kind == "tar pipe":
        os.mkfifo(tar)
    elif kind == "tar junk":
        tar.write_bytes(b"x" * 5000 + bytes(1024))
    else:
        with tarfile.open(tar, "w") as archive:
            add(archive, os.fsdecode(b"\xe9.jpg") if kind == "tar name" else "a.jpg")
            if kind == "tar long":
                add(archive, "a.txt", b"x" * (CELL + 1))
            elif kind == "tar link":
                add(archive, "a.txt", link="/etc/passwd")
            else:
                add(archive, os.fsdecode(b"\xe9.txt"), b"a")
    with pytest.raises(UserError, match=message) as caught:
        read_pairs(tmp_path / "shards")
    assert str(caught.value).isprintable()
