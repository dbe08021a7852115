"""Which captions name a class."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.data.class_mentions import naming


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
