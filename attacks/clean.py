"""Training data as they are, for models that measure the price of a defence."""

from attacks.base import Attack, Poisoning
from roclip.data.pairs import Columns


class Clean(Attack):
    """No attack: the clean pairs and an empty evaluation set."""

    family = "clean"

    def poison(self, clean: Columns) -> Poisoning:
        return Poisoning()
