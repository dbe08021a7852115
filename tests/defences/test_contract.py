"""What every registered defence must do, whatever its kind: trainings, repairs and filters, and skeletons of what may come."""

import dataclasses
import math
import re
import subprocess
import sys

import pytest

from roclip.core.columns import HISTORY, KEPT, PACE, QUARANTINE, SCORES
from roclip.core.errors import UserError
from roclip.core.facts import Facts
from roclip.core.files import read_columns, read_table
from roclip.core.options import default_of, faults
from roclip.defences.base import Defence, Trainer
from roclip.defences.filters import FILTERS
from roclip.training import filter as filtering
from roclip.training import repair, train
from roclip.training import run as running
from tests.conftest import ROOT
from tests.fixtures import skeletons
from tests.fixtures.trainings import filter_options, options, outputs, resumed
from tests.fixtures.weights import write_small

STAGES = {"train": train.STAGE, "repair": repair.STAGE, "filter": filtering.STAGE}
SKELETONS = {
    ("train", "mixed"): skeletons.Mixed,
    ("repair", "in_modal"): skeletons.InModal,
    ("repair", "push_away"): skeletons.PushAway,
}
REGISTERED = {(name, kind): defence for name, stage in STAGES.items() for kind, defence in stage.kinds.items()}
EVERY = REGISTERED | SKELETONS
TRAINED = [case for case, defence in EVERY.items() if case[0] != "filter" and defence.trains]
ENOUGH = Facts(40_000, tuple(f"class{n}" for n in range(50)), "classes.txt", 1000, 32, epochs=8, batch_size=64)

each = pytest.mark.parametrize("case", EVERY, ids="/".join)
each_filter = pytest.mark.parametrize("kind", [kind for kind, chosen in FILTERS.items() if not chosen.reads_truth])


def settings_of(case):
    return dataclasses.fields(EVERY[case].Settings)


@each
def test_it_says_what_it_is(case):
    assert re.fullmatch(r"[A-Z][^\n]*\.", EVERY[case].__doc__)
    if case[0] != "filter":
        labels = [defence.label for (stage, _), defence in EVERY.items() if stage != "filter"]
        assert labels.count(EVERY[case].label) == 1


@each
def test_its_settings_have_a_meaning_and_a_legal_default(case):
    for field in settings_of(case):
        default = default_of(field)
        assert field.metadata["help"]
        assert default in (None, dataclasses.MISSING) or list(faults(field.metadata, default)) == []
        assert not field.metadata["choices"] or default in field.metadata["choices"]


@each
def test_its_settings_are_called_otherwise_than_the_options_of_its_stage(case):
    """But for those that a step may set in place of the section `train`."""
    of_stage = {field.name for field in dataclasses.fields(STAGES[case[0]].options)}
    assert {field.name for field in settings_of(case)} & of_stage <= {"epochs", "learning_rate", "warmup_steps", "start_from"}


@pytest.mark.parametrize("case", [case for case in TRAINED if EVERY[case] is not Defence], ids="/".join)
def test_it_changes_something_of_plain_clip(case):
    """A method whose name is misspelled overrides nothing."""
    says = {"label", "Settings", "problems", "simplest", "trains", "telemetry_columns", "telemetry_panels", "tables"}
    mine = {name for owner in EVERY[case].__mro__[: EVERY[case].__mro__.index(Defence)] for name in vars(owner)}
    acts = {name for name in vars(Defence) if not name.startswith("__")} - says
    assert mine & acts, f"{EVERY[case].__name__} overrides none of {', '.join(sorted(acts))}"


def problems(case, facts, **changes):
    defaults = {field.name: default_of(field) for field in settings_of(case)}
    return list(EVERY[case].problems(defaults | changes, facts))


@each
def test_its_defaults_work_where_there_is_enough(case):
    assert problems(case, ENOUGH) == []


@each
def test_its_problems_name_settings_and_hold_one_line(case):
    few = Facts(5, (), "classes.txt", None, 8, epochs=1, batch_size=4)
    for option, message in problems(case, few):
        assert option in {field.name for field in settings_of(case)}
        assert re.fullmatch(r"[^\n]+[^.\n]", message)


@pytest.mark.parametrize("case", TRAINED, ids="/".join)
def test_its_telemetry_has_names_of_its_own_and_its_epochs_make_file_names(case):
    defence = EVERY[case]
    assert not {*defence.telemetry_columns} & {*HISTORY, *PACE}
    assert all(re.fullmatch(r"[a-z_]+", name) and meaning for name, meaning in defence.telemetry_columns.items())


@pytest.mark.parametrize("case", TRAINED, ids="/".join)
def test_its_panels_draw_columns_that_it_has_each_in_one(case):
    drawn = [column for columns in EVERY[case].telemetry_panels.values() for column in columns]
    assert len(drawn) == len(set(drawn))
    assert {*drawn} <= {*EVERY[case].telemetry_columns}


@pytest.mark.parametrize("case", [case for case in REGISTERED if case[0] == "train"], ids="/".join)
def test_the_simplest_of_its_settings_are_settings_of_a_training(case):
    defaults = {field.name: default_of(field) for field in settings_of(case)} | {"kind": case[1]}
    found = EVERY[case].simplest(defaults)
    assert {*found} == {"kind", *(field.name for field in settings_of(("train", found["kind"])))}
    assert EVERY["train", found["kind"]].simplest(found) == found


def test_the_registries_are_read_without_slow_imports():
    slow = "{'torch', 'pandas', 'matplotlib', 'scipy'}"
    names = "roclip.defences, roclip.defences.filters, roclip.defences.repair"
    code = f"import sys, {names}; sys.exit(', '.join({slow} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stderr.strip() == ""


PROMISED = {*Trainer.__annotations__, *(name for name in vars(Trainer) if not name.startswith("_"))}


class OnlyWhatIsPromised:
    """A trainer of which nothing can be used but what the contract names."""

    def __init__(self, trainer) -> None:
        self._trainer = trainer

    def __getattr__(self, name):
        assert name in PROMISED, f"the contract of defences promises no {name}"
        return getattr(self._trainer, name)


def confined(defence: type) -> type:
    """The defence, made with such a trainer."""

    class Confined(defence):
        def __init__(self, settings, trainer):
            super().__init__(settings, OnlyWhatIsPromised(trainer))

        def telemetry(self):
            found = super().telemetry()
            assert found.keys() <= self.telemetry_columns.keys()
            return found

    return Confined


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        for (stage, kind), defence in SKELETONS.items():
            patch.setitem(STAGES[stage].kinds, kind, defence)
        yield patch


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder of weights that nobody trained."""
    folder = tmp_path_factory.mktemp("weights")
    write_small(folder / "last_clip.safetensors")
    return folder


def last_states(patch) -> dict:
    """Gets, of each training that is published, all that a next step would depend on."""
    found, publish = {}, running.publish

    def noting(training, *rest):
        tensors, _ = training.state()
        found.update({name: tensor.detach().cpu().numpy().tobytes() for name, tensor in tensors.items()})
        publish(training, *rest)

    patch.setattr(running, "publish", noting)
    return found


@pytest.fixture(scope="module", params=TRAINED, ids="/".join)
def trained(request, registered, few, scenes, weights, tmp_path_factory):
    """The case, what makes its options (two steps an epoch), and what it wrote when it could use no more than is promised."""
    stage, kind = request.param
    out = tmp_path_factory.mktemp(kind)

    def make(name: str, **changes):
        clean = {"pairs": scenes / "train.csv", "clean_pairs": 136, "start_from": str(weights)} if stage == "repair" else {}
        return options(few, scenes, out / name, kind, STAGES[stage], **{"epochs": 2, "learning_rate": 1e-3, **clean, **changes})

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STAGES[stage].kinds, kind, confined(EVERY[request.param]))
        states = last_states(patch)
        STAGES[stage].run(make("whole"))
    return request.param, make, outputs(out / "whole") | states


def test_two_epochs_have_their_columns_and_finite_losses(trained):
    (stage, kind), make, _ = trained
    out, defence = make("whole").out, EVERY[stage, kind]
    header = (out / "history.csv").read_text().partition("\n")[0].split(",")
    assert header == [*HISTORY, *defence.telemetry_columns]
    rows = read_table(out / "history.csv", tuple(header))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    kinds = {row["kind"] for row in rows}
    assert all(re.fullmatch(r"[a-z0-9_]+", kind) for kind in kinds)
    judged = kinds - {*defence.on_the_way} | {rows[-1]["kind"]}  # a training that ends on the way is judged all the same
    assert {path.stem for path in (out / "weights").iterdir()} == {f"last_{kind}" for kind in judged}
    for path in (out / "tables").iterdir():
        columns = path.read_text().partition("\n")[0].split(",")
        named = [int(row[column]) for row in read_table(path, tuple(columns)) for column in columns if column.endswith("row")]
        assert all(0 <= row < 600 for row in named)


def test_interrupted_in_the_middle_of_each_epoch_it_writes_the_same(trained, monkeypatch):
    """And so the same seed gives the same weights."""
    (stage, _), make, written = trained
    states = last_states(monkeypatch)
    resumed(monkeypatch, lambda: STAGES[stage].run(make("stopped")), 1, 3)
    assert outputs(make("stopped").out) | states == written


def test_another_seed_gives_other_weights(trained):
    (stage, _), make, written = trained
    STAGES[stage].run(make("other", seed=4))
    found = outputs(make("other").out)
    weights = [name for name in written if name.startswith("weights/")]
    assert all(found[name] != written[name] for name in weights)


def has_share(kind) -> bool:
    """Whether the share that a filter keeps is a setting."""
    return "keep" in {field.name for field in dataclasses.fields(FILTERS[kind].Settings)}


@each_filter
def test_a_filter_keeps_the_lowest_scores_and_repeats_itself(few, scenes, tmp_path, weights, kind):
    share = {"keep": 0.75} if has_share(kind) else {}
    if kind == "gmm":  # of the cosines of weights that nobody trained: by default it may keep none
        share = {"threshold": 0.0}
    for name in ("first", "again"):
        filtering.run(filter_options(few, scenes, tmp_path / name, kind, weights=weights, **share))
    for name, columns in (("kept.csv", KEPT), ("scores.csv", SCORES), ("quarantine.csv", QUARANTINE)):
        text = (tmp_path / "first" / name).read_text()
        assert text == (tmp_path / "again" / name).read_text()
        assert text.partition("\n")[0] == ",".join(columns)
    table = read_columns(tmp_path / "first/scores.csv", tuple(SCORES))
    scores = {int(row): float(score) for row, score in zip(table["row"], table["score"], strict=True)}
    kept = [int(row) for row in read_columns(tmp_path / "first/kept.csv", tuple(KEPT))["row"]]
    assert [*scores] == list(range(136))
    assert len(kept) == 102 or not has_share(kind)
    assert max(scores[row] for row in kept) <= min((scores[row] for row in {*scores} - {*kept}), default=math.inf)


@pytest.mark.parametrize("kind", [kind for kind in FILTERS if has_share(kind)])
def test_a_filter_can_keep_all(few, scenes, tmp_path, weights, kind):
    filtering.run(filter_options(few, scenes, tmp_path, kind, keep=1.0, weights=weights))
    assert [int(row) for row in read_columns(tmp_path / "kept.csv", tuple(KEPT))["row"]] == list(range(136))


@each_filter
def test_a_filter_that_needs_a_model_says_so(few, scenes, tmp_path, kind):
    if FILTERS[kind].needs_model:
        with pytest.raises(UserError, match=rf"^--weights: the filter '{kind}' needs the weights of a model that scores$"):
            filtering.run(filter_options(few, scenes, tmp_path, kind))
    else:
        filtering.run(filter_options(few, scenes, tmp_path, kind))
