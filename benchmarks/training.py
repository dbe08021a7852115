"""Pairs/s of CLIP and RoCLIP against open_clip's own training at its best settings, in the same run.

Same model, batch, learning rate and pairs; open_clip reads them from a CSV, decodes each image every time it is seen, cuts it
at random and tokenises the caption; as RoCLIP's peer it jitters colours too. Ours decodes the images once, at the start; the
row `training`, of all epochs, holds that too. Both run one thread of PyTorch on one core, as the workflow trains: as many
trainings side by side as there are cores. Pairs/s are those of a core's processor time, worker processes included, so that
others on the machine do not enter them. Share of the limit: of what the core does in products of bfloat16 matrices.

First a few settings of open_clip are tried, of which the fastest becomes the peer; its pure_bf16 is shown beside it but not
chosen, for it keeps the weights themselves in bfloat16, where small steps of AdamW vanish.

Prints a table and writes benchmarks/training.csv. Needs the embedded data: `snakemake --cores all data` first.
"""

import argparse
import dataclasses
import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import yaml

from attacks import ATTACKS
from benchmarks import limits
from benchmarks.peer import OpenClip
from roclip.core.columns import LABELLED, PAIRS
from roclip.core.files import read_table, write_table
from roclip.defences import TRAININGS
from roclip.defences.base import Batch
from roclip.experiment.config import check
from roclip.model.pixels import normalise, to_pixels
from roclip.training import train
from roclip.training.settings import TrainOptions
from roclip.training.trainer import Training

COLUMNS = ("defence", "loop", "epoch", "pairs_per_second", "seconds", "ratio", "share_of_limit")
CSV = Path("benchmarks/training.csv")
TOWERS = {  # flags and whether the weights are put into the layout channels last
    "fp32": (["--precision", "fp32"], False),
    "fp32, channels last": (["--precision", "fp32"], True),
    "amp_bf16": (["--precision", "amp_bf16"], False),
    "amp_bf16, channels last": (["--precision", "amp_bf16"], True),
    "amp_bf16, compiled": (["--precision", "amp_bf16", "--torchcompile"], False),
}
PURE = ["--precision", "pure_bf16", "--workers", "0"]
# what it offers of RoCLIP's augmentation: no flips, no blur and no edits of captions
AUGMENTED = [
    "--workers", "0", "--aug-cfg", "scale=(0.4,1.0)", "color_jitter=(0.5,0.5,0.5,0.1)", "color_jitter_prob=0.8",
    "gray_scale_prob=0.2",
]  # fmt: skip
FEEDS = {
    "workers 0": ["--workers", "0"],
    "workers 1": ["--workers", "1"],
    "workers 0, timm's transform": ["--workers", "0", "--aug-cfg", "use_timm=True"],
    "workers 1, timm's transform": ["--workers", "1", "--aug-cfg", "use_timm=True"],
}


def embedded(folder: Path, pairs: int, defence: str = "clip", **changes) -> TrainOptions:
    """Options of the embedded experiment's training with a defence: its first `pairs` pairs, without an evaluation set.

    changes: options that differ; there is no warm-up unless they say so.
    """
    config, plan = check(yaml.safe_load(Path("config/config.yaml").read_text()), ATTACKS)
    source, settings = Path("results/embedded/data"), plan.models[defence].settings
    write_table(folder / "pairs.csv", tuple(PAIRS), read_table(source / "train.csv", tuple(PAIRS))[:pairs])
    write_table(folder / "targets.csv", tuple(LABELLED), [])
    options = train.STAGE.options_of(settings["kind"])(
        pairs=folder / "pairs.csv",
        targets=folder / "targets.csv",
        validation=source / "probe.csv",
        classes=Path(config["data"]["classes"]),
        templates=Path(config["data"]["templates"]),
        out=folder,
        seed=0,
        roots=tuple(config["data"]["roots"]),
        max_bad_fraction=config["data"]["max_bad_fraction"],
        **config["train"] | settings,
    )
    return dataclasses.replace(options, **{"warmup_steps": 0} | changes)


def training_of(options: TrainOptions) -> Training:
    """A training as the stage makes it, before its first step."""
    return Training(options, TRAININGS[options.kind], train.read(options))


def fastest(peers: Mapping[str, OpenClip]) -> str:
    """Which of some settings of open_clip is the fastest in the median of three epochs."""
    spans = limits.in_turn({name: peer.epoch for name, peer in peers.items()}, 3)
    for name, values in spans.items():
        print(f"  {name:55} {peers[name].pairs / statistics.median(values):5.0f} pairs/s", flush=True)
    return min(spans, key=lambda name: statistics.median(spans[name]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=8192, help="pairs an epoch")
    parser.add_argument("--trial_pairs", type=int, default=1024, help="pairs of a trial of open_clip's settings")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    with TemporaryDirectory() as name, TemporaryDirectory() as small:
        options = embedded(Path(name), arguments.pairs)
        roclip = embedded(Path(name), arguments.pairs, "roclip", epochs=2)
        results = compare(options, roclip, embedded(Path(small), arguments.trial_pairs), arguments.repeats)
    write_table(CSV, COLUMNS, results)


def compare(options: TrainOptions, roclip: TrainOptions, trial: TrainOptions, repeats: int) -> list[dict[str, str]]:
    """Rows of the table: ours of CLIP and of RoCLIP, and open_clip's with the settings that are the fastest on `trial`."""
    towers = fastest({name: OpenClip(trial, [*flags, "--workers", "0"], last) for name, (flags, last) in TOWERS.items()})
    flags, last = TOWERS[towers]
    feeds = {f"{towers}, {feed}": [*flags, *more] for feed, more in FEEDS.items()}
    best = fastest({name: OpenClip(trial, flags, last) for name, flags in feeds.items()})
    print(f"open_clip's best settings: {best}")

    started = limits.processor_seconds()
    trainings = {"clip": training_of(options)}
    start = limits.processor_seconds() - started
    trainings["roclip"] = training_of(roclip)
    loops = {
        ("clip", "this project", "clip"): lambda: trainings["clip"].epoch(1),
        ("roclip", "this project", "clip"): lambda: trainings["roclip"].epoch(1),
        ("roclip", "this project", "matching"): lambda: trainings["roclip"].epoch(2),
        ("clip", f"open_clip: {best}", "clip"): OpenClip(options, feeds[best], last).epoch,
        ("clip", "open_clip: pure_bf16, channels last", "clip"): OpenClip(options, PURE, True).epoch,
        ("roclip", f"open_clip: {towers}, augmented", "clip"): OpenClip(options, [*flags, *AUGMENTED], last).epoch,
    }
    pairs = trainings["clip"].steps_per_epoch * options.batch_size
    spans = limits.in_turn(loops, repeats)

    cpu, batch = torch.device("cpu"), torch.arange(options.batch_size)
    pixels, tokens = normalise(to_pixels(trainings["clip"].images[batch])), trainings["clip"].batches.tokens(1, batch)
    step = Batch(pixels, tokens, batch)
    work = limits.flops(lambda: trainings["clip"].take_step(step, "clip", 0.0, batch)) / options.batch_size
    limit = limits.product_rate(cpu, torch.bfloat16)
    print(f"{work / 1e6:.1f} MFLOP a pair in a CLIP epoch, of {limit / 1e9:.0f} GFLOP/s that this core does at best")

    peer = {"clip": f"open_clip: {best}", "roclip": f"open_clip: {towers}, augmented"}
    medians = {name: pairs / statistics.median(values) for name, values in spans.items()}
    ratios = {name: limits.ratio(values, spans[name[0], peer[name[0]], "clip"]) for name, values in spans.items()}
    epochs, name = options.epochs, ("clip", "this project", "training")
    medians[name] = epochs * pairs / (epochs * pairs / medians["clip", "this project", "clip"] + start)
    ratios[name] = medians[name] / medians["clip", peer["clip"], "clip"]
    results = []
    for (defence, loop, epoch), rate in medians.items():
        share = f"{rate * work / limit:.2f}" if epoch == "clip" else ""
        cells = (defence, loop, epoch, f"{rate:.0f}", f"{pairs / rate:.2f}", f"{ratios[defence, loop, epoch]:.2f}", share)
        results.append(dict(zip(COLUMNS, cells, strict=True)))
        line = "{defence:7} {epoch:9} {loop:55} {pairs_per_second:>5} pairs/s {ratio:>5} x  {share_of_limit:>4} of the limit"
        print(line.format(**results[-1]), flush=True)
    return results


if __name__ == "__main__":
    main()
