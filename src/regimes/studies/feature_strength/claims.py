"""How each claim of ``config/studies/feature_strength.yaml`` is read off the analyses."""

from __future__ import annotations

from regimes.claims import Measure
from regimes.studies.feature_strength.claims_dynamics import DYNAMICS
from regimes.studies.feature_strength.claims_portraits import PORTRAITS
from regimes.studies.feature_strength.claims_spectra import SPECTRA
from regimes.studies.feature_strength.claims_toys import TOYS

MEASURES: dict[str, Measure] = {**PORTRAITS, **SPECTRA, **DYNAMICS, **TOYS}
