"""EDA, the caption augmentation of RoCLIP (Wei and Zou, EMNLP 2019, section 2).

It makes one of four edits to a caption: replaces words by synonyms, inserts synonyms, swaps words, or deletes words, each at a
rate of alpha = .1. Synonyms come from an offline table made of WordNet 3.0; none is taken of a stop word.
"""

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from random import Random

ALPHA = 0.1
SWAP_TRIES = 3  # as often the second word is drawn until it is another than the first, as in the authors' code
# words that say nothing alone: NLTK's English list as of 2018, which the authors' code holds
STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its
    itself they them their theirs themselves what which who whom this that these those am is are was were be been being have
    has had having do does did doing a an the and but if or because as until while of at by for with about against between
    into through during before after above below to from up down in out on off over under again further then once here there
    when where why how all any both each few more most other some such no nor not only own same so than too very s t can
    will just don should now
    """.split()
)


@cache
def synonyms() -> dict[str, list[str]]:
    """The synonyms of each English word that has any and is no stop word."""
    lines = files("roclip.defences").joinpath("synonyms.tsv").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t") for line in lines if not line.startswith("#"))
    return {word: words.split(" ") for word, words in pairs if word not in STOP_WORDS}


def replace_words(words: list[str], edits: int, random: Random) -> list[str]:
    """Up to `edits` different words, each replaced by one of its synonyms wherever it stands."""
    known = sorted({word for word in words if word in synonyms()})
    chosen = {word: random.choice(synonyms()[word]) for word in random.sample(known, min(edits, len(known)))}
    return [chosen.get(word, word) for word in words]


def insert_words(words: list[str], edits: int, random: Random) -> list[str]:
    """`edits` synonyms of words of the caption, put in at random places."""
    known = [word for word in words if word in synonyms()]
    longer = list(words)
    for _ in range(edits if known else 0):
        longer.insert(random.randrange(len(longer) + 1), random.choice(synonyms()[random.choice(known)]))
    return longer


def swap_words(words: list[str], edits: int, random: Random) -> list[str]:
    """`edits` times, two words change places; nothing happens where the second is drawn SWAP_TRIES times as the first."""
    swapped = list(words)
    for _ in range(edits):
        i = random.randrange(len(words))
        drawn = (random.randrange(len(words)) for _ in range(SWAP_TRIES))
        j = next((place for place in drawn if place != i), i)
        swapped[i], swapped[j] = swapped[j], swapped[i]
    return swapped


def delete_words(words: list[str], edits: int, random: Random) -> list[str]:
    """Each word left out with probability ALPHA; at least one stays. `edits` is not used."""
    kept = [word for word in words if random.random() >= ALPHA]
    return kept or [random.choice(words)]


EDITS = (replace_words, insert_words, swap_words, delete_words)


def eda(words: list[str], random: Random) -> list[str]:
    """One random edit of a caption. A caption of less than two words is returned as it is."""
    if len(words) < 2:
        return words
    return random.choice(EDITS)(words, max(1, int(ALPHA * len(words))), random)


def keyed(seed: int, epoch: int, view: int = 0) -> Callable[[list[str], int], list[str]]:
    """EDA with draws keyed by (seed, epoch, row) and view: (words, row) -> words, an `edit` of `Captions.tokens`."""
    further = f",{view}" if view else ""
    return lambda words, row: eda(words, Random(f"{seed},{epoch},{row}{further}"))
