"""EDA edits as Wei and Zou describe, never crashes, and draws by seed, epoch and row alone."""

import math
import os
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roclip.defences import eda as module
from roclip.defences.eda import delete_words, eda, insert_words, keyed, replace_words, swap_words, synonyms

WORDS = "a large red ship and a small house near the water".split()


@given(st.text(max_size=60), st.integers(0, 1000))
@settings(deadline=None, max_examples=300)
def test_eda_takes_any_caption_and_leaves_short_ones(text, seed):
    words = text.split()
    edited = eda(words, Random(seed))
    assert all(isinstance(word, str) for word in edited)
    assert len(edited) >= min(1, len(words))
    if len(words) < 2:
        assert edited == words


def test_replacement_uses_synonyms_only():
    for seed in range(50):
        edited = replace_words(WORDS, 1, Random(seed))
        changed = [(old, new) for old, new in zip(WORDS, edited, strict=True) if old != new]
        assert len(changed) == 1
        assert all(new in synonyms()[old] for old, new in changed)


def test_stop_words_are_never_replaced_and_lend_no_synonym():
    """All of these have synonyms in WordNet."""
    words = "have over about can now there down most".split()
    listed = files("roclip.defences").joinpath("synonyms.tsv").read_text(encoding="utf-8")
    assert all(f"\n{word}\t" in listed for word in words)
    for edit in (replace_words, insert_words):
        assert edit(words, 3, Random(0)) == words
    assert "ship" not in replace_words([*words, "ship"], 3, Random(0))


@pytest.mark.parametrize("number", [2, 5, 10])
def test_a_swap_draws_its_second_word_again(number):
    """Up to three times: of n words it changes nothing with a probability of n to the power of -3."""
    words, times = [str(i) for i in range(number)], 4000
    same = sum(swap_words(words, 1, Random(seed)) == words for seed in range(times))
    assert same / times == pytest.approx(number**-3, abs=4 * math.sqrt(number**-3 / times))


def test_insertion_adds_one_synonym_and_keeps_the_order():
    for seed in range(50):
        edited = insert_words(WORDS, 1, Random(seed))
        (new,) = list((Counter(edited) - Counter(WORDS)).elements())
        assert any(new in synonyms().get(word, []) for word in WORDS)
        edited.remove(new)
        assert sorted(edited) == sorted(WORDS)


def test_swap_permutes_and_deletion_takes_a_tenth():
    assert all(sorted(swap_words(WORDS, 1, Random(seed))) == sorted(WORDS) for seed in range(50))
    left = sum(len(delete_words(WORDS, 1, Random(seed))) for seed in range(2000)) / (2000 * len(WORDS))
    assert left == pytest.approx(0.9, abs=0.01)
    assert len(delete_words(["one"], 1, Random(0))) == 1


@pytest.mark.parametrize("number", [5, 19, 20, 50])
def test_a_tenth_of_the_words_is_edited_but_one_at_least(number, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "EDITS", (lambda words, edits, _: asked.append(edits) or words,))
    eda(["ship"] * number, Random(0))
    assert asked == [max(1, number // 10)]


def test_of_few_words_one_is_left():
    assert all(len(delete_words(["red", "ship"], 1, Random(seed))) in (1, 2) for seed in range(1000))


def test_words_without_synonyms_pass_unchanged():
    words = ["東京", "1234", "zzzz"]
    assert replace_words(words, 1, Random(0)) == words
    assert insert_words(words, 1, Random(0)) == words


def test_the_four_edits_are_equally_likely(monkeypatch):
    seen = Counter()
    edits = tuple(lambda words, _n, _r, i=i: seen.update([i]) or words for i in range(4))
    monkeypatch.setattr(module, "EDITS", edits)
    for seed in range(4000):
        eda(WORDS, Random(seed))
    assert all(count == pytest.approx(1000, abs=120) for count in seen.values())


def test_fresh_each_epoch_and_keyed_by_seed_epoch_and_row():
    first, second = ([keyed(0, epoch)(WORDS, row) for row in range(30)] for epoch in (1, 2))
    assert first == [eda(WORDS, Random(f"0,1,{row}")) for row in range(30)]
    assert first != second
    assert first != [keyed(1, 1)(WORDS, row) for row in range(30)]
    assert len(set(map(tuple, first))) > 5
    assert keyed(0, 1)(WORDS, 29) == first[29]  # whatever was edited before


def test_does_not_depend_on_the_hash_seed():
    code = f"from roclip.defences.eda import keyed; print([keyed(0, 1)({WORDS!r}, row) for row in range(50)])"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": h}, capture_output=True, check=True
        ).stdout
        for h in ("1", "2")
    ]
    assert runs[0] == runs[1]
