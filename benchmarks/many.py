"""Train many small models side by side on a GPU (benchmarks/lanes.py) on what benchmarks/worlds.py made ready.

    python -m benchmarks.many cifar100 --worlds DIR --seeds 20 21 22 --seconds 250 --out cifar100.csv
    python -m benchmarks.many embedded --worlds DIR --seeds 11 12 13 --seconds 60 --out embedded.csv

All recipes of a seed are trained together, seed after seed until the time is over; rows are appended as they come. The number
of epochs follows from the speed that is measured, `--group_seconds` for a seed.
"""

import argparse
import csv
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import side_by_side, worlds
from benchmarks.lane_data import Draws, Recipe, Settings
from benchmarks.lanes import DRAWN, Lane
from roclip.core.files import read_json
from roclip.model.towers import computes_bf16

COLUMNS = (
    "set", "attack", "seed", "recipe", "epochs", "epoch", "kind", "loss", "target_hits", "targets", "zero_shot_hits", "tests",
    *DRAWN, "seconds",
)  # fmt: skip
LEAST, MULTIPLE = 16, 4  # epochs: at least, and a multiple of
SETTINGS = {  # the model stands in the worlds' folder
    "cifar100": Settings("", 128, 1e-3, 0.1, 50, 0.4, 600),
    "flickr8k": Settings("", 128, 1e-3, 0.1, 50, 0.4, 700),
    "embedded": Settings("", 64, 1e-3, 0.1, 50, 0.4, 800),
}


def recipes(kind: str, attack: str, epochs: int) -> dict[str, Recipe]:
    """The defences that are trained on an attack; `half` has as many CLIP epochs as RoCLIP."""
    if kind == "embedded":
        return {"clip": Recipe(epochs, augment=False), "roclip": Recipe(epochs, 2)}
    if attack == "clean":
        return {"clip_augmented": Recipe(epochs), "roclip": Recipe(epochs, 2)}
    found = {
        "clip": Recipe(epochs, augment=False), "clip_augmented": Recipe(epochs), "half": Recipe(epochs // 2),
        "roclip": Recipe(epochs, 2),
    }  # fmt: skip
    return found | (
        {"nothing": Recipe(epochs, 2, "nothing"), "random": Recipe(epochs, 2, "random")} if kind == "cifar100" else {}
    )


def epochs_that_fit(group: list[Lane], most: int, rate: float, seconds: float) -> int:
    """The most epochs of the longest recipe for which all lanes, at so many steps a second, need no more than `seconds`."""

    def steps(epochs: int) -> int:
        taken = 0
        for lane in group:
            recipe = replace(lane.recipe, epochs=epochs if lane.recipe.epochs == most else epochs // 2)
            skipped = epochs // 2 if recipe.match_with == "nothing" else 0
            taken += (recipe.epochs - skipped) * lane.draws.steps
        return taken

    fitting = [e for e in range(LEAST, most + 1, MULTIPLE) if steps(e) <= rate * seconds]
    return max(fitting, default=min(LEAST, most))


def group_of(arguments: argparse.Namespace, seed: int, epochs: int, device: torch.device) -> list[Lane]:
    """The lanes of a seed, without graphs."""
    settings = replace(SETTINGS[arguments.set], model=str(arguments.worlds / "model.json"))
    if arguments.batch:
        settings = replace(settings, batch_size=arguments.batch)
    group, bf16 = [], computes_bf16(device)
    for found in read_json(arguments.worlds / "worlds.json"):
        if found["seed"] != seed:
            continue
        about = {"set": arguments.set, "attack": found["name"], "seed": seed}
        world = worlds.load_world(arguments.worlds, found["name"], seed, about, device)
        draws = Draws(world, settings, seed, epochs)
        for name, recipe in recipes(arguments.set, found["name"], epochs).items():
            group.append(Lane({**about, "recipe": name}, world, draws, recipe, settings, seed, bf16))
    part, parts = arguments.part
    return group[part::parts]


def report(text: str) -> None:
    print(f"many: {text}", flush=True)


def rows_to(path: Path) -> Iterator:
    """A writer of rows to the end of a table."""
    new = not path.exists() or path.stat().st_size == 0
    with open(path, "a", newline="", buffering=1) as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        yield writer.writerow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=tuple(SETTINGS))
    parser.add_argument("--worlds", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--seconds", type=float, required=True, help="until this long after the start")
    parser.add_argument("--epochs", type=int, default=0, help="0: as many as fit into --group_seconds")
    parser.add_argument("--group_seconds", type=float, default=85)
    parser.add_argument("--batch", type=int, default=0, help="pairs a step, if not the set's")
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), help="of several processes: number and count")
    parser.add_argument("--no_graphs", action="store_true", help="take every step from Python")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.seconds
    device = torch.device(arguments.device)
    torch.set_num_threads(1)
    on_gpu = device.type == "cuda" and not arguments.no_graphs
    epochs = arguments.epochs
    most = max(found["epochs"] for found in read_json(arguments.worlds / "worlds.json"))
    for write in rows_to(arguments.out):
        for seed in arguments.seeds:
            if time.monotonic() > deadline - 10:
                break
            started = time.monotonic()
            group = group_of(arguments, seed, epochs or most, device)
            if on_gpu:
                try:
                    for lane in group:
                        lane.capture()
                except RuntimeError as error:
                    report(f"no graphs: {str(error).splitlines()[0]}")
                    sys.exit(3)
            if not epochs:
                rate = side_by_side.steps_per_second(group) if device.type == "cuda" else 50.0
                epochs = epochs_that_fit(group, most, rate, arguments.group_seconds)
                report(f"{rate:.0f} steps/s of {len(group)} lanes: {epochs} epochs")
                for lane in group:
                    lane.restart(epochs if lane.recipe.epochs == most else epochs // 2)
            ready = time.monotonic()
            done = side_by_side.train(group, write, deadline)
            steps = sum(lane.steps_planned() for lane in group)
            ended = time.monotonic()
            report(
                f"seed {seed}: {'done' if done else 'cut'}, {len(group)} lanes, ready in {ready - started:.1f} s, "
                f"{ended - ready:.1f} s of training" + (f", {steps / (ended - ready):.0f} steps/s" if done else "")
            )
            del group
            if device.type == "cuda":
                report(f"peak {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
