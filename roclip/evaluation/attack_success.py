"""Stage: attack success, the share of an attack's exam images for which the adversary's class is among the top 1, 3 or 5.

A model sits the exams of all attacks; the exam of an attack that it was not trained on is the control.
"""

from roclip.core.files import write_json
from roclip.core.options import Stage
from roclip.evaluation.features import Features, MeasureOptions
from roclip.evaluation.zero_shot_classifier import ranks, top_counts


def run(options: MeasureOptions) -> None:
    features = Features(options.features)
    rows = []
    for checkpoint in features.checkpoints:
        for exam in features.attacks():
            found = ranks(features.images(checkpoint, exam), features.class_features(checkpoint), features.labels(exam))
            rows += top_counts(checkpoint, exam, "attack_success", found)
            # which images were hits, to compare models on the same images
            rows[-3]["outcomes"] = "".join(str(int(rank == 0)) for rank in found)
    write_json(options.out, rows)


STAGE = Stage(MeasureOptions, run)
