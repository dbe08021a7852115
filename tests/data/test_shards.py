"""A shard is whole or it is not: each way of being broken is found."""

import tarfile

import pyarrow
import pyarrow.parquet as parquet
import pytest

from roclip.data.shards import Shard
from tests.fixtures.downloads import write_shard
from tests.fixtures.webserver import picture


@pytest.fixture
def shard(tmp_path) -> Shard:
    return write_shard(tmp_path, {f"000{n}": picture(n, "jpeg") for n in range(4)})


def test_a_whole_shard_has_no_fault_and_its_rows_in_order(shard):
    assert shard.fault() is None
    assert shard.failures() == 1
    assert [outcome["row"] for outcome in shard.outcomes()] == [0, 1, 2, 3, 9]
    assert [content for _, _, content in shard.images()] == [picture(n, "jpeg") for n in range(4)]


def test_a_tar_that_is_cut_anywhere_is_found(shard):
    whole = shard.tar.read_bytes()
    end = len(whole.rstrip(b"\0"))
    for length in sorted({*range(0, end, 997), *range(0, end, 512)}):  # its members start at multiples of 512 bytes
        shard.tar.write_bytes(whole[:length])
        assert shard.fault(), length


def test_files_that_are_missing_or_broken_are_found(shard):
    for path in (shard.tar, shard.table, shard.stats):
        whole = path.read_bytes()
        for content in (None, b"", whole[: len(whole) // 2], b"garbage" * 200):
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
            assert shard.fault(), (path, content)
        path.write_bytes(whole)
        assert shard.fault() is None


@pytest.mark.parametrize("noted", ["[]", "null", "5", '"a"', "[" * 100_000])
def test_notes_that_are_no_notes_are_found(shard, noted):
    shard.stats.write_text(noted)
    assert shard.fault()


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.SYMTYPE])
def test_a_member_that_is_no_file_is_found(shard, kind):
    with tarfile.open(shard.tar, "a") as tar:
        member = tarfile.TarInfo("0007.jpg")
        member.type, member.linkname = kind, "0007.jpg"
        tar.addfile(member)
    assert shard.fault()


@pytest.mark.parametrize(
    ("column", "value"), [("caption", "another"), ("caption", None), ("url", "v"), ("row", 7), ("key", [1])]
)
def test_a_table_of_another_list_is_found(shard, column, value):
    rows = parquet.read_table(shard.table).to_pylist()
    changed = [row | {column: value} for row in rows] if column == "key" else [rows[0] | {column: value}, *rows[1:]]
    parquet.write_table(pyarrow.Table.from_pylist(changed), shard.table)
    assert shard.fault() if column == "key" else shard.fault() == "its table is of other URLs, rows or texts than the list"


def test_images_that_table_and_tar_do_not_agree_on_are_found(tmp_path):
    images = {f"000{n}": picture(n, "jpeg") for n in range(3)}
    shard = write_shard(tmp_path, images)
    table, listed = shard.table.read_bytes(), (tmp_path / "list/train.parquet").read_bytes()
    write_shard(tmp_path, images | {"0003": picture(3, "jpeg")}, failed=0)
    shard.table.write_bytes(table)
    (tmp_path / "list/train.parquet").write_bytes(listed)
    assert "image 0003 is a duplicate, or not in its table" in shard.fault()
    write_shard(tmp_path, {"0000": images["0000"]}, failed=3)
    shard.table.write_bytes(table)
    (tmp_path / "list/train.parquet").write_bytes(listed)
    assert "2 images are missing" in shard.fault()
    write_shard(tmp_path, images | {"0001": b"<html>"})
    assert "UnidentifiedImageError" in shard.fault()
    write_shard(tmp_path, images, failed=2)
    assert "made of another list than one of 4 URLs" in shard.fault()
    assert "duplicate keys" in write_shard(tmp_path, images, failed=2).fault()  # both failed under one key


def test_removing_leaves_nothing(shard):
    shard.remove()
    assert shard.fault() == "not finished"
    assert [path.name for path in shard.folder.iterdir()] == ["list"]
    shard.remove()
