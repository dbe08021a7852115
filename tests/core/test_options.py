"""Flags and dataclasses are two spellings of the same thing."""

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.core.options import flags, option, parse
from tests.conftest import ROOT


@dataclass(frozen=True)
class Example:
    out: Path = option("a path")
    size: int = option("a number")
    rate: float = option("a number")
    on: bool = option("a switch")
    kind: str = option("a word", choices=("a", "b"))
    limit: int | None = option("may be missing", default=None)
    names: tuple[str, ...] = option("words", default=())


@given(
    size=st.integers(min_value=0),
    rate=st.floats(min_value=0),
    on=st.booleans(),
    out=st.text(st.characters(categories=("L", "N", "Z")), min_size=1).filter(
        lambda t: str(Path(t)) == t and not t.startswith("-")
    ),
    names=st.lists(st.sampled_from(["x y", "'", "$HOME", "é"]), max_size=3),
)
@settings(deadline=None)
def test_values_survive_the_shell(size, rate, on, out, names):
    values = {"out": out, "size": size, "rate": rate, "on": on, "kind": "b", "limit": None, "names": names}
    parsed = parse(Example, shlex.split(flags(values)))
    assert parsed == Example(Path(out), size, rate, on, "b", None, tuple(names))


@pytest.mark.parametrize(
    "wrong", ["--size x", "--on yes", "--kind c", "--unknown 1", ""], ids=["type", "truth", "choice", "unknown", "missing"]
)
def test_a_wrong_flag_ends_with_status_2(wrong, capsys):
    right = "--out o --rate 1 --kind a --on true" + (" --size 1" if wrong else "")
    with pytest.raises(SystemExit) as caught:
        parse(Example, shlex.split(f"{right} {wrong}"))
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full, a device that is always full")
def test_a_full_disk_is_one_line(tmp_path):
    lines = [
        "from dataclasses import dataclass",
        "from roclip.core.options import run_stage",
        "@dataclass",
        "class Options: pass",
    ]
    lines += ["def run(options): open('/dev/full', 'wb', 0).write(b'x')", "run_stage(Options, run)"]
    (tmp_path / "filling.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "filling"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: what this stage writes: the disk is full; make room and start again\n"
