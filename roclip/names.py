"""What checkpoints and methods are called in sentences and headings."""

CHECKPOINTS = {"last_clip": "last CLIP epoch", "last_matching": "last matching epoch"}
METHODS = {
    "clip": "CLIP",
    "roclip": "RoCLIP",
    "clip_augmented": "CLIP with augmentation",
    "roclip_unaugmented": "RoCLIP without augmentation",
}


def counted(n: int, noun: str) -> str:
    """A number with its noun: `1 seed`, `3 seeds`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
