"""How each claim of ``config/studies/limiting_dynamics.yaml`` is read off the analyses."""

from __future__ import annotations

from regimes.claims import Measure
from regimes.studies.limiting_dynamics.claims_clouds import CLOUDS
from regimes.studies.limiting_dynamics.claims_displacements import DISPLACEMENTS
from regimes.studies.limiting_dynamics.claims_regression import REGRESSION
from regimes.studies.limiting_dynamics.claims_theory import THEORY

MEASURES: dict[str, Measure] = {**DISPLACEMENTS, **REGRESSION, **THEORY, **CLOUDS}
