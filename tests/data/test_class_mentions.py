"""Which captions name a class."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import get_clean_fn

from roclip.data.class_mentions import classes_named, composed, named_by, naming, whole_word


def test_class_names_match_whole_words_in_any_case():
    assert naming(["a Cat.", "catalogue", "two cats", "CAT and dog", ""], "cat").tolist() == [0, 3]

    assert naming(["a \u017fhip", "ship", "\u212aite"], "ship").tolist() == [0, 1]  # a long s is an s in another case
    assert naming(["a \u017fhip", "ship", "\u212aite"], "kite").tolist() == [2]  # and so is the sign of kelvin a k


@pytest.mark.parametrize(
    ("name", "caption", "named"),
    [
        ("c++", "a C++ book", True), ("c++", "c++", True), ("c++", "c++11", False), ("c++", "abc++", False),
        ("c#", "in c#, by hand", True), (".net", "a .NET mug", True), (".net", "asp.net", False), ("dr.", "Dr. No", True),
        ("caf\u00e9", "a cafe\u0301.", True), ("cafe\u0301", "a CAF\u00c9", True), ("caf\u00e9", "a cafe", False),
        ("hot dog", "a hot\u00a0dog", True), ("hot dog", "hot  dogs", False), ("hot dog", "Hot \t dog", True),
        ("hot dog", "a hotdog", False), ("hot dog", "\u00e9 hot\u2003dog", True), ("hot\u00a0dog", "a hot dog", True),
        ("cooper's hawk", "a Cooper\u2019s hawk", True), ("cooper\u2019s hawk", "a cooper's hawk", True),
        ("caf\u00e9", "a caf&eacute; here", True), ("caf\u00e9", "a caf\u00c3\u00a9 here", True),
        ("black & white cat", "one black &amp; white cat", True), ("mushroom", "a mushr&#111;om", True),
        ("cat", "a \uff43\uff41\uff54", True), ("fish", "a \ufb01sh", True), ("r&b", "an R&amp;B song", True),
        ("\u0915\u0941\u0924", "\u0915\u0941\u0924\u094d\u0924\u093e", False),
        ("\u0915\u0941\u0924", "\u0915\u0941\u0924 x", True),
        ("mushroom", "a mush\ufeffroom", True), ("mushroom", "a mush\x00room", True), ("mushroom", "\x1b[1mmushroom", True),
        ("mushroom", "a mushroom\ufffcs", False), ("hot dog", "a hot\x0bdog", False), ("dog", "a dog\u00c2 here", True),
        ("\ufeffmushroom", "a mushroom", True), ("dog", "a hot\x9cdog", False), ("dog", "hot\uff3fdog", False),
        ("mushroom", "a mush\u200broom", False), ("mushroom", "a mush\u00adroom", False),
    ],
)  # fmt: skip
def test_names_with_signs_marks_and_blanks_are_found(name, caption, named):
    assert naming(["", caption], name).tolist() == [1] * named
    assert list(named_by(["", caption], ["?", name])) == [[], [1] * named]


@given(
    st.lists(st.text("sSkKiIıİſK éÉx.-", max_size=12), max_size=20),
    st.text("skiſéx ", min_size=1, max_size=3).filter(str.strip),
)
@settings(deadline=None)
def test_naming_equals_the_pattern_in_all_letters(captions, name):
    pattern = whole_word(name)
    assert naming(captions, name).tolist() == [row for row, caption in enumerate(captions) if pattern.search(composed(caption))]


@given(
    st.lists(st.text("sSkKiIıİſK éÉx.-+\u0301\u00a0", max_size=12), max_size=20),
    st.lists(st.text("skiſéx .+", min_size=1, max_size=3).filter(str.strip), max_size=5),
)
@settings(deadline=None)
def test_all_classes_at_once_are_named_as_each_alone(captions, names):
    alone = [set(naming(captions, name).tolist()) for name in names]
    assert list(named_by(captions, names)) == [
        [n for n, rows in enumerate(alone) if row in rows] for row in range(len(captions))
    ]


def test_classes_are_written_side_by_side():
    names = ["cat", "ice cream", "cream"]
    assert classes_named(["an Ice cream, a cat", "ice", "cream"], names) == ["cat|ice cream|cream", "", "cream"]


PARTS = [
    *(" ", "cat", "it", "<", "\u2019", "\u201c", "&amp;", "&eacute;", "&#111;", "&amp;lt;", "\ufb01", "\uff43", "\u00c3\u00a9"),
    *("\u00e2\u20ac\u2122", "\u00e9", "e\u0301", "\u00fc", "\u4e00", "\u0915\u0941", "\x00", "\x0b", "\x1b[1m", "\x85", "\x9c"),
    *("\ufeff", "\u206a", "\ufffc", "\u0149", "\u0132", "\u01c4", "\u01f1", "\uff3f", "\uff9e", "\u00c2 ", "\u00c3 ", "\u2028"),
    *("\u200b", "\u00ad", "\u200d", "\ufe0f", "\U0001f344"),
]


@given(st.lists(st.sampled_from(PARTS), max_size=8).map("".join))
@settings(deadline=None, max_examples=300)
def test_captions_are_looked_through_as_the_tokenizer_reads_them(caption):
    read = unicodedata.normalize("NFC", get_clean_fn("lower")(caption))
    assert composed(caption).lower().split() == read.split()
