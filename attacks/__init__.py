"""The adversary: attacks by the `kind` of an entry of the config's section `attack`, each with an evaluation set of its own."""

from attacks.base import Attack
from attacks.blended import Blended
from attacks.bridge import Bridge
from attacks.checkerboard import Checkerboard
from attacks.clean import Clean
from attacks.flood import Flood
from attacks.nashville import Nashville
from attacks.near_class import NearClass
from attacks.patch import Patch
from attacks.several import Several
from attacks.sinusoid import Sinusoid
from attacks.stripes import Stripes
from attacks.targeted import Targeted
from attacks.text_trigger import TextTrigger
from attacks.tint import Tint
from attacks.typical import Typical
from attacks.variants import Variants
from attacks.warped import Warped

ATTACKS: dict[str, type[Attack]] = {
    "clean": Clean,
    "targeted": Targeted,
    "patch": Patch,
    "blended": Blended,
    "sinusoid": Sinusoid,
    "warped": Warped,
    "tint": Tint,
    "checkerboard": Checkerboard,
    "several": Several,
    "bridge": Bridge,
    "typical": Typical,
    "flood": Flood,
    "variants": Variants,
    "near_class": NearClass,
    "stripes": Stripes,
    "nashville": Nashville,
    "text_trigger": TextTrigger,
}
