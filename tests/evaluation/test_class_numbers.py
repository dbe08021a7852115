"""Labels are class numbers by the list of classes, and one that is no class names table, row and list."""

import pytest

from roclip.core.errors import UserError
from roclip.evaluation.class_numbers import labels_of


def test_labels_are_class_numbers_and_one_that_is_no_class_is_named(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    table = tmp_path / "test.csv"
    assert labels_of(table, [{"label": "dog"}, {"label": "cat"}], tmp_path / "classes.txt").tolist() == [1, 0]
    with pytest.raises(UserError) as caught:
        labels_of(table, [{"label": "dog"}, {"label": "cta"}], tmp_path / "classes.txt")
    assert str(caught.value) == f"{table}, row 2: the label 'cta' is not in {tmp_path}/classes.txt; did you mean 'cat'?"
