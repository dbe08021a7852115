"""The split of pairs by the cosine of image and caption: a mixture of two Gaussians (SafeCLIP, ICML 2024, section 4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roclip.core.deferred import Deferred

if TYPE_CHECKING:
    import numpy as np
else:
    np = Deferred("numpy")

sklearn_mixture = Deferred("sklearn.mixture")


def posterior(cosines: np.ndarray) -> np.ndarray:
    """The probability of each pair that it belongs to the component with the higher mean: (n,) of cosines (n,).

    Made monotone in the cosine: of two Gaussians the wider one is likelier at both ends, so without that a pair with a very low
    cosine could count as well matched. Below the lower mean it is 0, and it never falls as the cosine rises.
    """
    column = np.asarray(cosines, float)[:, None]
    mixture = sklearn_mixture.GaussianMixture(2, random_state=0).fit(column)
    low, high = np.argsort(mixture.means_[:, 0])
    found = np.where(column[:, 0] < mixture.means_[low, 0], 0.0, mixture.predict_proba(column)[:, high])
    order = np.argsort(column[:, 0], kind="stable")
    found[order] = np.maximum.accumulate(found[order])
    return found
