"""Made-up captions, as long and as varied as those of CC3M: about 10 words, a few frequent and many rare ones, and names."""

import random
from collections.abc import Iterator
from itertools import accumulate

from roclip.defences.eda import synonyms

FREQUENT = "a the of in on with and at to is for by from person".split()
SYLLABLES = "ber den for gan hol ing kal lor man nes ox pel ros sen tor vik wal yan".split()


def captions(count: int, seed: int) -> Iterator[str]:
    """`count` captions of 3 to 17 words: 35% frequent ones, 5% made-up names, the others of Zipf's frequencies."""
    rng = random.Random(seed)
    words = sorted(synonyms())
    rng.shuffle(words)
    names = ["".join(rng.choices(SYLLABLES, k=rng.randint(2, 4))) for _ in range(50_000)]
    weights = list(accumulate(1 / rank for rank in range(1, len(words) + 1)))
    for _ in range(count):
        caption = rng.choices(words, cum_weights=weights, k=round(3 + 14 * rng.betavariate(2, 2)))
        for place, draw in enumerate([rng.random() for _ in caption]):
            if draw < 0.35:
                caption[place] = rng.choice(FREQUENT)
            elif draw < 0.4:
                caption[place] = rng.choice(names)
        yield " ".join(caption) + (" ." if rng.random() < 0.5 else "")
