"""Claims of the toy study."""

from regimes.claims import Measure

MEASURES = {
    "toy_ratio": Measure(
        "last",
        lambda d: d["ratio"].where(d["rate"] == d["rate"].min(), drop=True).rename(run="seed"),
        lambda a: float(a.mean("seed")),
        (0, 1),
    )
}
