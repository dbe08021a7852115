"""Stage: zero-shot accuracy on the test images, top 1, 3 and 5."""

from roclip.exam import ranks, top_counts
from roclip.features import Features, MeasureOptions
from roclip.options import run_stage
from roclip.tables import write_json


def run(options: MeasureOptions) -> None:
    features = Features(options.features)
    rows = []
    for checkpoint in features.checkpoints:
        found = ranks(features.images(checkpoint, "test"), features.class_features(checkpoint), features.labels("test"))
        rows += top_counts(checkpoint, "test", "zero_shot", found)
    write_json(options.out, rows)


if __name__ == "__main__":
    run_stage(MeasureOptions, run)
