"""Whether the arms got the shares of the traffic that were planned: the first test, without which no other counts.

Source: Lindon & Malek, Anytime-valid inference for multinomial count data (NeurIPS 2022): a Bayes factor of a
Dirichlet mixture against the planned shares, which is a test martingale under them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln

from firstfault.metrics import Array

CONCENTRATION = 100.0
"""The mixture is as dense around the planned shares as if so many requests had been seen."""


def log_e_of_shares(counts: Array, planned: Sequence[float], concentration: float = CONCENTRATION) -> Array:
    """The logarithm of the e-process `(N,)` against the planned shares, after counts per arm `(N, K)`.

    E = Γ(Σa) / Γ(Σa + n) · Π Γ(a_k + n_k) / Γ(a_k) / Π p_k^{n_k}, with a = concentration · p.

    Args:
        counts: how many requests each of the K arms has had.
        planned: the shares p `(K,)`.
        concentration: of the Dirichlet mixture.

    Raises:
        ValueError: for shares that are not positive, or don't sum to 1.
    """
    p = np.asarray(planned, dtype=float)
    if (p <= 0).any() or abs(p.sum() - 1) > 1e-9:
        raise ValueError(f"the planned shares must be above 0 and sum to 1, but got {list(planned)}")
    a = concentration * p
    n = counts.sum(-1)
    mixture = gammaln(concentration) - gammaln(concentration + n) + (gammaln(a + counts) - gammaln(a)).sum(-1)
    return np.asarray(mixture - counts @ np.log(p))
