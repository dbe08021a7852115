"""Captions/s on one core: EDA and tokens of CLIP's full vocabulary, against open_clip's tokenizer, in the same run.

The peer splits a caption, edits it with the same EDA, joins it and gives it to the tokenizer, as a data set's __getitem__
would. Prints a table and writes benchmarks/captions.csv.
"""

import argparse
import statistics
import time
from pathlib import Path
from random import Random

from open_clip.tokenizer import SimpleTokenizer

from benchmarks.words import captions
from roclip.core.files import write_table
from roclip.defences.eda import eda, keyed
from roclip.model.captions import Captions

COLUMNS = ("task", "program", "captions_per_second", "ratio")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    texts, tokenizer = list(captions(arguments.captions, 0)), SimpleTokenizer()
    some = texts[: arguments.captions // 5]

    def rate(count: int, make) -> float:
        # processor time: what a core does in a second, whatever else runs on it
        started = time.process_time()
        make()
        return count / (time.process_time() - started)

    table = Captions(texts, tokenizer)
    tasks = {
        "first epoch": (lambda: Captions(texts, tokenizer).tokens(edit=keyed(0, 1)), True),
        "later epoch": (lambda: table.tokens(edit=keyed(0, 2)), True),
        "without EDA": (lambda: table.tokens(), False),
    }

    def peer(edited: bool) -> None:
        for number, text in enumerate(some):
            tokenizer(" ".join(eda(text.split(), Random(f"0,1,{number}"))) if edited else text)

    results = []
    table.tokens()
    for task, (ours, edited) in tasks.items():
        pairs = [(rate(len(texts), ours), rate(len(some), lambda e=edited: peer(e))) for _ in range(arguments.repeats)]
        ratio = statistics.median(a / b for a, b in pairs)
        for program, rates, times in (("this project", [a for a, _ in pairs], ratio), ("open_clip", [b for _, b in pairs], 1)):
            cells = (task, program, f"{statistics.median(rates):.0f}", f"{times:.2f}")
            results.append(dict(zip(COLUMNS, cells, strict=True)))
            print("{task:12} {program:13} {captions_per_second:>7} captions/s {ratio:>6} x".format(**results[-1]), flush=True)
    write_table(Path("benchmarks/captions.csv"), COLUMNS, results)


if __name__ == "__main__":
    main()
