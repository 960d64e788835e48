"""How each claim of ``config/studies/exact_gauss_newton.yaml`` is read off the analyses."""

from __future__ import annotations

from regimes.claims import Measure
from regimes.studies.exact_gauss_newton.claims_curves import CURVES
from regimes.studies.exact_gauss_newton.claims_laziness import LAZINESS
from regimes.studies.exact_gauss_newton.claims_theory import THEORY
from regimes.studies.exact_gauss_newton.claims_variants import VARIANTS

MEASURES: dict[str, Measure] = {**CURVES, **VARIANTS, **LAZINESS, **THEORY}
