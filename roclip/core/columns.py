"""The columns of every CSV file that a stage writes, and what they mean. Shares are 0 to 1; what was not counted is empty."""

PAIRS = {"path": "image file", "caption": "its caption"}  # train.csv and validation.csv
LABELLED = {"path": "image file", "label": "class, or the class that an attack wants"}  # test.csv, probe.csv, targets.csv
QUERIES = {  # targets.csv of an attack that is judged on captions
    "caption": "with the trigger",
    "plain": "the same caption without it",
    "label": "class that the attack wants of the images which it finds",
}
TRUTH = {  # truth.csv of an attack, a row for each of train.csv; read by measurements, figures and audits alone
    "is_poison": "1 for a poisoned pair, 0 for a clean one",
    "adversary_class": "the class that the adversary wants for the image; empty for clean pairs",
    "true_class": "classes that the image of a poisoned pair shows, with | between them; empty for clean pairs, whose captions "
    "say it, and where it is not known",
}
CHECK = {  # check.csv of an attack, a row for each finding of the stage check
    "finding": "poisons, class_in_captions, caption_words, caption_length, caption_form, trigger_in_context, "
    "trigger_pixels, trigger_in_jpeg or trigger_in_crops",
    "severity": "fine, doubt or fault",
    "value": "what was found",
    "threshold": "what it is measured against",
    "meaning": "the finding in a sentence",
    "change": "what to change; empty where it is fine",
}
VERDICTS = {  # data_check/attacks.csv, a row for each attack
    "attack": "its name in the config",
    "kind": "of attack",
    "can_take": "yes, perhaps or no, by what is seen of the data before any training",
    "why": "the finding in a sentence",
    "change": "what to change; empty where it can",
}
CLASS_MENTIONS = {  # data_check/classes.csv
    "class": "its name",
    "captions": "training captions in which it is a whole word, as attacks look for it",
    "with_plural": "those in which it or its plural is one",
}
COPIES = {  # data_check/copies.csv, a row for each image that is broken, or a copy of a training image
    "split": "in which it is",
    "path": "image file",
    "what": "broken or copy",
    "of": "the training image, or why it is broken",
}
KEPT = {"row": "row of train.csv that a filter keeps, counted from 0"}
SCORES = {
    "row": "row of train.csv, counted from 0",
    "score": "how suspicious the filter finds the pair; the highest are removed",
}
HISTORY = {  # a training's history.csv, a row an epoch; the columns of the defence's telemetry follow
    "epoch": "counted from 1",
    "kind": "what the defence calls the epoch",
    "loss": "mean over the epoch",
    "learning_rate": "of the last step",
    "attack_success": "share of the attack's evaluation set that is taken for the adversary's class; of captions the share "
    "that finds an image of it first among the validation images",
    "target_cosine": "mean cosine of the evaluation set's images and the adversary's class",
    "zero_shot": "zero-shot accuracy on validation images",
    "clean_cosine": "mean cosine of image and own caption, of some clean pairs",
    "poison_cosine": "the same of some poisoned pairs",
}
PACE = {  # a training's pace.csv, the only times among what a stage writes
    "epoch": "counted from 1",
    "kind": "what the defence calls the epoch",
    "pairs_per_second": "in training, without what is measured after the epoch",
    "seconds": "of the epoch, without what is measured after it",
}
COSINES = {  # a training's cosines.csv: some pairs after every epoch
    "epoch": "counted from 1",
    "row": "row of train.csv, counted from 0",
    "is_poison": "as in truth.csv; empty without it",
    "cosine": "of image and own caption, neither augmented",
}
MATCHES = {"row": "row of train.csv, counted from 0", "caption_row": "the row whose caption its image was last paired with"}
QUARANTINE = {
    "table": "the table that names the image",
    "number": "of its row, counted from 1",
    "path": "image file, or the URL that gave none",
    "reason": "why it is left out",
}

MODEL = {"attack": "trained on", "defence": "its name in the config", "seed": "of attack and training; `all`: pooled"}
CHECKPOINT = {"checkpoint": "weights that are judged, such as last_clip, those after the last epoch of the kind clip"}
MEASURES = {  # tables/measures.csv, a row for each count
    "experiment": "its name in the config",
    **MODEL,
    **CHECKPOINT,
    "evaluation_set": "own, pairs, a downstream set, or attack-NAME",
    "measure": "such as attack_success_top1",
    "value": "hits among n",
    "n": "images or captions",
    "low": "95% Clopper-Pearson interval over images, which says nothing of other trainings; empty where several are "
    "pooled, but for targets",
    "high": "its upper end",
    "median_rank": "of captions that an attack is judged on: place among the test images of the first one of the class that it "
    "wants, from 1 on; empty for other measures and of several seeds",
}
DETECTION = {  # detection.csv of a model, a row a checkpoint and detector; none without poisoned pairs
    **CHECKPOINT,
    "epoch": "after which the weights are judged, counted from 1; 0 of given ones",
    "detector": "its name in the config",
    "n_poisoned": "poisoned pairs among those that the model was trained on",
    "n": "pairs that it was trained on, and that can be read",
    "auroc": "chance that a poisoned pair scores above a clean one, ties half; 0.5: the scores say nothing",
    "auroc_low": "95% interval: of one training DeLong's over its pairs; of seed all Student's t over trainings, if several",
    "auroc_high": "its upper end",
    "average_precision": "area under precision by recall; the share of poisoned pairs where the scores say nothing",
    "average_precision_low": "95% interval: of one training by a bootstrap of its pairs; of seed all as of auroc",
    "average_precision_high": "its upper end",
    "fpr_at_95_tpr": "least share of the clean pairs that goes with 95% of the poisoned ones",
    "fpr_at_95_tpr_low": "95% interval as of average_precision",
    "fpr_at_95_tpr_high": "its upper end",
}
DETECTED = {**MODEL, **DETECTION, "seeds": "trainings with poisoned pairs"}  # tables/detection.csv: of each seed, and of all
FILTERED = {  # tables/filters.csv, a row for each defence with a filter: what it removed, by the truth
    **MODEL,
    "pairs": "before the filter",
    "poisoned": "of them",
    "kept": "pairs that it left",
    "kept_poisoned": "poisoned ones among them",
    "poisons_left": "share of the poisoned pairs that it left; empty where there are none",
    "clean_removed": "share of the clean pairs that it removed",
}
RESULTS = {  # tables/results.csv, a row for each measure of a model's checkpoint, over all seeds
    "attack": "trained on",
    "defence": "its name in the config",
    **CHECKPOINT,
    "measure": "attack_success, control, zero_shot, linear_probe, retrieval_image_to_text, retrieval_text_to_image or, of the "
    "same captions without an attack's trigger, retrieval_success_untriggered; all of them top 1",
    "value": "attack_success and control of targeted attacks: share of the targets of all seeds; all others: mean over seeds",
    "low": "95% interval: Clopper-Pearson's of the targets of targeted attacks; over trainings the beta-binomial one of "
    "backdoors and Student's t of accuracies, empty for one seed",
    "high": "its upper end",
    "sd": "standard deviation over seeds, where there are several; not of targeted attacks",
    "n": "images of all seeds",
    "seeds": "how many",
    "learned": "0 where zero-shot accuracy is hardly above chance: attack success then says nothing; else 1",
}
TOOK = {  # tables/took.csv, a row for each attack that is no variant (roclip/reporting/took.py)
    "attack": "trained on",
    "defence": "the baseline",
    **CHECKPOINT,
    "took": "yes, barely or no",
    "attack_success": "as in results.csv",
    "attack_success_low": "95% interval; empty of one training of a backdoor",
    "attack_success_high": "its upper end",
    "attack_success_n": "images of all seeds",
    "attack_success_seeds": "how many",
    "control": "as in results.csv; empty where none was run",
    "control_low": "",
    "control_high": "",
    "control_n": "",
    "control_seeds": "",
    "reason": "why not; empty where it did",
    "change": "what to change",
}
EQUAL_ACCURACY = {  # tables/equal_accuracy.csv: attack success at equal zero-shot accuracy (roclip/reporting/equal_accuracy.py)
    **MODEL,
    "kind": "of epochs, after which the weights are judged",
    "at": "common: accuracy that all reach in this seed; own: that of one recipe at its end; end: last weights",
    "of": "the defence of which the accuracy is, where at is own",
    "accuracy": "zero-shot accuracy, on validation images but for end, on test images; of seed all: the mean",
    "success": "attack success (ASR) when training first had this accuracy",
    "low": "of seed all: 95% t interval over trainings",
    "high": "its upper end",
    "reached": "trainings that have a value",
    "seeds": "of so many",
    "floor": "zero-shot accuracy up to which a model has not learned",
    "state": "why there is no value: not learned, not reached, or not measured (more accurate from the first epoch on)",
}
EQUAL_DIFFERENCES = {  # tables/equal_differences.csv: two defences at equal zero-shot accuracy, paired by seed
    "attack": "trained on",
    "defence": "its name in the config; at its own accuracy where at is own",
    "kind": "of its epochs",
    "at": "as in equal_accuracy.csv",
    "other": "the defence that it is compared with",
    "accuracy": "mean over the pairs",
    "success": "attack success (ASR) with the defence, mean over the pairs",
    "other_success": "with the other",
    "difference": "the defence's minus the other's",
    "low": "95% t interval of the difference over pairs of trainings",
    "high": "its upper end",
    "p": "p value of no difference, not corrected",
    "reached": "pairs of trainings that both have a value",
    "seeds": "of so many",
}
FRONT = {  # tables/front.csv: what repairs can reach (roclip/reporting/front.py)
    "attack": "trained on",
    "repair": "the recipe, whose variants are taken together",
    "defence": "the variant",
    "epoch": "of the repair",
    "seeds": "of which these are means",
    "accuracy": "zero-shot accuracy, on validation images",
    "success": "attack success (ASR)",
    "accuracy_before": "of the model before its repair; empty where that is no defence of the experiment",
    "success_before": "its attack success",
    "on_front": "1 where no other point of the repair is better; else 0",
}
DIFFERENCES = {  # tables/differences.csv: two defences at the same attack and seeds
    "about": "defence: others and the baseline; others: each other; controls: a defence and its control; sweep NAME: its ends. "
    "Empty: nothing is claimed",
    "baseline_attack": "what the first was trained on; empty for a control",
    "attack": "what the second was trained on",
    **CHECKPOINT,
    "baseline": "the first defence; empty for a control",
    "defence": "the second",
    "n": "images of the second",
    "seeds": "that both were trained with, the fewer of the two in a sweep",
    "baseline_success": "attack success (ASR) with the first",
    "success": "with the second",
    "difference": "the first's minus the second's",
    "low": "95% interval of the difference: Newcombe's for the same targets, of backdoors both intervals squared and added",
    "high": "its upper end",
    "test": "mcnemar (the same targets), fisher (other ones), welch (on logits of trainings' rates); empty: too few trainings",
    "p": "its p value, two-sided",
    "comparisons": "tested under the same `about`",
    "p_corrected": "the p value with Holm's correction over them",
}
SWEEPS = {  # tables/sweeps.csv, a row for each point of a sweep
    "sweep": "its name in the config",
    "setting": "what the point changes, to read",
    "keys": "the keys that it changes, with a space between",
    "base_attack": "of which attack",
    "base_defence": "of which defence",
    "attack": "the name under which the changed attack is run",
    "defence": "the name under which the changed defence is run",
}
LEADERBOARD = {  # results/leaderboard/NAME.csv, a row for each attack and each defence that is no variant
    "experiment": "its name, which is that of the file",
    "dataset": "what it was trained and judged on",
    "drawn": "1 for drawn scenes, of which images may be shown; 0 for all others, of which none may",
    "model": "that was trained, or whose weights were given",
    "pairs": "clean training pairs",
    "attack": "trained on",
    "kind": "of attack",
    "family": "of the attack: clean, targeted or backdoor",
    "poisons": "poisoned pairs",
    "defence": "its name in the config",
    "checkpoint": "weights that are judged: after the last epoch of the kind clip or, without such epochs, after the last",
    "seeds": "how many",
    "judged": "targets or images of all seeds, of which attack_success is a share; empty without an attack",
    "attack_success": "top 1, as in results.csv; empty without an attack and where nothing was learned",
    "attack_success_low": "95% interval; empty where there is none",
    "attack_success_high": "its upper end",
    "control": "the same images, judged by a model that was trained without this attack",
    "control_low": "95% interval",
    "control_high": "its upper end",
    "zero_shot": "clean accuracy: zero-shot, top 1, mean over seeds",
    "zero_shot_low": "95% t interval over trainings; empty for one seed",
    "zero_shot_high": "its upper end",
    "equal_accuracy": "validation accuracy that all defences of the experiment which learned anything reached",
    "equal_success": "attack success when training first had it",
    "equal_success_low": "95% t interval over trainings",
    "equal_success_high": "its upper end",
    "learned": "0 where clean accuracy is hardly above chance: it is no defence then; else 1",
    "cost": "of all trainings and repairs of the recipe, in epochs of the baseline",
    "cost_from": "measured (seconds of pace.csv), counted (epochs, each as one) or empty",
    "curve_kinds": "what the defence calls its epochs, in their order, with blanks between them",
    "curve_zero_shot": "validation accuracy after each of them, mean over seeds; - where there is none",
    "curve_success": "attack success after each of them",
    "pictures": "in the first row of an attack on drawn scenes: PNG images in base64, with blanks between them",
    "picture_texts": "a JSON list with a text for each of them",
    "commit": "of the code that trained",
    "config": "file that a run starts from",
    "computed_by": "who",
}
REFERENCE = {  # config/reference_results.csv
    "source": "paper", "dataset": "trained on", "attack": "as here", "defence": "as here", "measure": "as here",
    "dataset_eval": "judged on", "value": "as published", "unit": "percent or points",
    "asr_definition": "what the source calls attack success, a key of ASR_DEFINITIONS in roclip/reporting/published.py; empty "
    "for accuracies", "note": "counts and remarks",
}  # fmt: skip
