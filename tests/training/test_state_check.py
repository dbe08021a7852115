"""The state of a training of somebody's own: what is no tensors and numbers by name is one line before anything is trained."""

import numpy as np
import pytest
import torch

from roclip.core.errors import UserError
from roclip.defences.base import Defence
from roclip.training.estimate import check_disk
from roclip.training.state_check import checked_state
from tests.fixtures.trainings import options, training_of

TENSOR = torch.zeros(2)
GIVEN = {
    "NoneType": None,
    "dict": {"f": TENSOR},
    "Tensor": torch.zeros(2, 2),
    "list": [{}, {}],
    "tuple": ({}, {}, {}),
    "dict and NoneType": ({}, None),
    "Tensor and dict": (TENSOR, {}),
    "ndarray by the name 'f' among the tensors": ({"t": TENSOR, "f": np.zeros(2)}, {}),
    "int by the name 'f' among the tensors": ({"f": 1}, {}),
    "Tensor by the name 3 among the tensors": ({3: TENSOR}, {}),
    "ndarray by the name 'f' among the numbers": ({}, {"f": np.zeros(2)}),
    "int64 by the name 'n' among the numbers": ({}, {"n": np.int64(2)}),
    "Tensor by the name 'n' among the numbers": ({}, {"n": torch.tensor(2)}),
}
WANTED = "it must give two dictionaries: tensors by name, and int or float by name"


class Own(Defence):
    """A training of somebody's own."""

    def __init__(self, given):
        self.state = lambda: given


@pytest.mark.parametrize("what", GIVEN)
def test_what_is_no_state_is_one_line(what):
    with pytest.raises(UserError) as caught:
        checked_state(Own(GIVEN[what]))
    assert str(caught.value) == f"Own.state gave {what}; {WANTED}"


@pytest.mark.parametrize("given", [({}, {}), ({"t": TENSOR}, {"n": 2, "x": 0.5, "nan": float("nan")})])
def test_what_is_one_is_taken_as_it_is(given):
    assert checked_state(Own(given)) is given


def test_it_is_said_before_the_first_step(few, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(Defence, "state", lambda defence: None)
    with pytest.raises(UserError, match=r"^Defence\.state gave NoneType; it must give two dictionaries"):
        check_disk(training_of(options(few, scenes, tmp_path, "clip")))
