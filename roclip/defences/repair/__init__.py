"""Repairs, which change the weights of a trained model, by the `kind` of a recipe's step `repair`."""

from roclip.defences.base import Defence
from roclip.defences.repair.cleanclip import CleanCLIP
from roclip.defences.repair.finetune import Finetune
from roclip.defences.repair.par import PAR

REPAIRS: dict[str, type[Defence]] = {"finetune": Finetune, "cleanclip": CleanCLIP, "par": PAR}
