"""The towers of a model, and what they read.

open_clip imports all of itself, timm's thousand models and torchvision's operators: 3 s, more than torch takes, in every job
that trains or encodes. Of these packages only what is used is imported.
"""

from roclip.core.deferred import defer_package

for package in ("open_clip", "timm", "timm.models", "torchvision", "torchvision.models", "torchvision.ops"):
    defer_package(package)
