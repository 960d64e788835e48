"""Fig. A3: silent alignment of the CNN for several feature strengths."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.feature_strength.alignment_figure import alignment_figure


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw loss and CKA of every kernel against step, one panel per gamma.

    Parameters
    ----------
    analyses
        ``alignment_cnn``.
    """
    return alignment_figure(analyses["alignment_cnn"], columns=3)
