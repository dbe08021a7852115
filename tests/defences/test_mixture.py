"""The split by a mixture of two Gaussians against the densities, and that it is monotone where they are not."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture

from roclip.defences.filters import FILTERS
from roclip.defences.filters.base import Shuffled
from roclip.defences.mixture import posterior


def cosines(low, high, seed=0):
    """(mean, deviation, count) of both components; shuffled."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.concatenate([rng.normal(mean, sd, count) for mean, sd, count in (low, high)]))


def test_where_components_are_equally_wide_it_is_the_posterior():
    found = posterior(values := cosines((0.1, 0.05, 4000), (0.4, 0.05, 6000)))
    densities = [share * norm.pdf(values, mean, 0.05) for share, mean in ((0.4, 0.1), (0.6, 0.4))]
    expected = densities[1] / sum(densities)
    inside = values > 0.1
    assert found[inside] == pytest.approx(expected[inside], abs=0.05)
    assert (found[values < 0.09] == 0).all()


@pytest.mark.parametrize(("low", "high"), [(0.05, 0.15), (0.15, 0.03)])
def test_it_never_falls_as_the_cosine_rises(low, high):
    """Of unequal widths the plain posterior does: the wider component is likelier at both ends."""
    values = cosines((0.1, low, 4000), (0.4, high, 6000))
    order = values.argsort()
    plain = GaussianMixture(2, random_state=0).fit(values[:, None])
    assert (np.diff(plain.predict_proba(values[order, None])[:, plain.means_[:, 0].argmax()]) < -1e-3).any()
    assert (np.diff(posterior(values)[order]) >= 0).all()
    assert posterior(values)[values < 0.05].max() < 0.01


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_equal_cosines_have_one_probability():
    assert len({*posterior(np.full(100, 0.3))}) == 1


def test_gmm_keeps_those_above_the_threshold():
    values = cosines((0.1, 0.05, 400), (0.5, 0.05, 600))
    angles = np.arccos(values)
    images = np.tile([1.0, 0.0], (1000, 1))
    pairs = Shuffled([""] * 1000, images, np.stack([np.cos(angles), np.sin(angles)], 1), np.random.default_rng(0))
    chosen = FILTERS["gmm"](FILTERS["gmm"].Settings(scored_by={}, threshold=0.9))
    scores = chosen.scores(pairs)
    kept = np.argsort(scores, kind="stable")[: chosen.count(scores)]
    assert {*kept} == {*np.flatnonzero(posterior(values) > 0.9)}
    assert 590 < len(kept) < 605


def test_the_isolation_forest_is_that_of_scikit_learn():
    rng = np.random.default_rng(2)
    images, captions = rng.normal(size=(2, 200, 8))
    images[:3] += 6
    chosen = FILTERS["isolation_forest"]
    scores = chosen(chosen.Settings(scored_by={})).scores(Shuffled([""] * 200, images, captions, np.random.default_rng(5)))
    assert {*scores.argsort()[-3:]} == {0, 1, 2}
    again = np.random.default_rng(5)
    fitted_on = again.choice(200, 200, replace=False)
    forest = IsolationForest(n_estimators=100, random_state=int(again.integers(2**31)))
    forest.fit(np.concatenate([images[fitted_on], captions[fitted_on]]))
    assert scores == pytest.approx(-forest.score_samples(images))
