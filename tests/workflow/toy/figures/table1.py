"""Toy table."""

import pandas as pd
from matplotlib import pyplot as plt


def rows(analyses):
    """One row."""
    return pd.DataFrame({"mean": [float(analyses["other"]["mean"])]})


def draw(analyses):
    """The row as a figure."""
    figure, axes = plt.subplots()
    axes.text(0, 0, rows(analyses).to_string())
    return figure
