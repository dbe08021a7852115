"""What it saves to cut a batch's tokens to its longest caption: time of the caption towers on a CPU, forwards and backwards.

Batches of 32 captions as long as those of CC3M for RN50 (77 tokens), and of 64 drawn ones for the small tower (16).
`training` is a whole CLIP step of the embedded experiment. Whole and cut take turns, on one thread; seconds are the least of
several, ratios those of the least. Prints a table and writes benchmarks/tokens.csv.
"""

import argparse
import csv
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.words import captions
from roclip.core.files import write_table
from roclip.defences.loss import clip_loss
from roclip.model import towers
from roclip.model.captions import Captions

COLUMNS = ("work", "tokens", "milliseconds", "ratio")
SMALL = "config/models/small.json"
EMBEDDED = Path("results/embedded/data/train.csv")


def least(works: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """The least seconds of each work, which take turns."""
    found = dict.fromkeys(works, float("inf"))
    for _ in range(repeats):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            found[name] = min(found[name], time.perf_counter() - started)
    return found


def step(model: towers.Towers, tokens: Tensor, pixels: Tensor | None, runtime: towers.Runtime) -> None:
    """Forwards and backwards: of the caption tower alone, or of a CLIP step without its optimiser."""
    model.zero_grad()
    with runtime.autocast(), runtime.attention():
        texts = model.encode_text(tokens, normalize=True)
        images = torch.roll(texts.detach(), 1, 0) if pixels is None else model.encode_image(pixels, normalize=True)
        loss = clip_loss(images, texts, model.logit_scale.exp())
    loss.backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    repeats, runtime = parser.parse_args().repeats, towers.Runtime.choose("auto", 1, "cpu")
    with open(EMBEDDED, newline="") as file:
        drawn = [row["caption"] for row in csv.DictReader(file)][:64]
    rows = []
    for work, name, texts, pixels in (
        ("RN50's caption tower, captions as long as CC3M's", "RN50", list(captions(32, 0)), None),
        ("small caption tower, drawn captions", SMALL, drawn, None),
        ("training on drawn scenes", SMALL, drawn, torch.randn(64, 3, 32, 32).contiguous(memory_format=torch.channels_last)),
    ):
        torch.manual_seed(0)
        config = towers.model_config(name)
        model = towers.create({**config, "vision_cfg": towers.model_config(SMALL)["vision_cfg"]}).train()
        tokens = Captions(texts, towers.tokenizer(config)).tokens()
        both = {"whole": tokens, "cut": runtime.cut(model, tokens)}
        found = least({how: partial(step, model, tokens, pixels, runtime) for how, tokens in both.items()}, repeats)
        for how, seconds in found.items():
            shape = f"{how}: {both[how].shape[1]}, {float((tokens.argmax(1) + 1).float().mean()):.1f} on average used"
            cells = work, shape, f"{1e3 * seconds:.1f}", f"{found['whole'] / seconds:.2f}"
            rows.append(dict(zip(COLUMNS, cells, strict=True)))
            print(" ".join(cells), flush=True)
    write_table(Path("benchmarks/tokens.csv"), COLUMNS, rows)


if __name__ == "__main__":
    main()
