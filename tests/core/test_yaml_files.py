"""YAML that somebody else wrote is plain values or one line, in bounded time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.core.errors import UserError
from roclip.core.yaml_files import BYTES, read_mapping, read_yaml
from tests.fixtures.hostile_tables import one_line

TEN = ", ".join(["*x"] * 10)
LISTS = "x0: &x0 [1]\n" + "".join(f"x{n}: &x{n} [{TEN.replace('x', f'x{n - 1}')}]\n" for n in range(1, 9))
MAPPINGS = "x0: &x0 {a: 1}\n" + "".join(
    f"x{n}: &x{n} {{{', '.join(f'k{i}: *x{n - 1}' for i in range(10))}}}\n" for n in range(1, 9)
)
MERGES = "x0: &x0 {a: 1}\n" + "".join(f"x{n}: &x{n} {{<<: [{TEN.replace('x', f'x{n - 1}')}]}}\n" for n in range(1, 9))
REFUSED = {
    "aliases of lists": (LISTS, "more than 100000 values; are there aliases of aliases"),
    "aliases of mappings": (MAPPINGS, "more than 100000 values; are there aliases of aliases"),
    "merge keys of merge keys": (MERGES, "more than 100000 values; are there aliases of aliases"),
    "a list that holds itself": ("a: &a [*a]\n", "line 1: an alias holds itself"),
    "a mapping that holds itself": ("b: 1\na: &a {c: {d: *a}}\n", "line 2: an alias holds itself"),
    "a mapping as a key of itself": ("a: &a {? *a : 1}\n", "an alias holds itself"),
    "deep": ("a: " + "[" * 21 + "]" * 21, "more than 20 mappings or lists in one another"),
    "very deep": ("[" * 10_000, "nested too deeply"),
    "long": ("a: " + "x" * BYTES, f"more than {BYTES} bytes"),
    "many": (f"a: [{'1,' * 100_001}]", "more than 100000 values"),
    "an alias of nothing": ("a: *b\n", "not YAML: .*undefined alias"),
    "two documents": ("a: 1\n---\nb: 1\n", "not YAML: expected a single document"),
    "a control character": ('a: "\x07"\n', "not YAML"),
    "a mapping as a key": ("? {a: 1}\n: b\n", "unhashable key"),
    "a date that is none": ("a: 2024-13-45\n", "month must be in 1..12"),
    "a number of thousands of digits": (f"a: {'9' * 5000}\n", "not YAML that can be read"),
    "a tag of Python": ("a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    "a name of Python": ("a: !!python/name:os.system\n", "could not determine a constructor"),
    "no number": ("a: !!int x\n", "not YAML that can be read"),
    "no base 64": ("a: !!binary \xe9\n", "not YAML that can be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_one_line_and_in_time(tmp_path, case):
    text, message = REFUSED[case]
    (tmp_path / "a.yaml").write_text(text)
    start = time.process_time()
    with pytest.raises(UserError, match=message) as caught:
        read_yaml(tmp_path / "a.yaml")
    one_line(caught, tmp_path / "a.yaml")
    assert time.process_time() - start < 10


def test_aliases_and_merge_keys_in_measure_are_read(tmp_path):
    (tmp_path / "a.yaml").write_text("x: &x {a: 1}\ny: {<<: *x, b: [*x, *x]}\n")
    assert read_mapping(tmp_path / "a.yaml") == {"x": {"a": 1}, "y": {"a": 1, "b": [{"a": 1}, {"a": 1}]}}


@pytest.mark.parametrize("text", ["", "- a\n", "a\n", "1\n", "null\n", "# nothing\n"])
def test_what_is_no_mapping_is_one_line(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match="holds no keys with values at its top level") as caught:
        read_mapping(tmp_path / "a.yaml")
    one_line(caught, tmp_path / "a.yaml")


WORDS = st.sampled_from(
    ["a", ": ", "- ", "&a ", "*a", "<<", "{", "}", "[", "]", ", ", "\n", "  ", "? ", "!!", "!!int ", "!!set ", "!!omap ",
     "'", '"', "|", ">", "%", "---", "2024-01-01", "12:30", "010", ".nan", "~", "\t", "#",
     "\\x", "é", "!!timestamp ", "!!float ", "="]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=60), st.lists(WORDS, max_size=30).map(lambda words: "".join(words).encode())))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_values_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    path.write_bytes(content)
    for read in (read_yaml, read_mapping):
        try:
            read(path)
        except UserError as error:
            message = str(error)
            assert message.startswith(str(path))
            assert message.isprintable()
