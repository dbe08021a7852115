"""What checkpoints and methods are called in sentences and headings."""

CHECKPOINTS = {"last_clip": "last CLIP epoch", "last_matching": "last matching epoch"}
METHODS = {
    "clip": "CLIP",
    "roclip": "RoCLIP",
    "clip_augmented": "CLIP with augmentation",
    "roclip_unaugmented": "RoCLIP without augmentation",
}


def method_name(method: str) -> str:
    """A method in a sentence; one without a name of its own as the config calls it."""
    return METHODS.get(method, method)


def counted(n: int, noun: str) -> str:
    """A number with its noun: `1 seed`, `3 seeds`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
