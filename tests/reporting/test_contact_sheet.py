"""The contact sheet shows what attacks wrote, whatever captions hold, and goes on without images that cannot be decoded."""

from PIL import Image

from roclip.core.files import write_table
from roclip.reporting.figures.contact_sheet import ContactSheetOptions, run

CAPTIONS = [
    "from $5 to $6", "$x_{$", "\\frac{1}", "=1+1", "two\nlines", "\0", "\x1b[31m",
    "東京 \U0001f468\u200d\U0001f469", "", "<b>&",
]  # fmt: skip


def test_hostile_captions_and_images_do_not_end_it(tmp_path, caplog):
    folder = tmp_path / "patch/seed10"
    folder.mkdir(parents=True)
    Image.new("RGB", (32, 32), (200, 0, 0)).save(folder / "good.png")
    Image.new("RGB", (32, 32)).save(folder / "sample.png")
    (folder / "broken.png").write_bytes((folder / "good.png").read_bytes()[:60])
    paths = [str(folder / "good.png"), str(folder / "broken.png"), "/etc/passwd", str(folder / "absent.png")]
    rows = [{"path": paths[n % 4], "caption": text, "is_poison": n % 2} for n, text in enumerate(2 * CAPTIONS)]
    write_table(folder / "train.csv", ("path", "caption", "is_poison"), rows)
    for name in (folder / "targets.csv", tmp_path / "test.csv"):
        write_table(name, ("path", "label"), [{"path": path, "label": "$a$"} for path in paths])
    run(ContactSheetOptions((folder,), (), tmp_path / "test.csv", 32, (str(tmp_path),), tmp_path / "sheet"))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 300
    assert "broken.png is not shown" in caplog.text
    assert "/etc/passwd is not shown: outside the data roots" in caplog.text
