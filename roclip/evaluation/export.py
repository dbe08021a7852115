"""Stage: write a model's checkpoints in the forms that others read.

For each checkpoint a folder that `open_clip.create_model("local-dir:FOLDER")` loads: `open_clip_model.safetensors`,
`open_clip_config.json`, the same weights as `open_clip_model.pt` (a state dict and nothing else, for `pretrained=`) and a model
card, `README.md`. Its measures, those that CLIP_benchmark has too, are rows as that writes them: `results/DATASET_TASK.json`
(dataset, model, pretrained, task, metrics, language), and gathered in `results.csv` (the metrics as columns, and
model_fullname). A metric that was not measured is empty.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from roclip.core.atomic import atomic
from roclip.core.errors import UserError
from roclip.core.escapes import markdown
from roclip.core.files import write_json, write_table
from roclip.core.options import Stage, option
from roclip.core.words import checkpoint_label
from roclip.evaluation import MEASURES, OWN
from roclip.evaluation.base import read_measured
from roclip.evaluation.features import Features
from roclip.model import towers
from roclip.model.configs import PIXELS, PUBLISHED_CONFIG, own_file, pixel_moments

log = logging.getLogger(__name__)

METRICS = ("acc1", "acc5", "mean_per_class_recall", "lp_acc1")  # all that a measure's `metrics` may give
ROW = ("dataset", "model", "pretrained", "task", "language")
BENCHMARK_NAMES = {"aircraft": "fgvc_aircraft", "flowers102": "flowers"}  # where CLIP_benchmark has another name for a set
WEIGHTS = "open_clip_model"


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    weights: Path = option("folder with the checkpoints of a model")
    measures: Path = option("folder with a folder of features and measures for each evaluation set")
    name: str = option("what the model is called, such as targeted/roclip/seed10")
    experiment: str = option("name of the experiment")
    sets: tuple[str, ...] = option("evaluation sets whose measures are written; others in the folder are left out", fewest=1)
    out: Path = option("folder to write, one folder in it for each checkpoint", role="output")


def benchmark_rows(options: ExportOptions, checkpoint: str, model: str) -> list[dict[str, Any]]:
    """The measures of a checkpoint in CLIP_benchmark's form, in which our own images go by the experiment's name."""
    rows = []
    for name, measure in MEASURES.items():
        for path in sorted(options.measures.glob(f"*/{name}.json")) if measure.task else []:
            if path.parent.name not in options.sets:
                continue  # of a set that left the config
            measured = [row for row in read_measured(path) if row["checkpoint"] == checkpoint]
            features = Features(path.parent / f"features/{path.parent.name}.npz")
            if not measured or checkpoint not in features.checkpoints:
                raise UserError(f"{path.parent}: nothing was measured of {checkpoint}; run the workflow, which measures again")
            dataset = path.parent.name
            rows.append(
                {
                    "dataset": options.experiment if dataset == OWN else BENCHMARK_NAMES.get(dataset, dataset),
                    "model": model,
                    "pretrained": f"{options.experiment}/{options.name}/{checkpoint}",
                    "task": measure.task,
                    "metrics": measure.metrics(features, checkpoint, measured),
                    "language": "en",
                }
            )
    return rows


def card(options: ExportOptions, checkpoint: str, model: str, record: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The model card: a head for hubs, what the model is, how it is loaded, what was measured, what it was made of."""
    lines = [
        "---",
        "library_name: open_clip",
        "pipeline_tag: zero-shot-image-classification",
        "tags: [clip, data-poisoning, roclip]",
        "---",
        "",
        f"# {markdown(f'{options.experiment}/{options.name}, {checkpoint_label(checkpoint)}')}",
        "",
        f"CLIP ({markdown(model)}), of a poisoning experiment. **Its training data may hold poisoned pairs that were put there "
        "on purpose: it is for research on attacks and defences, not for use.**",
        "",
        "```python",
        "import open_clip",
        'model = open_clip.create_model("local-dir:FOLDER")  # the folder of this file',
        "```",
        "",
        f"`{WEIGHTS}.pt` holds the same weights as a state dict: `model.load_state_dict(torch.load(PATH, weights_only=True))`.",
    ]
    if own_file(model) is None:
        lines += [f"open_clip reads it too: `open_clip.create_model({markdown(repr(model))}, pretrained=PATH)`."]
    if "timm_model_name" in record["model_config"]["vision_cfg"]:
        lines += ["Its image tower is registered with timm by `import roclip.model.small_resnet`: import that first."]
    if "bpe_path" in record["model_config"]["text_cfg"].get("tokenizer_kwargs", {}):
        lines += ["Its tokenizer reads a file of the project, so load it in the project's folder."]
    lines += ["", "## Measured", "", "| dataset | task | metric | value |", "|---|---|---|---|"]
    lines += [
        f"| {markdown(row['dataset'])} | {row['task']} | {metric} | {value:.4f} |"
        for row in rows
        for metric, value in row["metrics"].items()
    ]
    lines += ["", f"Made by commit `{markdown(record['commit'])}`, epoch {record['epoch']}.", ""]
    lines += ["| program | version |", "|---|---|", *pairs(record["versions"]), ""]
    lines += ["| input | sha256 |", "|---|---|", *pairs(record["inputs"])]
    lines += ["", "| option | value |", "|---|---|", *pairs(record["options"])]
    return "\n".join(lines) + "\n"


def pairs(content: dict[str, Any]) -> list[str]:
    """The rows of a table of two columns; paths and options may hold anything."""
    return [f"| {markdown(str(key))} | {markdown(str(value))} |" for key, value in content.items()]


def write_checkpoint(
    checkpoint: str, model: torch.nn.Module, record: dict[str, Any], options: ExportOptions
) -> list[dict[str, Any]]:
    """Write the folder of one checkpoint; its rows."""
    folder = options.out / checkpoint
    name = record["options"]["model"]
    rows = benchmark_rows(options, checkpoint, Path(name).name.removesuffix(".json"))
    weights = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    with atomic(folder / f"{WEIGHTS}.safetensors") as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})
    # to an open file: torch would write the name of a path, which is another one each time, into what it writes
    with atomic(folder / f"{WEIGHTS}.pt") as temporary, open(temporary, "wb") as file:
        torch.save(weights, file)
    mean, std = pixel_moments(record["model_config"])
    pixels = {"mean": mean, "std": std, "interpolation": "bicubic", "resize_mode": "shortest"}
    config = {key: value for key, value in record["model_config"].items() if key != PIXELS}
    write_json(folder / PUBLISHED_CONFIG, {"model_cfg": config, PIXELS: pixels})
    for row in rows:
        write_json(folder / "results" / f"{row['dataset']}_{row['task']}.json", row)
    with atomic(folder / "README.md") as temporary:
        temporary.write_text(card(options, checkpoint, name, record, rows), encoding="utf-8")
    return rows


def run(options: ExportOptions) -> None:
    """Raises UserError as `towers.load_all`."""
    models = towers.load_all(options.weights)
    rows = [row for checkpoint, model in models.items() for row in write_checkpoint(checkpoint, *model, options)]
    flat = [
        {metric: row["metrics"].get(metric, "") for metric in METRICS}
        | {key: row[key] for key in ROW}
        | {"model_fullname": f"{row['model']} {row['pretrained']}"}
        for row in rows
    ]
    write_table(options.out / "results.csv", (*METRICS, *ROW, "model_fullname"), flat)
    log.info("wrote %s of %s to %s", " and ".join(models), options.name, options.out)


STAGE = Stage(ExportOptions, run)
