"""Model configs in open_clip's format: by open_clip's name of a model (`RN50`) or from a JSON file (`config/models/*.json`)."""

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from roclip.core.errors import UserError
from roclip.core.files import read_json


def model_config(name: str) -> dict[str, Any]:
    """The config of a model by its name or JSON file.

    Reads open_clip's own files, for importing it takes seconds, and its `get_model_config` asks the network about names like
    `hf-hub:...`. Raises UserError for a name that is not known, and for a model of which a part would be downloaded.
    """
    if name.endswith(".json"):
        path = Path(name)
    else:
        (package,) = find_spec("open_clip").submodule_search_locations
        path = Path(package, "model_configs", f"{name}.json")
        if not re.fullmatch(r"[\w.-]+", name) or not os.path.exists(path):  # noqa: PTH110 (Path.exists raises for a long name)
            raise UserError(f"train.model: '{name}' is neither the name of an open_clip model nor a .json file")
    try:
        config = read_json(path)
    except UserError as error:
        raise UserError(f"train.model: {error}") from None
    if not isinstance(config, dict) or not all(isinstance(config.get(part), dict) for part in ("vision_cfg", "text_cfg")):
        raise UserError(f"train.model: {name} has no vision_cfg and text_cfg; it must be in open_clip's model format")
    vision, text = config["vision_cfg"], config["text_cfg"]
    hub = ":" in str(vision.get("timm_model_name")) or text.get("hf_model_name") or text.get("hf_tokenizer_name")
    if hub or vision.get("timm_model_pretrained"):
        raise UserError(f"train.model: parts of {name} would be downloaded from a hub; take a model that has none")
    return config
