"""Flags and dataclasses are two spellings of the same thing."""

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.core.errors import UserError
from roclip.core.options import PATH, Stage, flags, option, parse, run_stage, same_option, whole
from tests.conftest import ROOT


@dataclass(frozen=True)
class Example:
    out: Path = option("a path")
    size: int = option("a number")
    rate: float = option("a number")
    on: bool = option("a switch")
    kind: str = option("a word", choices=("a", "b"))
    limit: int | None = option("may be missing", default=None)
    names: tuple[str, ...] = option("words", default=("usual", "words"))


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))  # what a command line can hold
WORDS = TEXTS.filter(lambda text: text != "--") | st.sampled_from(
    ["x y", "'", "$HOME", "é", "-x", "--size", "---", "-1", "=", "--out=a", "", "{a}", "*", "~", "a\nb"]
)


@given(
    size=st.integers(),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    on=st.booleans(),
    out=WORDS.filter(lambda text: str(Path(text)) == text),
    names=st.lists(WORDS, max_size=3),
)
@settings(deadline=None)
def test_values_survive_the_shell(size, rate, on, out, names):
    values = {"out": out, "size": size, "rate": rate, "on": on, "kind": "b", "limit": None, "names": names}
    parsed = parse(Example, shlex.split(flags(values)))
    assert parsed == Example(Path(out), size, rate, on, "b", None, tuple(names))


def test_the_one_word_that_cannot_be_given_is_refused():
    with pytest.raises(UserError, match="names: the word '--' cannot be given to a stage"):
        flags({"names": ["a", "--"]})


@given(st.lists(WORDS, min_size=1, max_size=3))
@settings(max_examples=20, deadline=None)
def test_a_real_shell_reads_them_so_too(names):
    command = f"printf '%s\\0' {flags({'names': names})}"
    words = subprocess.run(["bash", "-c", command], capture_output=True).stdout.decode().split("\0")[:-1]
    assert words == shlex.split(flags({"names": names}))


def test_what_is_not_given_has_its_default_and_a_flag_without_words_is_empty():
    given_flags = shlex.split(flags({"out": "o", "size": 1, "rate": 0.5, "on": True, "kind": "a"}))
    assert parse(Example, given_flags) == Example(Path("o"), 1, 0.5, True, "a")
    assert parse(Example, [*given_flags, "--names"]).names == ()
    assert flags({"names": []}) == "--names"
    assert parse(Example, [*given_flags, "--names", "a", "b", "--names=-c"]).names == ("a", "b", "-c")  # several add up


@pytest.mark.parametrize(
    "wrong",
    ["--size x", "--on yes", "--kind c", "--unknown 1", "", "--rate nan", "--rate inf", "--rate=-inf", "--siz 3", "--size"],
)
def test_a_wrong_flag_ends_with_status_2(wrong, capsys):
    right = "--out o --rate 1 --kind a --on true" + (" --size 1" if wrong else "")
    with pytest.raises(SystemExit) as caught:
        parse(Example, shlex.split(f"{right} {wrong}"))
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


@dataclass(frozen=True, kw_only=True)
class Bounded:
    count: int = option("from 1 to 9", 3, minimum=1, maximum=9)
    share: float = option("inside 0 and 1", 0.5, above=0, below=1)
    seeds: tuple[int, ...] = option("two or more, from 0", (0, 1), minimum=0, fewest=2)
    maybe: float | None = option("above 0, or not given", None, above=0)


@pytest.mark.parametrize(
    "right", ["--count 1", "--count 9", "--share 1e-9", "--share .999", "--seeds 0 5", "--seeds 0 1 2", "--maybe 1e300"]
)
def test_a_bound_that_is_kept_is_silent(right):
    parse(Bounded, right.split())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("--count 0", "argument --count: 0 must be at least 1"),
        ("--count 10", "argument --count: 10 must be at most 9"),
        (f"--count {10**400}", "0 must be at most 9"),
        ("--share 0", "argument --share: 0.0 must be above 0"),
        ("--share 1", "argument --share: 1.0 must be below 1"),
        ("--seeds 3", "argument --seeds: at least 2 needed"),
        ("--seeds", "argument --seeds: at least 2 needed"),
        ("--seeds 3 -1", "argument --seeds: -1 must be at least 0"),
        ("--maybe 0", "argument --maybe: 0.0 must be above 0"),
        ("--maybe nan", "'nan' is NaN or infinite"),
    ],
)
def test_a_bound_that_is_broken_is_named(wrong, message, capsys):
    with pytest.raises(SystemExit):
        parse(Bounded, wrong.split())
    assert message in capsys.readouterr().err


def test_help_has_meanings_bounds_legal_words_and_defaults(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(Bounded, ["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--count N from 1 to 9 (at least 1; at most 9; default: 3)" in text
    assert "--share X inside 0 and 1 (above 0; below 1; default: 0.5)" in text
    assert "two or more, from 0 (at least 0; 2 or more of them; default: 0 1)" in text
    assert "--maybe X above 0, or not given (above 0)" in text
    with pytest.raises(SystemExit):
        parse(Example, ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--kind {a,b} a word" in text
    assert "--on true|false" in text
    assert "--out PATH" in text


class Round:
    @dataclass(frozen=True, kw_only=True)
    class Settings:
        radius: float = option("of the circle", 1.0, above=0)


class Square:
    @dataclass(frozen=True, kw_only=True)
    class Settings:
        side: int = option("of the square")
        inner: Mapping[str, int] = option("a mapping, which is no flag", schema={"type": "object"})


@dataclass(frozen=True, kw_only=True)
class Shapes:
    seed: int = option("seed", 0)


def stage(seen: list) -> Stage:
    return Stage(Shapes, seen.append, kinds={"round": Round, "square": Square})


def test_a_stage_has_the_options_of_its_kind(capsys):
    seen: list = []
    run_stage("draw", stage(seen), None, ["--kind", "round", "--seed", "3", "--radius", "0.5"])
    run_stage("draw", stage(seen), None, ["--side=2", "--kind=square"])
    assert [dataclasses.asdict(options) for options in seen] == [
        {"seed": 3, "radius": 0.5, "kind": "round"},
        {"seed": 0, "side": 2, "inner": None, "kind": "square"},
    ]
    for wrong in (["--kind", "round", "--side", "2"], ["--kind", "oval"], [], ["--kind", "square"]):
        with pytest.raises(SystemExit) as caught:
            run_stage("draw", stage(seen), None, wrong)
        assert caught.value.code == 2
    assert len(seen) == 2


@pytest.mark.parametrize("name", ["seed", "kind"])
def test_a_setting_that_is_called_like_an_option_of_its_stage_is_one_line(name, capsys):
    """One flag would give both their value, the stage's."""

    class Own:
        """A shape of somebody's own."""

        Settings = dataclasses.make_dataclass("Settings", [(name, int, option("its size", 5))], frozen=True, kw_only=True)

    with pytest.raises(SystemExit) as caught:
        run_stage("draw", dataclasses.replace(stage([]), kinds={"own": Own}), None, ["--kind", "own"])
    where = f"error: tests.core.test_options.{Own.__qualname__}.Settings.{name}"
    assert caught.value.code == f"{where}: the stage has an option of that name; call this one otherwise"


def test_a_kind_may_have_what_its_stage_leaves_to_it():
    class Own:
        """A shape with a seed of its own."""

        Settings = dataclasses.make_dataclass("Settings", [("seed", int, option("its seed", 5))], frozen=True, kw_only=True)

    assert parse(Stage(Shapes, print, kinds={"own": Own}, own=("seed",)).options_of("own"), []).seed == 5


def test_help_of_a_stage_names_its_kinds_and_of_a_kind_its_options(capsys):
    with pytest.raises(SystemExit):
        run_stage("draw", stage([]), "Draws.", ["--help"])
    text = capsys.readouterr().out
    assert "--kind is one of round, square" in text
    assert "radius" not in text
    with pytest.raises(SystemExit):
        run_stage("draw", stage([]), "Draws.", ["--kind", "round", "-h"])
    assert "of the circle (above 0; default: 1.0)" in " ".join(capsys.readouterr().out.split())


def test_the_same_option_elsewhere_has_its_bounds_meaning_and_default():
    @dataclass(frozen=True, kw_only=True)
    class Other:
        count: int = same_option(Bounded, "count")
        seeds: tuple[int, ...] = same_option(Bounded, "seeds", default=(7, 8), role="neutral")

    assert parse(Other, []) == Other(count=3, seeds=(7, 8))
    with pytest.raises(SystemExit):
        parse(Other, ["--count", "0"])
    roles = {field.name: field.metadata["role"] for field in dataclasses.fields(Other)}
    assert roles == {"count": None, "seeds": "neutral"}


def test_a_mapping_as_a_default_is_not_shared():
    @dataclass
    class Holder:
        tables: dict = option("by name", {})

    first, second = Holder(), Holder()
    first.tables["a"] = 1
    assert second.tables == {}


@pytest.mark.parametrize("path", ["a", "results/../x y", "/data/é", "C:\\x"])
def test_an_ordinary_path_is_legal_in_a_config(path):
    assert re.search(whole(PATH), path)


@pytest.mark.parametrize("path", ["", "-x", "{x}", "a{", "a\nb", "a\n", "\0", "a\x1b[31m", "a\x9b", "\x7f", "a\u202e"])
def test_a_path_that_rules_or_flags_would_misread_is_not(path):
    assert not re.search(whole(PATH), path)


FAULTS = {
    "open('/dev/full', 'wb', 0).write(b'x')": "what is written: the disk is full; make room and start again",
    "raise RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.0 GiB free. Process 7 has more\\n at 0x')":
        "out of memory: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.0 GiB free; use a machine or GPU that has "
        "more of it free",
    "open('filling.py/x', 'w')": "filling.py/x: Not a directory; is it a file in place of a folder, a link, or another's?",
    "from pathlib import Path; Path('filling.py').mkdir(exist_ok=True)":
        "filling.py: File exists; is it a file in place of a folder, a link, or another's?",
    "bytearray(1 << 60)": "out of memory: none is left; use a machine or GPU that has more of it free",
}  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full, a device that is always full")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_full_disk_too_little_memory_and_what_is_in_the_way_are_one_line(tmp_path, fault):
    lines = [
        "from dataclasses import dataclass",
        "from roclip.core.options import Stage, run_stage",
        "@dataclass",
        "class Options: pass",
        f"def run(options): {fault}",
        "run_stage('filling', Stage(Options, run), None, [])",
    ]
    (tmp_path / "filling.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "filling"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: {FAULTS[fault]}\n"
