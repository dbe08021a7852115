"""Which captions name a class."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.data.class_mentions import classes_named, named_by, naming


def test_class_names_match_whole_words_in_any_case():
    assert naming(["a Cat.", "catalogue", "two cats", "CAT and dog", ""], "cat").tolist() == [0, 3]

    assert naming(["a \u017fhip", "ship", "\u212aite"], "ship").tolist() == [0, 1]  # a long s is an s in another case
    assert naming(["a \u017fhip", "ship", "\u212aite"], "kite").tolist() == [2]  # and so is the sign of kelvin a k


@given(
    st.lists(st.text("sSkKiIıİſK éÉx.-", max_size=12), max_size=20),
    st.text("skiſéx ", min_size=1, max_size=3).filter(str.strip),
)
@settings(deadline=None)
def test_naming_equals_the_plain_pattern_in_all_letters(captions, name):
    pattern = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
    assert naming(captions, name).tolist() == [row for row, caption in enumerate(captions) if pattern.search(caption)]


@given(
    st.lists(st.text("sSkKiIıİſK éÉx.-", max_size=12), max_size=20),
    st.lists(st.text("skiſéx .", min_size=1, max_size=3).filter(str.strip), max_size=5),
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
