"""Poison captions that are typical of their class and differ from one another.

ToxicTextCLIP (NeurIPS 2025) ranks a class's captions by the cosine of CLIP's text features to those of its filled prompt
templates, and has the best rewritten. Here the text encoder is a bag of words: TF-IDF, with the frequencies of the captions
that name the class. So words count and their meaning does not, and no caption is rewritten.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from attacks.base import check_captions
from attacks.targeted import CAPTIONS, Target, Targeted
from roclip.core.deferred import Deferred
from roclip.core.files import read_lines
from roclip.core.options import option
from roclip.data.pairs import Columns

text = Deferred("sklearn.feature_extraction.text")


def typical(captions: list[str], prompts: list[str], count: int, candidates: int) -> list[int]:
    """`count` captions of the `candidates` nearest to the mean prompt, spread out; the nearest first, duplicates last.

    Each further one is the candidate whose nearest chosen caption is farthest away; of equal ones the nearest to the prompt.
    """
    vectorizer = text.TfidfVectorizer().fit([*captions, *prompts])
    features, mean = vectorizer.transform(captions), np.asarray(vectorizer.transform(prompts).mean(axis=0)).ravel()
    ranked = np.argsort(-(features @ mean), kind="stable").tolist()
    firsts = {captions[row]: row for row in reversed(ranked)}  # of equal captions the first
    near = np.array(sorted(ranked, key=lambda row: firsts[captions[row]] != row)[:candidates])
    features = features[near]
    chosen, nearest = [0], np.full(len(near), -1.0)
    while len(chosen) < count:
        nearest = np.maximum(nearest, (features @ features[chosen[-1]].T).toarray().ravel())
        nearest[chosen[-1]] = np.inf
        chosen.append(int(nearest.argmin()))
    return near[chosen].tolist()


class Typical(Targeted):
    """Targeted poisoning with typical, varied captions of the class (after ToxicTextCLIP, NeurIPS 2025; by a bag of words)."""

    @dataclass(frozen=True, kw_only=True)
    class Settings(Targeted.Settings):
        candidates_per_caption: int = option(
            "so many times as many captions as are wanted, the nearest to the class's mean prompt, are spread out", 4, minimum=1
        )

    def _captions(self, target: Target, clean: Columns) -> tuple[list[str], dict[str, Any]]:
        """The most typical captions of the class, spread out; they are the same with any seed."""
        named, count = self._naming(target.name, clean), self.options.captions_per_target
        check_captions(named, target.name, count, CAPTIONS)
        prompts = [template.replace("{}", target.name) for template in read_lines(self.options.templates)]
        captions = [clean["caption"][row] for row in named]
        rows = np.sort(named[typical(captions, prompts, count, count * self.options.candidates_per_caption)])
        return [clean["caption"][row] for row in rows], {"caption_rows": rows.tolist()}
