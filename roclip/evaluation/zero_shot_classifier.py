"""Zero-shot classification, of which attack success is a case: both ask how often the top classes hold a wanted label."""

from __future__ import annotations

from collections.abc import Sequence

from roclip.core.deferred import Deferred

np = Deferred("numpy")


def prompts(classes: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every template filled with every class, the templates of a class in a row."""
    return [template.replace("{}", name) for name in classes for template in templates]


def class_features(prompt_features: np.ndarray, classes: int) -> np.ndarray:
    """The normalised mean of each class's normalised prompt features: (classes * templates, d) -> (classes, d)."""
    means = prompt_features.reshape(classes, -1, prompt_features.shape[1]).mean(axis=1)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def ranks(image_features: np.ndarray, class_features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes score at least as high as the wanted one, itself left out: (n,), 0 for a top-1 hit.

    image_features: (n, d), of any length, for the order of cosines does not depend on it; labels: (n,) class numbers. A tie
    counts against the wanted class.
    """
    scores = image_features @ class_features.T
    wanted = np.take_along_axis(scores, labels[:, None], axis=1)
    return (scores >= wanted).sum(axis=1) - 1


def top_counts(checkpoint: str, measure: str, ranks: np.ndarray, tops: Sequence[int] = (1, 3, 5)) -> list[dict[str, str | int]]:
    """The hits among the top 1, 3 and 5 classes, or what else is ranked, as rows of a measure's JSON."""
    return [
        {"checkpoint": checkpoint, "measure": f"{measure}_top{k}", "hits": int((ranks < k).sum()), "n": len(ranks)}
        for k in tops
    ]
