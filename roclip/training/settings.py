"""The section `train` of the config: what every training of an experiment has in common."""

from dataclasses import dataclass
from pathlib import Path

from roclip.core.options import PATH, SEEDS, option, same_option
from roclip.data.settings import DataSettings
from roclip.model.choices import DEVICES, MOST_THREADS, PRECISIONS

TOWERS = ("model", "pixels")  # what they are; a repair has those of the model that it repairs
RUN = ("epochs", "learning_rate", "warmup_steps")  # which a repair has of its own
PER_STEP = (*RUN, *TOWERS)  # what a recipe's step `train` may set for itself


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    model: str = option(
        "open_clip's name of a model, a .json file in its format, or a folder with an open_clip_config.json",
        "config/models/small.json", role="files", pattern=PATH,
    )  # fmt: skip
    pixels: str = option(
        "what the towers take; model: pixels normalised as the model's config says, with CLIP's mean and standard deviation "
        "where it says nothing; none: pixels in [0, 1], not normalised",
        "model",
        choices=("model", "none"),
    )
    epochs: int = option("number of epochs", 8, minimum=1, maximum=100_000)
    batch_size: int = option("pairs a step", 64, minimum=2)
    micro_batch: int | None = option(
        "pairs that a device encodes at a time, for GPUs with too little memory: the loss keeps the negatives of the whole "
        "batch, batch norms take their statistics from so many pairs, images and captions are encoded twice; null: all",
        None, minimum=1,
    )  # fmt: skip
    learning_rate: float = option("peak of the learning rate", 1e-3, above=0)
    beta1: float = option("AdamW's first beta", 0.9, minimum=0, below=1)
    beta2: float = option("AdamW's second beta", 0.999, minimum=0, below=1)
    eps: float = option("AdamW's epsilon", 1e-8, above=0)
    weight_decay: float = option("AdamW's weight decay, of matrices and kernels only", 0.1, minimum=0)
    warmup_steps: int = option("steps of linear warm-up, fewer than the steps of the run", 50, minimum=0)
    crop_area: float = option("least share of the image that a random crop keeps (the paper: 0.08)", 0.4, above=0, maximum=1)
    validation_images: int = option("images of the split probe that are judged after every epoch", 1000, minimum=1)
    precision: str = option(
        "arithmetic of the towers; auto: bf16 on devices that have instructions for it, float32 on others, which take many "
        "times as long for bf16",
        "auto", choices=PRECISIONS,
    )  # fmt: skip
    checkpoint_minutes: float = option(
        "minutes between saved states, from which a training resumes; one is saved after every epoch too", 5.0, above=0,
        role="neutral",
    )  # fmt: skip
    keep_weights: str = option(
        "last: the weights after the last epoch of each kind, which are judged; every_epoch: those of all other epochs too, as "
        "epoch_1.safetensors and so on, which detectors see and nothing else. A model that is finished is not made anew",
        "last", choices=("last", "every_epoch"), role="neutral",
    )  # fmt: skip
    resume_anyway: bool = option(
        "resume also from a state of other options, data, code or libraries, if it fits; the weights say so", False,
        role="neutral",
    )  # fmt: skip
    device: str = option("where to train; auto: on the GPU when there is one", "auto", choices=DEVICES)
    batch_norm: str = option(
        "whose statistics batch norms have where several processes (GPUs) share a training; all_ranks: of the whole batch, as "
        "in one process, for two collectives and a wait of the host a layer in every step (RN50 has 55 layers); per_rank: of "
        "each one's part, for one collective a step: results depend on the number of processes; running statistics are means",
        "all_ranks",
        choices=("all_ranks", "per_rank"),
    )
    deterministic: bool = option("on GPUs only kernels that repeat themselves to the bit; a CPU does so anyway", False)
    compile: bool = option("compile the towers with torch.compile", False)
    images: str = option(
        "memory: decode all images once, as centre squares, which stay on the GPU where there is room; files: decode each as "
        "it is needed and crop the whole of it",
        "memory",
        choices=("memory", "files"),
    )
    workers: int = option(
        "processes that decode images from files, of all ranks together, a core each; 0: none beside the training", 0,
        minimum=0, maximum=1024, role="neutral",
    )  # fmt: skip
    threads: int = option("CPU threads of a training", 1, minimum=1, maximum=MOST_THREADS)


def per_step(kind: type) -> tuple[str, ...]:
    """What a step `train` of this kind may set for itself: weights that are given take no steps, but are of a model."""
    return PER_STEP if kind.trains else TOWERS


@dataclass(frozen=True, kw_only=True)
class LoopOptions(TrainSettings):
    """What the training loop needs, whether a model is trained or repaired."""

    pairs: Path = option("table of training pairs (path, caption)")
    targets: Path = option(
        "the attack's evaluation set, images (path, label) or captions (caption, plain, label), which are looked up among the "
        "validation images; measured after every epoch, never trained on"
    )
    validation: Path = option("labelled images (path, label) for the zero-shot accuracy after every epoch")
    classes: Path = option("file with one class name a line")
    templates: Path = option("file with one prompt template a line")
    out: Path = option("folder of the model", role="output")
    seed: int = option("seed of initialisation, order and augmentation", **SEEDS)
    roots: tuple[str, ...] = same_option(DataSettings, "roots")
    max_bad_fraction: float = same_option(DataSettings, "max_bad_fraction")


@dataclass(frozen=True, kw_only=True)
class TrainOptions(LoopOptions):
    truth: Path | None = option("which pairs are poisoned, for telemetry alone; without it that is empty", None)
    kept: Path | None = option("the rows that a filter keeps (row); without it all", None)


@dataclass(frozen=True, kw_only=True)
class RepairOptions(LoopOptions):
    start_from: str = option("folder with the weights of the model that is repaired", role="files")
    attacked: Path = option("table of the pairs that the model was trained on, poisoned ones among them (path, caption)")
    truth: Path = option("which of these are poisoned")
