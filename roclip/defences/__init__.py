"""Defences that act in training, by the `kind` of a recipe's step `train`."""

from roclip.defences.base import Defence
from roclip.defences.given import Given
from roclip.defences.roclip import RoCLIP
from roclip.defences.safeclip import SafeCLIP

TRAININGS: dict[str, type[Defence]] = {
    "clip": Defence,
    "roclip": RoCLIP,
    "given": Given,
    "safeclip": SafeCLIP,
}
