"""Stage: no attack; the clean pairs and an empty exam, for models that measure the price of a defence."""

from attacks.poisoned import AttackOptions, read_clean, write_attack
from roclip.core.options import Stage


def run(options: AttackOptions) -> None:
    write_attack(options, read_clean(options), [], [], kind="clean")


STAGE = Stage(AttackOptions, run)
