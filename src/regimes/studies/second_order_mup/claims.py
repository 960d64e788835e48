"""How every claim of the second-order muP study is read off its analyses."""

from __future__ import annotations

from regimes.claims import Measure
from regimes.studies.second_order_mup.claims_coordinate import COORDINATE
from regimes.studies.second_order_mup.claims_theory import THEORY
from regimes.studies.second_order_mup.claims_transfer import TRANSFER
from regimes.studies.second_order_mup.claims_wider import WIDER

MEASURES: dict[str, Measure] = {**THEORY, **COORDINATE, **TRANSFER, **WIDER}
