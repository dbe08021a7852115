"""Hostile images: each is decoded to what it shows or left out for its reason, within memory and time, and none outside."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from roclip.core.columns import QUARANTINE
from roclip.core.errors import UserError
from roclip.core.files import read_table, write_table
from roclip.data.image_paths import Roots
from roclip.data.images import BadImage, Intake, decode, decode_crop
from tests.conftest import ROOT
from tests.fixtures.hostile_images import files
from tests.fixtures.image_bytes import PICTURE, encoded, exif, turned

MEGABYTES = 500
WHOLE = (1.0, 0.5, 0.5, 0.5, 1.0)  # draws of a crop that is the centre square, not flipped
CODE = """
import json, sys, numpy as np
from pathlib import Path
from roclip.data.images import Intake, decode_crop
paths, root, out, draws = json.load(sys.stdin)
intake = Intake([root], 1.0)
images, good = intake.load(Path("t.csv"), paths, 48, 1)
intake.write(Path(out, "quarantine.csv"))
readable = intake.readable(Path("t.csv"), paths, 1)
crops = [decode_crop(paths[row], 48, draws, 1.0) for row in good]
cropped = []
for row in sorted(set(range(len(paths))) - set(good.tolist())):
    try:
        intake.roots.check(paths[row])
        decode_crop(paths[row], 48, draws, 1.0)
        cropped.append(row)
    except Exception:
        pass
np.savez(Path(out, "images.npz"), images=images, good=good, readable=readable, crops=crops, cropped=cropped)
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])  # KB at the peak, of this program alone
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """The cases; what a process of its own made of them: images, list of what was left out; its memory at the peak in MB."""
    folder = tmp_path_factory.mktemp("hostile")
    inside, outside, out = (folder / name for name in ("inside", "outside", "out"))
    for made in (inside, outside, out):
        made.mkdir()
    cases = files(inside, outside)
    given = json.dumps(([path for path, _ in cases], str(inside), str(out), WHOLE))
    done = subprocess.run([sys.executable, "-c", CODE], input=given, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return cases, np.load(out / "images.npz"), read_table(out / "quarantine.csv", QUARANTINE), int(done.stdout) / 1024


def quadrants(image: np.ndarray) -> np.ndarray:
    """The colours in the middle of each quadrant of a square, (4, 3) of whatever is grey or not."""
    image = image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
    half, quarter = len(image) // 2, len(image) // 4
    return np.array([image[y, x] for y in (quarter, half + quarter) for x in (quarter, half + quarter)], int)


def test_each_is_decoded_to_what_it_shows_or_left_out_for_its_reason(outcome):
    cases, arrays, quarantine, _ = outcome
    reasons = {int(row["number"]) - 1: row["reason"] for row in quarantine}
    seen = dict(zip(arrays["good"].tolist(), zip(arrays["images"], arrays["crops"], strict=True), strict=True))
    assert len(cases) > 300
    assert seen.keys() | reasons.keys() == set(range(len(cases)))
    assert not seen.keys() & reasons.keys()
    wrong = []
    for row, (path, expected) in enumerate(cases):
        if row in seen:
            wanted = PICTURE if expected is None else expected
            made = [quadrants(image) for image in (seen[row][0].transpose(1, 2, 0), seen[row][1])]
            if isinstance(wanted, str) or any(np.abs(colours - quadrants(wanted[:, 8:56])).max() > 12 for colours in made):
                wrong.append((path, made))
        elif not (expected is None or (isinstance(expected, str) and expected in reasons[row])):
            wrong.append((path, reasons[row]))
    assert not wrong


def test_all_ways_of_reading_keep_the_same_images(outcome):
    _, arrays, _, _ = outcome
    assert arrays["readable"].tolist() == arrays["good"].tolist()
    assert arrays["cropped"].tolist() == []


def test_the_list_has_row_path_and_reason_in_one_line(outcome):
    cases, _, quarantine, _ = outcome
    for row in quarantine:
        assert row["table"] == "t.csv"
        assert row["path"] == cases[int(row["number"]) - 1][0]
        assert row["reason"].isprintable()
        assert " at 0x" not in row["reason"]


def test_memory_stays_bounded(outcome, torture):
    cases, arrays, left_out, peak = outcome
    assert peak < MEGABYTES
    if torture:
        row = {"images": len(cases), "decoded": len(arrays["good"]), "left_out": len(left_out), "peak_megabytes": round(peak)}
        write_table(ROOT / "benchmarks/torture_images.csv", tuple(row), [row])


def test_too_many_bad_images_end_the_run_in_one_line(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(PICTURE, "PNG"))
    intake, paths = Intake([str(tmp_path)], 0.4), [str(tmp_path / "a.png"), "/etc/two\nlines.png"]
    with pytest.raises(
        UserError, match=r"1 of 2 images are missing or broken, first in row 2 \(.*outside the data roots"
    ) as caught:
        intake.load(Path("t.csv"), paths, 8, 1)
    assert str(caught.value).isprintable()


def test_with_nothing_to_list_there_is_the_header(tmp_path):
    Intake([str(tmp_path)], 0).write(tmp_path / "quarantine.csv")
    assert (tmp_path / "quarantine.csv").read_text() == "table,number,path,reason\n"


def test_roots_may_be_links_and_the_whole_disk(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    for roots in ([str(tmp_path / "data")], [str(tmp_path / "disk")], ["absent", f"{tmp_path}/disk/"], ["/"]):
        Roots(roots).check(str(tmp_path / "data/a.png"))
        Roots(roots).check(str(tmp_path / "disk/00000.tar/a.png@0+1"))
    with pytest.raises(BadImage, match=r"outside the data roots \(results, data\)"):
        Roots(["results", "data"]).check(str(tmp_path / "data/a.png"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(48, 64), (1000, 1500)])
def test_crops_of_turned_images_are_those_of_the_upright_ones(tmp_path, orientation, size):
    """Large ones too, which are decoded at a fraction of their size."""
    stored = Image.fromarray(dict(turned())[orientation])
    stored = stored.resize(size if orientation > 4 else size[::-1], Image.Resampling.BICUBIC)
    (tmp_path / "turned.jpg").write_bytes(encoded(stored, "JPEG", quality=95, subsampling=0, exif=exif(orientation)))
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "turned.jpg"))
    upright.save(tmp_path / "upright.png", exif=b"")
    assert (decode(tmp_path / "turned.jpg", 32) == decode(tmp_path / "upright.png", 32)).all()
    for draws in np.random.default_rng(0).random((5, 5)):
        ours, theirs = (decode_crop(tmp_path / name, 32, draws, 0.2).astype(int) for name in ("turned.jpg", "upright.png"))
        assert np.abs(ours - theirs).mean() < 3
