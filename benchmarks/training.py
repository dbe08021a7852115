"""Pairs/s of CLIP and RoCLIP against a plain loop, in the same run: DataLoader, Pillow decoding and torchvision augmentation
one sample at a time, float32, with the same model and batch. One thread each, a warm-up first, then the two in turn.

Prints a table and writes benchmarks/training.csv. Needs the embedded data: `snakemake --cores all data attacks` or
`make reproduce` first.
"""

import argparse
import dataclasses
import random
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import yaml
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from roclip import towers
from roclip.captions import eda
from roclip.loss import clip_loss
from roclip.pixels import MEAN, STD
from roclip.pool import Pool
from roclip.tables import read_table, write_table
from roclip.training import Training, TrainOptions

COLUMNS = ("method", "loop", "epoch", "pairs_per_second", "seconds", "ratio")


class PlainPairs(Dataset):
    """Pairs as many a training script reads them: each image decoded and transformed, each caption edited and tokenised."""

    def __init__(self, rows: list[dict[str, str]], tokenizer, augmented: bool) -> None:
        self.rows, self.tokenizer, self.augmented = rows, tokenizer, augmented
        steps = [v2.ToImage()]
        if augmented:
            steps += [
                v2.RandomHorizontalFlip(),
                v2.RandomResizedCrop(32, scale=(0.5, 1)),
                v2.RandomApply([v2.ColorJitter(0.5, 0.5, 0.5, 0.1)], 0.8),
                v2.RandomGrayscale(0.2),
                v2.GaussianBlur(3, (0.1, 2)),
            ]
        self.transform = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int):
        with Image.open(self.rows[row]["path"]) as image:
            pixels = self.transform(image.convert("RGB"))
        caption = self.rows[row]["caption"]
        if self.augmented:
            caption = " ".join(eda(caption.split(), random.Random()))
        return pixels, self.tokenizer(caption)[0]


def plain_epoch(options: TrainOptions, rows: list[dict[str, str]], matching: bool) -> float:
    """Pairs/s of an epoch of the plain loop; in a matching epoch the caption tower runs backward too, for nothing."""
    torch.set_num_threads(1)
    config = towers.model_config(options.model)
    torch.manual_seed(0)
    model = open_clip_model(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    pairs = PlainPairs(rows, towers.tokenizer(config), options.augment_images)
    pool = Pool(options.pool_size, config["embed_dim"])
    pool.push(
        torch.nn.functional.normalize(torch.randn(options.pool_size, config["embed_dim"])), torch.arange(options.pool_size), 0
    )
    started, seen = time.perf_counter(), 0
    for pixels, tokens in DataLoader(pairs, options.batch_size, shuffle=True, drop_last=True):
        image_features = model.encode_image(pixels, normalize=True)
        text_features = model.encode_text(tokens, normalize=True)
        matched = pool.features[pool.nearest(image_features)] if matching else text_features
        optimizer.zero_grad()
        clip_loss(image_features, matched, model.logit_scale.exp()).backward()
        optimizer.step()
        if matching:
            pool.push(text_features, torch.arange(len(tokens)), seen)
        seen += len(tokens)
    return seen / (time.perf_counter() - started)


def open_clip_model(config: dict) -> torch.nn.Module:
    """The towers as open_clip builds them, in the default memory layout."""
    return towers.create(config).to(memory_format=torch.contiguous_format).train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=4096, help="pairs an epoch")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    config = yaml.safe_load(Path("config/config.yaml").read_text())
    source = Path("results/embedded/data")
    rows = read_table(source / "train.csv", ("path", "caption"))[: arguments.pairs]
    results = []
    with TemporaryDirectory() as folder:
        write_table(Path(folder, "pairs.csv"), ("path", "caption"), rows)
        write_table(Path(folder, "targets.csv"), ("path", "label"), [])
        base = TrainOptions(
            pairs=Path(folder, "pairs.csv"),
            targets=Path(folder, "targets.csv"),
            validation=source / "probe.csv",
            classes=Path(config["data"]["classes"]),
            templates=Path(config["data"]["templates"]),
            out=Path(folder),
            seed=0,
            roots=config["data"]["roots"],
            max_bad_fraction=0.01,
            **config["train"],
            **config["method"]["clip"],
        )
        for method in ("clip", "roclip"):
            options = dataclasses.replace(base, epochs=2, warmup_steps=0, **config["method"][method])
            training = Training(options)
            training.epoch(1)
            for epoch in (1, 2) if options.match_every else (1,):
                kind = "matching" if options.match_every and epoch == 2 else "clip"
                ours, plain = [], []
                for _ in range(arguments.repeats):
                    ours.append(training.epoch(epoch)["pairs_per_second"])
                    plain.append(plain_epoch(options, rows, kind == "matching"))
                ratio = statistics.median(a / b for a, b in zip(ours, plain, strict=True))
                for loop, rates in (("this project", ours), ("plain loop", plain)):
                    rate = statistics.median(rates)
                    results.append(
                        {
                            "method": method,
                            "loop": loop,
                            "epoch": kind,
                            "pairs_per_second": f"{rate:.0f}",
                            "seconds": f"{arguments.pairs / rate:.2f}",
                            "ratio": f"{ratio if loop == 'this project' else 1:.2f}",
                        }
                    )
                    print(
                        "{method:7} {epoch:9} {loop:13} {pairs_per_second:>6} pairs/s  {ratio:>5} x".format(**results[-1]),
                        flush=True,
                    )
    write_table(Path("benchmarks/training.csv"), COLUMNS, results)


if __name__ == "__main__":
    main()
