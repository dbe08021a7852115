"""What YAML drops or rereads without a word is named with file and line."""

import copy
import shutil
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake.cli import parse_config

from attacks import ATTACKS
from roclip.core.errors import UserError
from roclip.core.yaml_files import BYTES
from roclip.experiment.config import check
from roclip.experiment.files import check_arguments, check_files, merged, read_config, together
from roclip.experiment.plan import Plan
from tests.conftest import ROOT
from tests.fixtures.configs import COMPLETE, CONFIG, changed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attack:\n  a: {kind: clean}\n  b: {kind: clean}\n  a: {kind: targeted}\n", "line 4: duplicate key 'a'"),
        ("seeds: [1]\nseeds: [2]\n", "line 2: duplicate key 'seeds'"),
        ("attack:\n  a: {poisons: 1, poisons: 2}\n", "line 2: duplicate key 'poisons'"),
        ("x: [{a: 1}, {b: 1, b: 1}]\n", "line 1: duplicate key 'b'"),
        ("x: &x {a: 1, b: 2}\ny: {<<: *x, a: 2}\nz: {<<: &z {a: 1}, a: 2, c: 1, c: 2}\n", "line 3: duplicate key 'c'"),
        ("a: [1\n", "not YAML"),
        ("[" * 10000, "nested too deeply"),
        ("a: 1\nseeds: [010]\n", "line 2: YAML reads 010 as 8; write the number without a leading 0"),
        ("seeds: [1__0]\n", "line 1: YAML reads 1__0 as 10; write the number without .* an underscore that stands between no"),
        ("a: 10_\n", "line 1: YAML reads 10_ as 10"),
        ("a: 1_.5\n", "line 1: YAML reads 1_.5 as 1.5"),
        ("a: -1.0e-400\n", "line 1: YAML reads -1.0e-400 as 0, for it is too small for a number; write a larger one"),
        ("a: 1:30\n", "line 1: YAML reads 1:30 as 90"),
        ("a: 1:30.5\n", "line 1: YAML reads 1:30.5 as 90.5"),
    ],
)
def test_what_is_not_as_it_looks_is_named_with_file_and_line(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"mine\.yaml.*{message}") as caught:
        check_files([tmp_path / "mine.yaml"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_in_another_encoding_is_named(tmp_path, encoding):
    (tmp_path / "mine.yaml").write_bytes("a: 1\nb: é\n".encode(encoding))
    with pytest.raises(UserError, match=r"mine\.yaml, line \d: not UTF-8; save it as UTF-8"):
        check_files([tmp_path / "mine.yaml"])


def test_ordinary_numbers_merge_keys_and_the_project_s_own_configs_are_right(tmp_path):
    (tmp_path / "mine.yaml").write_text("x: &x {a: 1}\ny: &y {<<: *x, a: 2}\nz: {<<: *x, <<: *y, a: 3}\n")
    (tmp_path / "numbers.yaml").write_text(
        "a: [0, -0, 10, 0.5, 00.5, 0x10, 1_000, 0x1_f, '010', 1:30x, 5.0e-4, 0.0e-400, .nan, .inf]\n"
    )
    (tmp_path / "empty.yaml").write_bytes(b"\xef\xbb\xbf")
    check_files([*tmp_path.glob("*.yaml"), *map(str, ROOT.glob("config/*.yaml"))])


@pytest.mark.parametrize("name", ["mine.yaml", "mine.json"])
def test_a_config_of_any_form_has_a_limit(tmp_path, name):
    (tmp_path / name).write_text('{"seeds": [%s 1]}' % ("1, " * (BYTES // 3)))
    with pytest.raises(UserError, match=rf"{name}: more than {BYTES} bytes; is it the right file\?"):
        together([tmp_path / name])


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_aliases_of_aliases_and_one_that_holds_itself_do_not_hang(tmp_path):
    (tmp_path / "bomb.yaml").write_text(BOMB)
    (tmp_path / "self.yaml").write_text("a: &a [*a]\nb: &b {c: *b}\n")
    start = time.monotonic()
    for path in tmp_path.glob("*.yaml"):
        with pytest.raises(UserError, match=r"aliases of aliases|an alias holds itself"):
            check_files([path])
    for name, message in (("bomb", "more than 100000 values"), ("self", "more than 20 .* does an alias hold itself")):
        content = yaml.safe_load((tmp_path / f"{name}.yaml").read_text())
        with pytest.raises(UserError, match=f"^config: {message}"):
            check(CONFIG | content, ATTACKS)
        with pytest.raises(UserError, match=f"^config: {message}"):
            check(CONFIG | {"sweeps": content}, ATTACKS)
    assert time.monotonic() - start < 5


ARGUMENTS = {  # a file's content, and what is said of it before Snakemake reads it
    "latin-1": ("a: 1\nb: é\n".encode("latin-1"), "line 2: not UTF-8; save it as UTF-8"),
    "utf-16": ("a: 1\n".encode("utf-16"), "line 1: not UTF-8"),
    "a bomb": (BOMB.encode(), "more than 100000 values"),
    "a loop": (b"a: &a [*a]\n", "an alias holds itself"),
    "a list": (b"- a\n", "holds no keys with values"),
    "nothing": (b"", "holds no keys with values"),
    "tabs": (b"a:\n\tb: 1\n", "not YAML"),
    "a template": (b"__use_yte__: true\n__definitions__: ['import os']\na: ?os.getcwd()\n", "a template with code in it"),
    "octal": (b"seeds: [010]\n", "line 1: YAML reads 010 as 8"),
}


@pytest.mark.parametrize(
    "form",
    [
        "--configfile PATH",
        "--configfiles ok.yaml PATH --cores 2",
        "-n --configfile=PATH",
        "--configfile ok.yaml --configfile PATH",
    ],
)
@pytest.mark.parametrize("case", ARGUMENTS)
def test_config_files_are_looked_at_before_snakemake_reads_them(tmp_path, monkeypatch, case, form):
    content, message = ARGUMENTS[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_bytes(content)
    (tmp_path / "ok.yaml").write_text("seeds: [1]\n")
    with pytest.raises(UserError, match=rf"^mine\.yaml.*{message}") as caught:
        check_arguments([word.replace("PATH", "mine.yaml") for word in form.split()])
    assert "\n" not in str(caught.value)


def test_other_arguments_and_json_pass(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text('{\n\t"seeds": [1]\n}\n')
    check_arguments(["-n", "--config", "seeds=[1]", "x=y", "--configfile", "mine.json", "--", "results/x"])
    check_arguments(["--cores", "all", "target"])


@pytest.mark.parametrize("target", ["tables", "attacks"])
def test_a_target_after_the_config_file_is_told_where_it_belongs(tmp_path, monkeypatch, target):
    """Whether nothing or a folder has that name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("seeds: [10]\n")
    (tmp_path / "attacks").mkdir()
    with pytest.raises(UserError, match=f"^{target}: no such config file; if it is a target, name it before --configfile$"):
        check_arguments(["--cores", "1", "--configfile", "mine.yaml", target])
    check_arguments([target, "--configfile", "mine.yaml"])


def ways_of(node, way=()) -> list[tuple]:
    """The way to every value of a config: keys and places in lists."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [way, *(inside for key, value in inner for inside in ways_of(value, (*way, key)))]


ODD = [
    None, True, False, 0, 1, -1, 2, 10**6, 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan"), b"a", (1, 2),
    "", " ", "a", "..", "/", ".", "-x", "/dev/zero", "/proc/self/mem", "results/../..", "config/config.yaml",
    "config/scenes/classes.txt", "config/models/small.json", "a" * 5000, "a\nb", "\0", "\ud800", "{}", "$(touch x)", "é",
    [], [[]], ["a", "a"], [None], {}, {"a": {}}, {"": 1}, {"a b": [1, 2]}, {1: 2}, {"train": "tests"},
    {"root": ".", "sets": ["dtd"]}, "targeted", "patch", "clip", "roclip", {"kind": "clip"}, {"train": {"kind": "roclip"}},
    {"kind": "finetune"}, {"kind": "cosine", "scored_by": {"kind": "clip"}}, {"kind": "random"}, {1: 2, "foo": 3},
]  # fmt: skip
NESTED = st.recursive(
    st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
VALUES = st.one_of(st.sampled_from(ODD), st.integers(), st.floats(), st.text(max_size=8), NESTED)
AXES = st.sampled_from(["pool_size", "match_every", "targets", "epochs", "train.epochs", "kind", "start_from", "x"])
SWEEP = st.fixed_dictionaries(
    {"attacks": st.just(["targeted"]), "defences": st.just(["roclip"])},
    optional={"axes": st.dictionaries(AXES, VALUES, max_size=2), "seeds": VALUES},
)
KEYS = st.text(max_size=5) | st.sampled_from(["filter", "repair", "kind", "scored_by", "start_from", "epochs", 1])


@st.composite
def mutated(draw) -> dict:
    """The default config, complete or not, with up to 3 values replaced, removed or added, in a sweep too."""
    config = copy.deepcopy(draw(st.sampled_from([CONFIG, COMPLETE])))
    if draw(st.booleans()):
        config["sweeps"] = {"x": copy.deepcopy(draw(SWEEP))}
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(ways_of(config)[1:]))
        place = config
        for key in way:
            place = place[key]
        match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
            case "replace":
                place[last] = copy.deepcopy(draw(VALUES))
            case "remove":
                del place[last]
            case "add" if isinstance(place, dict):
                place[draw(KEYS)] = copy.deepcopy(draw(VALUES))
    return config


@given(mutated())
@settings(max_examples=200, deadline=None)
def test_any_config_is_a_plan_or_one_line(config):
    try:
        assert isinstance(check(config, ATTACKS)[1], Plan)
    except UserError as error:
        message = str(error)
        assert message.isprintable()
        message.encode()


@pytest.mark.parametrize("text", ["esc\x1b[31m", "a\nb", "\u202etxt.exe", "\x7f"])
def test_what_a_terminal_acts_on_is_refused_wherever_it_stands(text):
    """The jobs' commands are shown."""
    with pytest.raises(UserError, match=r"^attack\.patch\.target_class: .* it holds a character that a terminal would act on"):
        check(changed("attack.patch.target_class", text), ATTACKS)


@pytest.mark.parametrize("name", ["a{b}", "a:b", "}"])
def test_a_workflow_in_a_folder_that_snakemake_would_misread_is_refused(tmp_path, name):
    shutil.copytree(ROOT / "config", tmp_path / name / "config")
    with pytest.raises(UserError, match="may hold no braces and no colon; rename it"):
        read_config(tmp_path / name, {}, [])
    (tmp_path / name).rename(tmp_path / "a b ä")
    assert read_config(tmp_path / "a b ä", {}, [])["experiment"]


GIVEN_BY_ARGUMENTS = [
    ("seeds=[20, 21]", {"seeds": [20, 21]}),
    (
        "train={epochs: 2, precision: float32, micro_batch: null}",
        {"train": {"epochs": 2, "precision": "float32", "micro_batch": None}},
    ),
    ("data={wrong_captions: 0.25}", {"data": {"wrong_captions": 0.25}}),
    ("attacks=[patch, {a: [1]}]", {"attacks": ["patch", {"a": [1]}]}),
    ("experiment=20", {"experiment": 20}),
    ("train={model: '{'}", {"train": {"model": "{"}}),
    ("train={model: 'a #2', epochs: 3}", {"train": {"model": "a #2", "epochs": 3}}),
    ("data={roots: ['/mnt/a #b', '&a dog', '--- 5', '!!str 5', '2026-13-45']}",
     {"data": {"roots": ["/mnt/a #b", "&a dog", "--- 5", "!!str 5", "2026-13-45"]}}),
    ("train={micro_batch: ~, resume_anyway: true}", {"train": {"micro_batch": None, "resume_anyway": True}}),
]  # fmt: skip


@pytest.mark.parametrize(("argument", "given"), GIVEN_BY_ARGUMENTS)
def test_numbers_in_lists_and_mappings_of_snakemakes_command_line_are_numbers(argument, given):
    parsed = parse_config([argument])
    assert read_config(ROOT, parsed, [], parsed) == merged(read_config(ROOT, {}, []), given)


ALIASES = ", ".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]" for n in range(1, 9))
ODD_ARGUMENTS = {
    "seeds=[" + "1" * 5000 + "]": "--config: not YAML that can be read: ",
    "seeds=[0b_]": "--config: not YAML that can be read: ",
    "sweeps={b0: &b0 [1, 1], " + ALIASES + "}": "config: more than 100000 values; are there aliases of aliases in it",
}


@pytest.mark.parametrize("argument", ODD_ARGUMENTS)
def test_an_odd_argument_is_one_line(argument):
    with pytest.raises(UserError) as raised:
        read_config(ROOT, {}, [], parse_config([argument]))
    assert str(raised.value).startswith(ODD_ARGUMENTS[argument])


@pytest.mark.parametrize("form", ["--config {}", "-C x=1 {}", "--config x=1 {} --configfile"])
def test_a_duplicate_key_of_the_command_line_is_refused(form):
    word = "data={tables:{train:\u00a0a,train:\u00a0b}}".replace("\u00a0", " ")
    words = [word if each == "{}" else each for each in form.replace("--configfile", "").split()]
    with pytest.raises(UserError, match=r"^--config: duplicate key 'train' in data; rename one$"):
        check_arguments(words)


@pytest.mark.parametrize("text", ["seeds: [!!int '{:']", "a: !!float '*a:'", "a: " + "1" * 4400 + ":30"])
def test_a_number_of_a_file_that_is_none_is_one_line(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml, line 1: "):
        check_files([tmp_path / "mine.yaml"])


@pytest.mark.parametrize("number", ["020", "1:30", "1__0", "1.0e-400"])
def test_a_number_of_the_command_line_that_yaml_misreads_is_refused(number):
    with pytest.raises(UserError, match=f"^--config: YAML reads {number} as"):
        read_config(ROOT, {}, [], parse_config([f"seeds=[{number}]"]))
