"""An image is the same whichever way it comes in: by a list of URLs, a table, a tar, a folder of shards, as bytes."""

import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from roclip.core.columns import QUARANTINE
from roclip.core.files import read_table, write_table
from roclip.data import download
from roclip.data.download import DownloadOptions
from roclip.data.images import Intake, decode_bytes
from roclip.data.pairs import read_pairs
from roclip.data.url_list import SPLITS
from tests.fixtures.downloads import COLUMNS, settings
from tests.fixtures.hostile_images import cut, encodings, refused
from tests.fixtures.image_bombs import bombs
from tests.fixtures.webserver import serving

SIDE = 48  # the shorter side of nearly all: images as large as `image_size` or smaller are not resized before they are stored
LARGEST = 4_000_000  # bytes; the larger ones are left to other tests


def kinds() -> dict[str, bytes]:
    """Files by a name that does not tell their kind, as a caption names it."""
    groups = (encodings, refused, bombs, cut)
    found = [(f"{group.__name__} {name}", content) for group in groups for name, content, _ in group()]
    return {name: content for name, content in found if len(content) < LARGEST and ("cut " not in name or "5." in name)}


KINDS = kinds()
Seen = dict[str, np.ndarray]  # by caption


def decoded(table: Path, pairs: dict[str, list[str]], root: Path) -> tuple[Seen, set[str]]:
    """The images of pairs, and the captions of those that the quarantine lists."""
    intake = Intake([str(root)], 1.0)
    images, places = intake.load(table, pairs["path"], SIDE, 1)
    intake.write(root / "quarantine.csv")
    left_out = {pairs["caption"][int(row["number"]) - 1] for row in read_table(root / "quarantine.csv", QUARANTINE)}
    return {pairs["caption"][place]: image for place, image in zip(places, images, strict=True)}, left_out


def by_table(folder: Path) -> tuple[Seen, set[str]]:
    rows = [{"path": str(folder / f"{n}"), "caption": name} for n, name in enumerate(KINDS)]
    for row in rows:
        Path(row["path"]).write_bytes(KINDS[row["caption"]])
    write_table(folder / "t.csv", ("path", "caption"), rows)
    return decoded(folder / "t.csv", read_pairs(folder / "t.csv"), folder)


def by_tar(folder: Path) -> tuple[Seen, set[str]]:
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for n, (name, content) in enumerate(KINDS.items()):
            for suffix, part in (("JPEG", content), ("txt", name.encode())):
                member = tarfile.TarInfo(f"a/{n:04d}.{suffix}")
                member.size = len(part)
                tar.addfile(member, BytesIO(part))
    return decoded(folder, read_pairs(folder), folder)


def by_folder(folder: Path) -> tuple[Seen, set[str]]:
    (folder / "00000").mkdir()
    for n, (name, content) in enumerate(KINDS.items()):
        (folder / f"00000/{n:04d}.jpg").write_bytes(content)
        (folder / f"00000/{n:04d}.txt").write_text(name)
    return decoded(folder, read_pairs(folder), folder)


def by_bytes(_: Path) -> tuple[Seen, set[str]]:
    seen = {}
    for name, content in KINDS.items():
        try:
            seen[name] = decode_bytes(content, SIDE).transpose(2, 0, 1)
        except Exception:  # Pillow raises many kinds
            continue
    return seen, KINDS.keys() - seen.keys()


def by_url(folder: Path, image_format: str) -> tuple[Seen, set[str]]:
    """With a real server and img2dataset; those that it stores under the name of each split are the training pairs."""
    with serving() as server:
        server.stored = {str(n): content for n, content in enumerate(KINDS.values())}
        rows = [
            {"split": "train", "url": f"{server.url}/stored/{n}", "caption": name, "label": ""} for n, name in enumerate(KINDS)
        ]
        rows += [{"split": split, "url": f"{server.url}/jpg/1", "caption": "c", "label": "l"} for split in SPLITS[1:]]
        write_table(folder / "urls.tsv", COLUMNS, rows)
        download.run(DownloadOptions(**settings(folder, image_size=64, image_format=image_format, max_bad_fraction=0.99)))
    seen, left_out = decoded(folder / "data/train.csv", read_pairs(folder / "data/train.csv"), folder)
    assert not left_out  # what is stored is whole
    return seen, KINDS.keys() - seen.keys()


@pytest.fixture(scope="module")
def by_tables(tmp_path_factory):
    return by_table(tmp_path_factory.mktemp("table"))


def test_there_are_enough_kinds_of_either_sort(by_tables):
    seen, left_out = by_tables
    assert len(seen) > 60
    assert len(left_out) > 60
    assert seen.keys() | left_out == KINDS.keys()


@pytest.mark.parametrize("way", [by_tar, by_folder, by_bytes])
def test_files_are_the_same_to_the_bit_or_refused_in_all(by_tables, tmp_path, way):
    same(by_tables, way(tmp_path))


def same(expected: tuple[Seen, set[str]], found: tuple[Seen, set[str]]) -> None:
    assert found[1] == expected[1]
    assert [name for name, image in expected[0].items() if not (found[0][name] == image).all()] == []


@pytest.mark.slow
def test_downloads_are_the_same_to_the_bit_where_they_are_stored_without_loss(by_tables, tmp_path):
    same(by_tables, by_url(tmp_path, "png"))


@pytest.mark.slow
@pytest.mark.parametrize("image_format", ["jpg", "webp"])
def test_downloads_are_nearly_the_same_where_they_are_not(by_tables, tmp_path, image_format):
    """Turned, on white, of 8 bits all the same; along edges of colour a JPEG of quality 95 is off by some 20."""
    seen, left_out = by_url(tmp_path, image_format)
    assert left_out == by_tables[1]
    differences = {name: np.abs(image.astype(int) - by_tables[0][name]).mean() for name, image in seen.items()}
    assert {name: round(mean, 1) for name, mean in differences.items() if mean > 4} == {}
