"""The table of mutants fits the code as it is."""

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.mutants.table import mutants


@pytest.mark.parametrize("mutant", list(mutants()), ids=lambda mutant: f"{Path(mutant.file).stem}: {mutant.what}")
def test_a_mutant_changes_code_and_names_tests(mutant):
    assert compile(mutant.applied(ROOT), mutant.file, "exec")
    assert mutant.applied(ROOT) != (ROOT / mutant.file).read_text(encoding="utf-8")
    assert all((ROOT / test.partition("::")[0]).is_file() for test in mutant.tests)
