"""What the workflow's rules ask of a config and its plan beside the files there will be: what a job reads, with which flags.

Nothing of Snakemake is needed here. `wildcards` is any object with the names that a rule's files hold: attack, defence or step,
seed, set.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from roclip.core.options import flags
from roclip.core.provenance import SUFFIX
from roclip.data.downstream_sets import absent_sets
from roclip.data.url_list import SPLITS, by_split, paths, words
from roclip.evaluation import OWN, PAIRS, attack_set
from roclip.experiment.config import pair_count
from roclip.experiment.outputs import Outputs
from roclip.experiment.plan import Step, evaluation_sets, nothing_to_detect
from roclip.experiment.schema import STEPS
from roclip.model.configs import own_file
from roclip.training.settings import TrainSettings

SCENES = (
    "image_size", "train_scenes", "validation_scenes", "test_scenes", "probe_scenes", "seed",
    "class_skew", "nameless_captions", "wrong_captions", "near_duplicates", "object_variation",
)  # fmt: skip
PACKED = (".tar", ".parquet")  # files with images in them
NEUTRAL = tuple(option.name for option in fields(TrainSettings) if option.metadata["role"] == "neutral")
DOWNLOAD = ("image_size", "image_format", "output_format", "roots", "max_bad_fraction", "allow", "distributor")


def _inside(source: str | Path) -> list[str]:
    """What a folder of data holds beside images: class folders and shards, whose times tell of a change in them."""
    if not os.path.isdir(source):  # noqa: PTH112 (Path.is_dir raises for a name that is too long)
        return []
    with os.scandir(source) as found:
        return [each.path for each in found if each.name[0] != "." and (each.is_dir() or each.name.endswith(PACKED))]


@dataclass(frozen=True)
class Targets(Outputs):
    """The files of an experiment, and what its jobs read and are told; see `Outputs`."""

    # what jobs read

    def pairs(self, wildcards: Any) -> str:
        """What is trained on: the pairs of the attack or, in a repair, those of the data set, which are clean."""
        is_repair = self.plan.models[wildcards.step].stage == "repair"
        folder = "data" if is_repair else f"attacks/{wildcards.attack}/seed{wildcards.seed}"
        return f"{self.results}/{folder}/train.csv"

    def files_of_step(self, wildcards: Any) -> list[str]:
        """The files of a user that a training's settings name: of its model, and such as weights to start from."""
        step = self.plan.models[wildcards.step]
        options = fields(STEPS[step.stage][step.settings["kind"]].Settings)
        named = [step.settings.get(option.name) for option in options if option.metadata["role"] == "files"]
        return [file for file in (own_file(self.plan.towers_of(wildcards.step)["model"]), *named) if file]

    def steps_before(self, wildcards: Any) -> list[str]:
        """The rows that a training's filter keeps and the weights that it starts from, where there are such steps."""
        return [*self._kept(wildcards), *self._weights(self.plan.models[wildcards.step], wildcards)]

    def _kept(self, wildcards: Any) -> list[str]:
        return self._kept_by(self.plan.models[wildcards.step].filter, wildcards)

    def _kept_by(self, chosen: str | None, wildcards: Any) -> list[str]:
        return self.at([f"filters/{wildcards.attack}/{chosen}/seed{wildcards.seed}/kept.csv"] if chosen else [])

    def trained_on(self, wildcards: Any) -> list[str]:
        """The rows that a defence's model was trained on, where a filter kept only some."""
        return self._kept_by(self.plan.filter_of(wildcards.defence), wildcards)

    def truth_of_filter(self, wildcards: Any) -> list[str]:
        """Which pairs are poisoned, for a filter that no defender could run; none for all others."""
        chosen = STEPS["filter"][self.plan.filters[wildcards.step].settings["kind"]]
        return self.at([f"attacks/{wildcards.attack}/seed{wildcards.seed}/truth.csv"] if chosen.reads_truth else [])

    def scored_by(self, wildcards: Any) -> list[str]:
        """The weights of the model with which a filter scores; none where it needs no model."""
        return self._weights(self.plan.filters[wildcards.step], wildcards)

    def _weights(self, step: Step, wildcards: Any) -> list[str]:
        if not step.start_from:
            return []
        return self.at([f"models/{step.start_attack or wildcards.attack}/{step.start_from}/seed{wildcards.seed}/weights"])

    def encoded_sets(self, wildcards: Any) -> dict[str, dict[str, str]]:
        """The evaluation sets of a model that a job encodes, with their files.

        A downstream set has a job to itself; the experiment's own images, its pairs and the sets of attacks share one.
        """
        judged = evaluation_sets(self.plan, wildcards.attack, wildcards.defence, int(wildcards.seed))
        sets = [name for name in judged if name not in self.plan.sets] if wildcards.set == OWN else [wildcards.set]
        return {name: self.evaluation_set(name, wildcards.seed) for name in sets}

    def encode_inputs(self, wildcards: Any) -> list[str]:
        return sorted({file for files in self.encoded_sets(wildcards).values() for file in files.values()})

    def features(self, wildcards: Any) -> str:
        """The folder with the features of an evaluation set."""
        job = wildcards.set if wildcards.set in self.plan.sets else OWN
        return f"{self.results}/measures/{wildcards.attack}/{wildcards.defence}/seed{wildcards.seed}/{job}/features"

    def evaluation_set(self, name: str, seed: str) -> dict[str, str]:
        """The tables and lists of an evaluation set, by their flags, and the record of its images where there is one."""
        lists = {key: self.config["data"][key] for key in ("classes", "templates")}
        data, record = f"{self.results}/data", f"{self.results}/data/download{SUFFIX}"
        adversary = name.removeprefix(attack_set(""))
        if adversary != name:
            folder = f"{self.results}/attacks/{adversary}/seed{seed}"
            own = {"record": f"{folder}/attack{SUFFIX}", **lists}
            if adversary in self.plan.of_captions:
                return {"test": f"{data}/test.csv", "captions": f"{folder}/targets.csv", **own, "images": record}
            return {"test": f"{folder}/targets.csv", **own}
        if name == PAIRS:
            return {**dict.fromkeys(("test", "captions"), f"{data}/validation.csv"), **lists, "record": record}
        folder = data if name == OWN else f"{data}/downstream/{name}"
        tables = {"test": f"{folder}/test.csv", "probe": f"{folder}/probe.csv"}
        if name == OWN:
            return {**tables, **lists, "record": record}
        return {**tables, **{key: f"{folder}/{key}.txt" for key in lists}}

    def export_inputs(self, wildcards: Any) -> list[str]:
        return self.measures_of(wildcards.attack, wildcards.defence, int(wildcards.seed))

    def figure_inputs(self, wildcards: Any) -> list[str]:
        return self.at(self.figures[wildcards.figure].inputs(wildcards.figure, self.plan))

    def figure_sources(self, wildcards: Any) -> list[str]:
        """What else a figure changes with: the modules that draw it, and the records of the images that its tables name."""
        tables = [Path(path) for path in self.figure_inputs(wildcards)]
        records = dict.fromkeys(str(path.with_name(f"attack{SUFFIX}")) for path in tables if path.parts[-4:-3] == ("attacks",))
        return [*(str(self.home / module) for module in self.figures[wildcards.figure].modules()), *records]

    # what jobs are told

    @cached_property
    def intake(self) -> dict[str, Any]:
        """What all stages that read images are told."""
        return {"roots": self.config["data"]["roots"], "max_bad_fraction": self.config["data"]["max_bad_fraction"]}

    @cached_property
    def towers(self) -> dict[str, Any]:
        """What stages that only encode are told of the machine."""
        return {key: self.config["train"][key] for key in ("precision", "device")}

    @cached_property
    def url_list(self) -> list[str]:
        """What is downloaded, as the words of a flag; drawn scenes where the config names nothing else."""
        if len(self.config["data"]["tables"]) == len(SPLITS):
            return []
        return words(self.config["data"]["url_list"] or f"{self.results}/data/urls.tsv")

    @cached_property
    def local_tables(self) -> list[str]:
        return words(self.config["data"]["tables"])

    def downloaded(self) -> list[str]:
        """What the download reads: lists, tables and shards, folders in them, and the classes that make labels of captions."""
        listed = paths(self.url_list).values() if self.url_list else ()
        sources = [*listed, *by_split(self.local_tables, "tables").values()]
        inside = [path for source in sources for path in _inside(source)]
        words_of = [self.config["data"][name] for name in ("classes", "templates")] if self.local_tables else []
        return sorted({str(path) for path in (*sources, *inside, *words_of)})

    def scenes_flags(self) -> str:
        return flags({"data": f"{self.results}/data", **{key: self.config["data"][key] for key in SCENES}})

    def download_flags(self) -> str:
        sources = {"url_list": self.url_list or None, "tables": self.local_tables or None}
        sources |= {name: self.config["data"][name] for name in ("classes", "templates")}
        return flags({"data": f"{self.results}/data", **sources, **{key: self.config["data"][key] for key in DOWNLOAD}})

    def downstream_flags(self, wildcards: Any) -> str:
        told = {"set": wildcards.set, "out": f"{self.results}/data/downstream/{wildcards.set}"}
        root, share = self.config["downstream"]["root"], self.config["data"]["max_bad_fraction"]
        return flags({**told, "root": root, "max_bad_fraction": share})

    def attack_flags(self, wildcards: Any) -> str:
        told = {name: self.config["data"][name] for name in ("roots", "held_out")}
        return flags({**self.plan.attack[wildcards.attack], **told, "image_size": self.plan.image_size, "seed": wildcards.seed})

    def check_flags(self) -> str:
        told = {name: self.config["train"][name] for name in ("model", "crop_area")}
        return flags({**told, "image_size": self.plan.image_size, "roots": self.config["data"]["roots"]})

    def filter_flags(self, wildcards: Any) -> str:
        told = {"weights": self.scored_by(wildcards) or None, "truth": self.truth_of_filter(wildcards) or None} | self.towers
        return flags({**self.plan.filters[wildcards.step].settings, **told, "seed": wildcards.seed, **self.intake})

    def train_flags(self, wildcards: Any) -> str:
        """Of a training or a repair."""
        step = self.plan.models[wildcards.step]
        attack = f"{self.results}/attacks/{wildcards.attack}/seed{wildcards.seed}"
        told: dict[str, Any] = {"seed": wildcards.seed, "truth": f"{attack}/truth.csv", **self.plan.towers_of(wildcards.step)}
        if step.stage == "repair":
            told |= {"attacked": f"{attack}/train.csv"}
        before = {"kept": self._kept(wildcards), "start_from": self._weights(step, wildcards)}
        told |= {name: files for name, files in before.items() if files}
        train = {name: value for name, value in self.config["train"].items() if name not in NEUTRAL}
        return flags({**train, **step.settings, **told, **self.intake})

    def label(self, wildcards: Any) -> str:
        """What tells the lines of filters and trainings apart that run side by side."""
        return f"{wildcards.attack} {wildcards.step} seed {wildcards.seed}"

    def launched(self, wildcards: Any, resources: Any) -> str:
        """What starts a training or a repair, a process for each of its GPUs, and the flags that change no results.

        Snakemake does not compare what depends on resources: another one of these makes no finished model anew.
        """
        ranks = f"torchrun --standalone --nproc_per_node {resources.gpu} -m roclip_command" if resources.gpu > 1 else "roclip"
        neutral = flags({name: self.config["train"][name] for name in NEUTRAL})
        return f"{ranks} {self.plan.models[wildcards.step].stage} {neutral}"

    def encode_flags(self, wildcards: Any) -> str:
        sets = self.encoded_sets(wildcards)
        told: dict[str, Any] = {
            flag: [f"{name}={files[flag]}" for name, files in sets.items() if flag in files] or None
            for flag in ("test", "probe", "captions")
        }
        lists = next(iter(sets.values()))  # of all of them
        return flags({**told, **{key: lists[key] for key in ("classes", "templates")}, **self.towers, **self.intake})

    def detect_flags(self, wildcards: Any) -> str:
        """Each detector is a word that holds its own flags."""
        words = [f"{name} {flags(settings)}" for name, settings in self.plan.detectors.items()]
        told = {"detectors": words, "kept": self.trained_on(wildcards) or None, "seed": wildcards.seed}
        return flags({**told, **self.towers, **self.intake})

    def gather_flags(self) -> str:
        """Where there is what only some experiments have."""
        there = {"detection": "detection"} if self.detections else {}
        there |= {"filters": "filters", "truth": "attacks"} if self.filtered else {}
        return flags({name: f"{self.results}/{folder}" for name, folder in there.items()})

    def export_flags(self, wildcards: Any) -> str:
        name = f"{wildcards.attack}/{wildcards.defence}/seed{wildcards.seed}"
        told = {"name": name, "experiment": self.plan.experiment, "measures": f"{self.results}/measures/{name}"}
        return flags(told | {"sets": [OWN, *self.plan.sets]})

    # what is said before a run

    def absences(self) -> list[str]:
        """A line on each downstream set that is not there, and on models without anything to detect."""
        absent = absent_sets(self.config["downstream"], self.plan.sets)
        lines = [f"No model is judged on {name}: there is no folder {folder}." for name, folder in absent.items()]
        return [*lines, *nothing_to_detect(self.plan)]

    def pairs_to_train(self, jobs: Iterable[Any]) -> list[int]:
        """For each training and repair that makes any step, the pairs that it sees in all its epochs; jobs: their wildcards."""
        jobs = list(jobs)
        everything = pair_count(self.config) - self.config["data"]["held_out"] if jobs else 0
        return [pairs for job in jobs if (pairs := self._pairs_seen(job, everything))]

    def _pairs_seen(self, job: Any, everything: int) -> int:
        step = self.plan.models[job.step]
        if not STEPS[step.stage][step.settings["kind"]].trains:
            return 0
        pairs = (step.settings if step.stage == "repair" else self.plan.attack[job.attack])["clean_pairs"] or everything
        share = self.plan.filters[step.filter].settings.get("keep", 1) if step.filter else 1
        return round(step.settings["epochs"] * share * pairs)

    @property
    def cores(self) -> int:
        """Of a training: its threads and, where images are read from files, the workers that decode them."""
        train = self.config["train"]
        return train["threads"] + (train["workers"] if train["images"] == "files" else 0)
