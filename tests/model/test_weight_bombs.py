"""Small files of weights that would fill the memory or never end are one line, and are read no further than that."""

import io
import pickle
import resource
import zipfile

import pytest
import torch

from roclip.core.errors import UserError
from roclip.model import weight_files
from roclip.model.weight_files import read_tensors
from tests.fixtures.weights import in_archive


def expanded(path):
    """1,343 bytes that would be 512 MB as float32."""
    torch.save({"weight": torch.zeros(1, dtype=torch.float16).expand(2**27)}, path)


def shared(path):
    """200 tensors of the same numbers, each of which would be made float32 on its own."""
    numbers = torch.zeros(2**20, dtype=torch.float16)
    torch.save({f"weight{i}": numbers for i in range(200)}, path)


def compressed(path):
    """400 MB of zeros in 2 MB."""
    torch.save({"weight": torch.zeros(1)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            with archive.open(name, "w") as file:
                for _ in range(400 if name.endswith("data/0") else 0):
                    file.write(bytes(10**6))
                file.write(content)


def in_a_script(path):
    """As `expanded`, in a TorchScript archive."""
    module = Buffers({"weight": torch.zeros(1).expand(2**27)})
    torch.jit.script(module).save(str(path))


def by_its_number(path):
    """Bytes that are made where the file is read."""
    rewritten(path, {"data.pkl": b"\x80\x02}X\x01\x00\x00\x00wc__builtin__\nbytearray\nJ\x00\x00\x00\x50\x85Rs."})


def rewritten(path, changes):
    """A file of torch.save with other parts."""
    torch.save({"weight": torch.zeros(1)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, changes.get(name.rpartition("/")[2], content))


def behind_another(path):
    """Two archives: Python reads the last one, and PyTorch the one to which its directory points."""
    compressed(path)
    first = path.read_bytes()
    torch.save({"weight": torch.zeros(1)}, path)
    path.write_bytes(first + path.read_bytes())


class Buffers(torch.nn.Module):
    def __init__(self, buffers):
        super().__init__()
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (expanded, "weight has 134217728 numbers, of which the file holds 1; save a copy of its own"),
        (shared, "its tensors share their numbers, so that they are many times as long as the file"),
        (compressed, "its tensors are compressed, as PyTorch never writes them"),
        (in_a_script, "weight has 134217728 numbers, of which the file holds 1; save a copy of its own"),
        (by_its_number, "its theirs/data.pkl asks for bytes by their number, of any length, as no weights do"),
        (behind_another, "it does not begin with its first part"),
    ],
)
def test_a_small_file_does_not_fill_the_memory(tmp_path, write, message):
    write(tmp_path / "theirs.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as caught:
        read_tensors(tmp_path / "theirs.pt")
    assert str(caught.value) == f"{tmp_path}/theirs.pt: not a file of weights, or a broken one ({message})"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_copies_of_a_list_in_a_script_take_no_memory(tmp_path):
    """A million numbers, of which 100 lists are made."""
    numbers = b"\x80\x02ctorch.jit._pickle\nbuild_intlist\nq\x000(" + b"K\x01" * 10**6 + b"t\x85q\x010"
    in_archive(numbers + b"]q\x02(" + b"h\x00h\x01R" * 100 + b"e.", tmp_path / "theirs.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="an archive without a module"):
        read_tensors(tmp_path / "theirs.pt")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_tied_weights_are_read(tmp_path):
    numbers = torch.arange(6.0)
    torch.save({"a": numbers, "b": numbers, "c": numbers.view(2, 3)}, tmp_path / "theirs.pt")
    found = read_tensors(tmp_path / "theirs.pt")
    assert torch.equal(found["a"], numbers)
    assert torch.equal(found["c"], numbers.view(2, 3))


class Twice(pickle.Pickler):
    """Writes modules each of which holds the next one twice: 2**40 in all, or one that holds itself."""

    def reducer_override(self, value):
        return (weight_files._Module, (), value.__dict__) if isinstance(value, Holder) else NotImplemented


class Holder:
    pass


@pytest.mark.parametrize("deep", [40, 0])
def test_modules_that_hold_each_other_end(tmp_path, monkeypatch, deep):
    first = module = Holder()
    for _ in range(deep):
        module.one = module.other = module = Holder()
    if not deep:
        module.itself = module
    made = io.BytesIO()
    Twice(made, 2).dump(first)
    in_archive(made.getvalue().replace(b"croclip.model.weight_files\n_Module", b"c__torch__\n_Module"), tmp_path / "theirs.pt")
    with pytest.raises(UserError, match=r"theirs\.pt: not a file of weights, or a broken one \(more than 100000 modules, or"):
        read_tensors(tmp_path / "theirs.pt")
