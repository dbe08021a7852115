"""open_clip's own training, as the peer: its main sets everything up, its train_one_epoch trains."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import open_clip
import torch
from open_clip_train import main
from open_clip_train.train import train_one_epoch

import roclip.model.small_resnet  # noqa: F401 (registers its towers)
from roclip.training.settings import LoopOptions


class OpenClip:
    """A training of open_clip on a table (path, caption), a CSV, with some of its flags beside those that `options` imply."""

    def __init__(self, options: LoopOptions, flags: Sequence[str], channels_last: bool = False) -> None:
        """channels_last: put the weights into that layout, for which open_clip has no flag."""
        model = Path(options.model)
        if model.suffix == ".json":
            open_clip.add_model_config(model)
        given = {
            "model": model.stem, "train-data": options.pairs, "csv-separator": ",", "csv-img-key": "path",
            "csv-caption-key": "caption", "batch-size": options.batch_size, "lr": options.learning_rate, "beta1": options.beta1,
            "beta2": options.beta2, "eps": options.eps, "wd": options.weight_decay, "warmup": 1, "lr-scheduler": "const",
            "device": "cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu", "seed": options.seed,
            "epochs": 1, "save-frequency": 0, "log-every-n-steps": 1 << 30,
        }  # fmt: skip
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        # its main does all but train; what it would have trained with is kept
        with (
            _quiet(),
            TemporaryDirectory() as folder,
            patch.object(main, "setup_logging"),
            patch.object(main, "train_one_epoch") as epoch,
        ):
            main.main([*words, "--logs", folder, "--name", "peer", *flags])
        self.arguments, self.options = epoch.call_args.args, epoch.call_args.kwargs
        loader = self.arguments[1]["train"].dataloader
        self.pairs = loader.num_batches * loader.batch_size  # of an epoch
        if channels_last:
            self.arguments[0].to(memory_format=torch.channels_last)

    def epoch(self) -> None:
        """Train for one epoch."""
        with _quiet():
            train_one_epoch(*self.arguments, **self.options)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without log lines and warnings, of pinned memory where there is no GPU among others."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(before)
