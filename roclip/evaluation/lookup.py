"""Looking things up by likeness: which candidates come first for a query, captions among images or images among captions."""

from __future__ import annotations

from roclip.core.deferred import Deferred

np = Deferred("numpy")

BLOCK = 1024  # queries whose scores are held at a time: 40 MB with 10,000 candidates


def normalised(features: np.ndarray) -> np.ndarray:
    """(n, d) -> (n, d), each of length 1; one of zeros stays so."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(features.dtype).tiny)


def best_ranks(queries: np.ndarray, candidates: np.ndarray, wanted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many wrong candidates score at least as high as the best right one: (m,), 0 where a right one comes first.

    queries: (m, d), of any length; candidates: (n, d), by cosine; wanted: (m,), labels: (n,), equal where a candidate is right
    for a query. Of a query for which none is right all n come first. A tie counts against the right one.
    """
    candidates, found = normalised(candidates), []
    for first in range(0, len(queries), BLOCK):
        scores = queries[first : first + BLOCK] @ candidates.T
        right = wanted[first : first + BLOCK, None] == labels
        best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
        found.append((~right & (scores >= best)).sum(axis=1))
    return np.concatenate(found)
