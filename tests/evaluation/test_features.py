"""A feature file that is not as the stage encode writes it is refused in one line, whoever made it."""

import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.core.errors import UserError
from roclip.evaluation.features import Features
from tests.fixtures.features import fitting, made_up, write_features


def header(shape, descr: str = "<f8", length: int = 16) -> bytes:
    """A .npy file whose header promises whatever it likes."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(length)


def archive(path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)


def odd_array(shape, descr, length: int) -> bytes:
    """As `header`, of what need be no header at all."""
    said = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\1\0" + len(said).to_bytes(2, "little") + said + bytes(length)


def refused(path) -> str:
    """Why a file is refused."""
    with pytest.raises(UserError) as caught:
        Features(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def test_what_encode_writes_comes_back_whatever_its_layout(tmp_path):
    arrays = made_up({"last_clip": 0, "given": 1})
    arrays["given/test"] = np.asfortranarray(arrays["given/test"].astype(np.float32))
    features = Features(write_features(tmp_path / "features.npz", arrays))
    assert features.checkpoints == ["given", "last_clip"]
    assert features.has_probe
    for checkpoint in features.checkpoints:
        assert (features.class_features(checkpoint) == arrays[f"{checkpoint}/class_features"]).all()
        for part in ("test", "probe"):
            assert features.images(checkpoint, part).dtype == arrays[f"{checkpoint}/{part}"].dtype
            assert (features.images(checkpoint, part) == arrays[f"{checkpoint}/{part}"]).all()
            assert (features.labels(part) == arrays[f"{part}/labels"]).all()


@pytest.mark.parametrize("name", ["test", "probe", "labels", "class_features", "file"])
def test_a_checkpoint_may_have_any_name(tmp_path, name):
    features = Features(write_features(tmp_path / "features.npz", made_up({name: 0})))
    assert features.checkpoints == [name]
    assert features.images(name).shape == (30, 3)


def test_a_file_cut_short_anywhere_or_with_a_flipped_byte_is_one_line_or_whole(tmp_path):
    path = write_features(tmp_path / "features.npz")
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        refused(path)
    for place in range(0, len(whole), 31):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            Features(path)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017 (dates and the like in a zip file mean nothing)


@pytest.mark.parametrize(
    "content",
    [
        header((1 << 50, 3)), header((1 << 32, 1 << 32)), header((1 << 32, 1 << 32), length=0), header((-1, -2)),
        header((1 << 70,)), header((2, 1), length=8),
        header((2,), "|O"), header((1,), "<c16"), header((2,), "<U2"), header((2,), "<M8[s]"), b"", b"\x93NUMPY",
        b"garbage" * 9, b"\x93NUMPY\x02\x00" + header((2,))[8:], header((2,)).replace(b"fortran", b"\xff\xff()[{("),
    ],
    ids=str,
)  # fmt: skip
def test_an_array_that_lies_or_holds_no_numbers_is_refused(tmp_path, content):
    path = write_features(tmp_path / "features.npz")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("more.npy", content)
    assert "not a feature file" in refused(path)


def test_objects_are_never_made_of_an_array(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (print, ("it ran",))

    path = tmp_path / "features.npz"
    np.savez(path, **made_up(), more=np.array([Bomb()], object))
    assert "not of numbers" in refused(path)


def test_compressed_arrays_are_refused_before_they_fill_the_memory(tmp_path):
    path = tmp_path / "features.npz"
    archive(path, {"bomb": bytes(10_000_000)}, zipfile.ZIP_DEFLATED)
    assert "compressed" in refused(path)


def test_encrypted_members_and_other_archives_are_refused(tmp_path):
    path = write_features(tmp_path / "features.npz")
    whole = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = whole.find(mark)
        while place >= 0:
            whole[place + offset] |= 1  # the bit that says encrypted
            place = whole.find(mark, place + 1)
    path.write_bytes(whole)
    assert "encrypted" in refused(path)
    path.write_bytes(b"garbage")
    assert "not a feature file" in refused(path)
    archive(path, {})
    assert "no checkpoint" in refused(path)
    assert "no such file" in refused(tmp_path / "absent.npz")
    assert "directory" in refused(tmp_path)


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        ("last_clip/test", None, "no array 'last_clip/test'"),
        ("test/labels", None, "no array 'test/labels'"),
        ("last_clip/probe", None, "no array 'last_clip/probe'"),
        ("last_clip/test", np.zeros((29, 3)), "shapes of last_clip/test"),
        ("last_clip/test", np.zeros((30, 2)), "shapes of last_clip/test"),
        ("last_clip/test", np.zeros(90), "shapes of last_clip/test"),
        ("test/labels", np.zeros((30, 1), int), "shapes of last_clip/test"),
        ("test/labels", np.zeros(30), "test/labels are no numbers of its 3 classes"),
        ("test/labels", np.full(30, -3), "test/labels are no numbers of its 3 classes"),
        ("probe/labels", np.full(60, -1), "probe/labels are no numbers of its 3 classes"),
        ("last_clip/test", np.full((30, 3), np.nan), "features of last_clip are NaN or infinite"),
        ("last_clip/class_features", np.full((3, 3), np.inf), "features of last_clip are NaN or infinite"),
        # scores of these would be NaN, and count as hits
        ("last_clip/test", np.full((30, 3), 3e38, np.float32), "not from 1e-15 to 1e+15"),
        ("last_clip/test", np.full((30, 3), -1e308), "not from 1e-15 to 1e+15"),
        ("last_clip/class_features", np.full((3, 3), 1e-44, np.float32), "not from 1e-15 to 1e+15"),
        ("last_clip/probe", np.full((60, 3), 1e-44, np.float32), "not from 1e-15 to 1e+15"),
        ("last_clip/captions", np.full((24, 3), 1e-44, np.float32), "not from 1e-15 to 1e+15"),
        ("last_clip/test", np.full((30, 3), 60000, np.float16), "are float16 and must be float32 or float64"),
        ("last_clip/test", np.full((30, 3), 100, np.int8), "are int8 and must be float32 or float64"),
        ("last_clip/class_features", np.full((3, 3), 2**62), "are int64 and must be float32 or float64"),
        ("last_clip/captions", np.full((24, 3), 2**62), "are int64 and must be float32 or float64"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_named(tmp_path, key, array, message):
    arrays = fitting("captions")
    if array is None:
        del arrays[key]
    else:
        arrays[key] = array
    assert message in refused(write_features(tmp_path / "features.npz", arrays))


def test_labels_beyond_the_classes_are_named_where_nothing_is_looked_up(tmp_path):
    path = write_features(tmp_path / "features.npz", made_up() | {"test/labels": np.full(30, 3)})
    assert "test/labels are no numbers of its 3 classes" in refused(path)


def test_rows_of_zeros_are_features_and_rows_without_a_number_are_none(tmp_path):
    arrays = made_up()
    arrays["last_clip/test"][3] = 0
    assert Features(write_features(tmp_path / "features.npz", arrays)).checkpoints == ["last_clip"]
    empty = {name: array[:, :0] for name, array in arrays.items() if array.ndim == 2}
    assert "must be rows of at least one number" in refused(write_features(tmp_path / "features.npz", arrays | empty))


def test_no_images_are_no_evaluation_set(tmp_path):
    empty = made_up(labels={"test": np.zeros(0, int)})
    assert "test/labels" in refused(write_features(tmp_path / "features.npz", empty))


def test_reading_features_does_not_import_torch(tmp_path):
    path = write_features(tmp_path / "features.npz")
    code = (
        f"import sys; from pathlib import Path; from roclip.evaluation.features import Features; Features(Path({str(path)!r}))"
    )
    assert subprocess.run([sys.executable, "-c", f"{code}; sys.exit('torch' in sys.modules)"]).returncode == 0


KEYS = st.sampled_from(
    ["last_clip/class_features", "last_clip/test", "last_clip/probe", "last_clip/captions", "test/labels", "probe/labels",
     "captions/labels", "class_features", "labels", "labels/class_features", "/class_features", "a/b/class_features", "..", ""]
)  # fmt: skip
SHAPES = st.sampled_from(
    [(), (0,), (2,), (2, 1), (0, 0), (2, 2**50), (2**32, 2**32), (-1, 2), (2, 1, 1), (True, 2), ("x",), None]
)
TYPES = st.sampled_from(["<f8", "<f2", ">f4", "<i8", "|u1", "|O", "<c16", "|S5", "<U2", "<M8[D]", "|b1", "V3", "x", ["a"]])


@given(
    st.dictionaries(KEYS, st.builds(odd_array, SHAPES, TYPES, st.sampled_from([0, 8, 16])) | st.binary(max_size=20), max_size=5)
)
@settings(max_examples=200, deadline=None)
def test_any_arrays_are_features_or_one_line(tmp_path_factory, members):
    path = tmp_path_factory.mktemp("features") / "features.npz"
    archive(path, members)
    try:
        Features(path)
    except UserError as error:
        message = str(error)
        assert message.startswith(f"{path}: ")
        assert message.isprintable()
