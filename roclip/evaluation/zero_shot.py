"""Stage: zero-shot accuracy on the test images, those of the experiment or of a downstream set, top 1, 3 and 5."""

from roclip.core.files import write_json
from roclip.core.options import Stage
from roclip.evaluation.features import AccuracyOptions, Features
from roclip.evaluation.zero_shot_classifier import ranks, top_counts


def run(options: AccuracyOptions) -> None:
    features = Features(options.features)
    rows = []
    for checkpoint in features.checkpoints:
        found = ranks(features.images(checkpoint, "test"), features.class_features(checkpoint), features.labels("test"))
        rows += top_counts(checkpoint, options.exam, "zero_shot", found)
    write_json(options.out, rows)


STAGE = Stage(AccuracyOptions, run)
