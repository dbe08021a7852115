"""Tokens equal open_clip's, of captions as they are or edited."""

import copy
from random import Random

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from roclip.model import towers
from roclip.model.captions import Captions

TOKENIZER = SimpleTokenizer(context_length=16)
WORDS = "a large red ship and a small house near the water".split()


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
@settings(deadline=None, max_examples=300)
def test_tokens_equal_open_clips_on_any_text(texts):
    assert torch.equal(Captions(texts, TOKENIZER).tokens(), TOKENIZER(texts))


@pytest.mark.parametrize(
    "text", ["NA", "null", "nan", "", "it's a dog's life, isn't it?", "été 東京 123 &amp; <b>", "x " * 100]
)
def test_tokens_equal_open_clips_on_awkward_captions(text):
    assert torch.equal(Captions([text], TOKENIZER).tokens(), TOKENIZER([text]))


def test_a_long_caption_keeps_its_end_token():
    tokens = Captions(["word " * 50], TOKENIZER).tokens()
    assert tokens[0, -1] == TOKENIZER.eot_token_id


def backwards_but_row_3(words: list[str], row: int) -> list[str]:
    return words if row == 3 else words[::-1]


def test_an_edit_is_told_the_row_and_replaces_the_words():
    texts = [f"word {row} of row {row}" for row in range(5)]
    edited = [text if row == 3 else " ".join(text.split()[::-1]) for row, text in enumerate(texts)]
    assert torch.equal(Captions(texts, TOKENIZER).tokens(edit=backwards_but_row_3), TOKENIZER(edited))


def test_a_batch_has_the_tokens_that_the_whole_has():
    table = Captions([" ".join(WORDS[n % 4 :]) for n in range(40)], TOKENIZER)
    whole, rows = table.tokens(edit=backwards_but_row_3), torch.tensor([7, 39, 3, 7])
    assert torch.equal(table.tokens(rows, backwards_but_row_3), whole[rows])
    assert torch.equal(table.tokens(rows), table.tokens()[rows])
    assert table.tokens(rows[:0]).shape == (0, 16)


# what random text seldom holds: entities (also broken and doubly escaped), white space of every sort, marks, emoji, mojibake,
# and the special tokens as text
ODD = (
    "&amp;", "&amp;amp;", "&lt;b&gt;", "&#39;", "&nbsp;", "&#x3000;", "&amp", "&bogus;", " ", "  ", "\t", "\n", "\r\n", "\x0b",
    "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\u1680", "\u2003", "\u2028", "\u202f", "\u3000", "\ufeff", "\u200b", "\u200d",
    "\u0301", "İ", "ß", "ﬁ", "Ǆ", "ſ", "K", "½", "٣", "四", "東京", "привет", "مرحبا", "👩‍🚀", "🇷🇴", "Ã©", "â€™", "’", "“", "…",
    "<start_of_text>", "<END_OF_TEXT>", "<start_of_text", "'s", "'S", "'re", "n't", "''ll", "_", "---", "!?", "{}", "—",
    "\\", "\x00", "\x7f", "\U0010ffff", "a", "THE", "dog", "2024", "3.14", "x" * 70,
)  # fmt: skip


def odd_texts(count: int, seed: int) -> list[str]:
    """Strings of up to 12 parts: odd ones, and runs of code points from the whole of Unicode (but no lone surrogates)."""
    random = Random(seed)

    def part() -> str:
        if random.random() < 0.6:
            return random.choice(ODD)
        last = random.choice((0x7F, 0x2FF, 0xFFFF, 0x10FFFF))
        points = (random.randint(0, last) for _ in range(random.randint(1, 6)))
        return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)

    return ["".join(part() for _ in range(random.randint(0, 12))) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["RN50", "config/models/small.json"])
def test_tokens_equal_open_clips_on_ten_thousand_random_strings(model):
    tokenizer = towers.tokenizer(towers.model_config(model))
    texts = odd_texts(10_000, seed=0)
    if model == "RN50":
        tokenizer_of_theirs = open_clip.get_tokenizer(model)
        assert tokenizer_of_theirs.vocab_size == 49408
    else:
        tokenizer_of_theirs = copy.copy(tokenizer)
    assert torch.equal(Captions(texts, tokenizer).tokens(), tokenizer_of_theirs(texts))
