"""Second toy figure."""

from matplotlib import pyplot as plt

from regimes.plot import style


def draw(analyses):
    """Ratio against rate."""
    figure, axes = plt.subplots(figsize=(style.COLUMN, 2))
    axes.plot(analyses["last"]["rate"], analyses["last"]["ratio"], "x")
    return figure
