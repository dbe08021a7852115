"""What many small trainings on a GPU take in: pictures, labels and tokens of attacks, made ready by the CPU and kept on disk.

    python -m benchmarks.worlds cifar100 --archive cifar100.tar.gz --out DIR --seeds 20 21 22
    python -m benchmarks.worlds flickr8k --archive flickr8k.tar.gz --out DIR --seeds 20 21 22
    python -m benchmarks.worlds embedded --out DIR --seeds 11 12 13

An archive holds one folder: classes.txt, templates.txt, urls.tsv (split, url, caption, label; a row for each caption of an
image) and the images that it names. Where a row has no label, as people's captions have none, its class is the only one that
its caption names, and an image's the only one that its captions name; where there is none, or several, it counts as unknown.
The attacks are the project's stages. In DIR: model.json, images.npy, tests.npz, tokens_seedN.npy, and for each attack
NAME_seedN.npz.
"""

import argparse
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from attacks import build
from benchmarks.lane_data import World
from roclip.core.columns import PAIRS, TRUTH
from roclip.core.files import read_json, read_lines, read_table, write_json, write_table
from roclip.data import scenes
from roclip.data.class_mentions import naming
from roclip.data.images import decode
from roclip.defences import eda
from roclip.evaluation.zero_shot_classifier import prompts
from roclip.model import towers
from roclip.model.captions import Captions

MODEL = Path("config/models/small.json")
CONTEXT = {"cifar100": 16, "flickr8k": 32, "embedded": 16}  # tokens: people's captions are longer
SCENES = Path("config/scenes")
CHUNK, SIDE = 500, 32


def _decode(size: int, paths: Sequence[str]) -> np.ndarray:
    return np.stack([decode(path, size) for path in paths])


def images_of(paths: Sequence[str], size: int, pool: ProcessPoolExecutor) -> np.ndarray:
    """uint8 (n, 3, size, size)."""
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    parts = [np.empty((0, size, size, 3), np.uint8), *pool.map(partial(_decode, size), chunks)]
    return np.ascontiguousarray(np.concatenate(parts).transpose(0, 3, 1, 2))


def write_model(data: Path, kind: str) -> None:
    """model.json, the small model with a set's context length."""
    config = read_json(MODEL)
    write_json(data / "model.json", config | {"text_cfg": config["text_cfg"] | {"context_length": CONTEXT[kind]}})


@lru_cache(2)
def texts_of(captions: tuple[str, ...], data: Path) -> Captions:
    """Captions that were cleaned, for all epochs of a process."""
    return Captions(captions, towers.tokenizer(towers.model_config(str(data / "model.json"))))


def _tokens(captions: Sequence[str], data: Path, seed: int, first: int, epochs: Sequence[int]) -> np.ndarray:
    """int16 (epochs, rows, context) of the captions from row `first` on; epoch 0: not augmented."""
    texts, rows = texts_of(tuple(captions), data), torch.arange(first, len(captions))
    tables = [texts.tokens(rows, eda.keyed(seed, epoch) if epoch else None) for epoch in epochs]
    table = torch.stack(tables).numpy()
    assert (table < 2**15).all()
    return table.astype(np.int16)


def tokens_of(captions: Sequence[str], data: Path, seed: int, first: int, epochs: int, pool: ProcessPoolExecutor) -> np.ndarray:
    """int16 (epochs + 1, rows, context), augmented as the project's Training does it in each epoch."""
    parts = [list(range(start, min(start + 4, epochs + 1))) for start in range(0, epochs + 1, 4)]
    return np.concatenate(list(pool.map(partial(_tokens, captions, data, seed, first), parts)))


def embedded_tables(data: Path, processes: int, share: float) -> None:
    """Draw the scenes of the embedded experiment, and write the tables that its download stage writes, in the same order."""
    counts = {f"{name}_scenes": round(n * share) for name, n in (("train", 40000), ("validation", 1000), ("test", 2500))}
    scenes.run(
        scenes.ScenesOptions(
            data=data, classes=SCENES / "classes.txt", captions=SCENES / "captions.txt", image_size=SIDE, seed=0,
            threads=processes,
            **counts, probe_scenes=round(4000 * share),
        )
    )  # fmt: skip
    for name in ("classes.txt", "templates.txt"):
        shutil.copy(SCENES / name, data / name)


def photo_tables(archive: Path, data: Path) -> None:
    data.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-xzf", archive.resolve(), "-C", data, "--strip-components=1"], check=True)
    if (data / "urls_all_tests.tsv").exists():  # more test images
        shutil.copy(data / "urls_all_tests.tsv", data / "urls.tsv")


def split_tables(data: Path, rows: int | None) -> list[dict[str, str]]:
    """Write the tables of each split from urls.tsv; its rows, with their paths."""
    listed = [{**row, "path": str(data / row["url"][5:])} for row in read_table(data / "urls.tsv", scenes.COLUMNS)]
    kept = []
    for split, column in (("train", "caption"), ("validation", "caption"), ("test", "label"), ("probe", "label")):
        here = [row for row in listed if row["split"] == split][:rows]
        write_table(data / f"{split}.csv", ("path", column), [{"path": row["path"], column: row[column]} for row in here])
        kept += here
    return kept


def named(captions: Sequence[str], classes: Sequence[str]) -> list[list[str]]:
    """The classes that each caption names."""
    found: list[list[str]] = [[] for _ in captions]
    for name in classes:
        for row in naming(captions, name):
            found[row].append(name)
    return found


def only(names: Iterable[str]) -> str:
    """The only one of them; empty where there is none, or several."""
    found = set(names)
    return found.pop() if len(found) == 1 else ""


def label(rows: Sequence[dict[str, str]], classes: Sequence[str]) -> dict[str, str]:
    """Give rows without a label the class that their caption names; the class of each image, by path, empty if unknown."""
    shown: dict[str, list[str]] = {}
    for row, names in zip(rows, named([row["caption"] for row in rows], classes), strict=True):
        names = [row["label"]] if row["label"] else names
        row["label"] = only(names)
        shown.setdefault(row["path"], []).extend(names)
    return {path: only(names) for path, names in shown.items()}


def run_attack(data: Path, kind: str, settings: dict, seed: int) -> Path:
    """An attack's folder, made by its stage."""
    out = data / "attacks" / f"{kind}_{'_'.join(map(str, settings.values())) or 0}_seed{seed}"
    build.run(
        build.STAGE.options_of(kind)(
            kind=kind, train=data / "train.csv", validation=data / "validation.csv", test=data / "test.csv",
            classes=data / "classes.txt", templates=data / "templates.txt", out=out, roots=(str(data),), seed=seed,
            image_size=SIDE, **settings,
        )
    )  # fmt: skip
    return out


def write_world(data: Path, folder: Path, name: str, seed: int, epochs: int, index: dict[str, int], shown: dict[str, str],
                says: Sequence[str], pool: ProcessPoolExecutor, judged: Path | None = None) -> None:  # fmt: skip
    """NAME_seedN.npz: what an attack's tables say, as numbers.

    index: the place of a path in images.npy; shown: its class; says: the class of each clean pair's caption; judged: the attack
    whose targets are measured, if not this one. A class that is not known is -1.
    """
    numbers = {"": -1} | {label: number for number, label in enumerate(read_lines(data / "classes.txt"))}
    truth = read_table(folder / "truth.csv", tuple(TRUTH))
    pairs = [{**row, **true} for row, true in zip(read_table(folder / "train.csv", tuple(PAIRS)), truth, strict=True)]
    targets = read_table((judged or folder) / "targets.csv", ("path", "label"))
    more = [row["path"] for row in (*pairs, *targets) if row["path"] not in index]
    place = {**index, **{path: len(index) + n for n, path in enumerate(more)}}
    originals = read_json(folder / "manifest.json").get("poisoned_rows", [])  # of a backdoor's poisons
    count = sum(row["is_poison"] == "0" for row in pairs)
    poisons = pairs[count:]
    shows = [shown[row["path"]] for row in pairs[:count]]
    for n, row in enumerate(poisons):
        shows.append(shown[pairs[originals[n]]["path"]] if originals else shown[row["path"]])
    names = [*says, *(row["adversary_class"] for row in poisons)]
    captions = [row["caption"] for row in pairs]
    clean_tokens = data / f"tokens_seed{seed}.npy"
    if not clean_tokens.exists():
        np.save(clean_tokens, tokens_of(captions[:count], data, seed, 0, epochs, pool))
    np.savez(
        data / f"{name}_seed{seed}.npz",
        image_of=[place[row["path"]] for row in pairs], image_class=[numbers[c] for c in shows],
        caption_class=[numbers[c] for c in names], is_poison=[row["is_poison"] == "1" for row in pairs],
        tokens=tokens_of(captions, data, seed, count, epochs, pool),
        targets=np.array([place[row["path"]] for row in targets], np.int64),
        target_labels=np.array([numbers[row["label"]] for row in targets], np.int64),
        more=images_of(more, SIDE, pool),
    )  # fmt: skip


def load_world(data: Path, name: str, seed: int, about: dict, device: torch.device) -> World:
    """A world on the device."""
    found, tests = np.load(data / f"{name}_seed{seed}.npz"), np.load(data / "tests.npz")
    arrays = {key: torch.from_numpy(found[key]).to(device) for key in found.files}
    clean_tokens = torch.from_numpy(np.load(data / f"tokens_seed{seed}.npy")).to(device)
    return World(
        name=about, images=torch.cat([torch.from_numpy(np.load(data / "images.npy")).to(device), arrays["more"]]),
        image_of=arrays["image_of"], image_class=arrays["image_class"], caption_class=arrays["caption_class"],
        is_poison=arrays["is_poison"], tokens=torch.cat([clean_tokens, arrays["tokens"]], 1), targets=arrays["targets"],
        target_labels=arrays["target_labels"], tests=torch.from_numpy(tests["images"]).to(device),
        test_labels=torch.from_numpy(tests["labels"]).to(device), prompts=torch.from_numpy(tests["prompts"]).to(device),
        classes=int(tests["classes"]),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=tuple(CONTEXT))
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--captions", type=int, nargs="+", default=[5, 15, 60], help="captions of each target (photographs)")
    parser.add_argument("--targets", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=64, help="epochs that tokens are made for")
    parser.add_argument("--rows", type=int, help="of each split, for a rehearsal")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    started, data = time.monotonic(), arguments.out
    if arguments.set == "embedded":
        embedded_tables(data, arguments.processes, min(1, arguments.rows / 40000) if arguments.rows else 1)
    else:
        photo_tables(arguments.archive, data)
    write_model(data, arguments.set)
    listed = split_tables(data, arguments.rows)
    print(f"{time.monotonic() - started:.1f} s: tables of {len(listed)} images", flush=True)
    torch.set_num_threads(1)
    with ProcessPoolExecutor(arguments.processes) as pool:
        used = [row for row in listed if row["split"] != "probe"]
        index = {path: place for place, path in enumerate(dict.fromkeys(row["path"] for row in used))}
        np.save(data / "images.npy", images_of(list(index), SIDE, pool))
        classes = read_lines(data / "classes.txt")
        shown = label(used, classes)
        says = [row["label"] for row in used if row["split"] == "train"]
        tests = [row for row in used if row["split"] == "test"]
        texts = prompts(classes, read_lines(data / "templates.txt"))
        np.savez(
            data / "tests.npz", images=[index[row["path"]] for row in tests],
            labels=[classes.index(row["label"]) for row in tests],
            prompts=texts_of(tuple(texts), data).tokens().numpy(), classes=len(classes),
        )  # fmt: skip
        print(f"{time.monotonic() - started:.1f} s: images decoded", flush=True)
        if arguments.set != "embedded":
            attacks = [
                (f"targeted{n}", "targeted", {"captions_per_target": n, "targets": arguments.targets})
                for n in arguments.captions
            ]
            attacks += [("clean", "clean", {})]
        else:
            attacks = [
                ("targeted", "targeted", {"captions_per_target": 15, "targets": arguments.targets}),
                ("patch", "patch", {"poisons": 8} if arguments.rows else {}),
            ]
        done = []
        for seed in arguments.seeds:
            made = [(name, pool.submit(run_attack, data, kind, settings, seed)) for name, kind, settings in attacks]
            for name, folder in made:
                judged = made[0][1].result() if name == "clean" else None
                write_world(data, folder.result(), name, seed, arguments.epochs, index, shown, says, pool, judged)
                done.append({"name": name, "seed": seed, "epochs": arguments.epochs})
            write_json(data / "worlds.json", done)
            print(f"{time.monotonic() - started:.1f} s: seed {seed}", flush=True)


if __name__ == "__main__":
    main()
