"""Numbers in the environment are read or refused in one line."""

import pytest
import torch

from roclip.core.environment import environment_number
from roclip.core.errors import UserError
from roclip.model.towers import Runtime
from roclip.training.distributed import Ranks


def test_a_number_is_read_and_one_that_is_not_set_is_the_usual_one(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert (environment_number("LOCAL_RANK", 0), environment_number("LOCAL_WORLD_SIZE", 1)) == (3, 1)


@pytest.mark.parametrize("written", ["abc", "", "-1", "1.5", "٣", " 1"])
def test_what_is_no_number_is_one_line(monkeypatch, written):
    monkeypatch.setenv("LOCAL_RANK", written)
    with pytest.raises(UserError, match=f"^the environment's LOCAL_RANK '{written}' is no whole number; start with torchrun"):
        Runtime.choose("auto", 1, "cpu")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE 'abc' is no whole number"),
        ({"WORLD_SIZE": "1"}, "RANK is not set"),
        ({"WORLD_SIZE": "1", "RANK": "x"}, "RANK 'x' is no whole number"),
        (
            {"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "p"},
            "MASTER_PORT 'p' is no whole number",
        ),
        ({"WORLD_SIZE": "1", "RANK": "0", "MASTER_PORT": "29500"}, "MASTER_ADDR is not set"),
        ({"WORLD_SIZE": "1", "RANK": "7", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}, "RANK is 7 of WORLD_SIZE 1"),
    ],
)
def test_half_of_what_torchrun_sets_is_one_line(monkeypatch, changes, said):
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(UserError, match=f"^the environment's {said}; start with torchrun, or"),
        Ranks.joined(torch.device("cpu")),
    ):
        pass
