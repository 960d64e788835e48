"""Claims: one number of the paper, its measured value with interval, a verdict.

A study states for each claim which variable of which analysis is looked at and
how seeds become one number (`Measure`). The interval comes from leaving out one
seed at a time (`jackknife`) or, for medians over seeds, from drawing seeds with
replacement (`bootstrap`), or, for shares of seeds, from the binomial distribution,
the verdict from interval and expectation alone
(`verdict`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

if TYPE_CHECKING:
    from regimes.config import Claim, Study

COLUMNS = [
    "study",
    "figure",
    "claim",
    "statement",
    "source",
    "expected",
    "measured",
    "ci_low",
    "ci_high",
    "seeds",
    "verdict",
    "note",
]
REPRODUCED, CONTRADICTED = "reproduced", "contradicted"
INCONCLUSIVE, NOT_TESTABLE = "inconclusive", "not testable"
UNBOUNDED = 1e300  # stands for an infinite number where quantiles are interpolated

Data = xr.DataArray | xr.Dataset


@dataclass(frozen=True)
class Measure:
    """How a claim's number is read off an analysis.

    Attributes
    ----------
    analysis
        Name of the analysis, or several names.
    select
        From the dataset (from a dict of datasets, if there are several names)
        to what the statistic needs. It has a ``seed`` dimension, with NaN where
        a cell has fewer seeds than others, unless the measure is exact.
    statistic
        From the selection, or one with fewer seeds, to one number.
    range
        Values that the number can take at all; clips the interval.
    exact
        Closed form without seeds: the interval is the number itself.
    interval
        ``jackknife``; ``bootstrap`` for medians over seeds, where the jackknife fails;
        ``binomial`` for the share of seeds with a property, of values 0 and 1.
    """

    analysis: str | tuple[str, ...]
    select: Callable[[xr.Dataset], Data] | Callable[[dict[str, xr.Dataset]], Data]
    statistic: Callable[[Data], float]
    range: tuple[float, float] = (-math.inf, math.inf)
    exact: bool = False
    interval: Literal["jackknife", "bootstrap", "binomial"] = "jackknife"

    @property
    def analyses(self) -> tuple[str, ...]:
        """Names of the analyses that are read."""
        return (self.analysis,) if isinstance(self.analysis, str) else self.analysis


@dataclass(frozen=True)
class Measurement:
    """A measured number with its 95 % interval and the number of seeds behind it."""

    value: float
    low: float
    high: float
    seeds: int


def fewest_seeds(data: Data) -> int:
    """Smallest number of finite seeds over all cells that have any."""
    arrays = data.data_vars.values() if isinstance(data, xr.Dataset) else [data]
    counts = [np.ravel(a.notnull().sum("seed").values) for a in arrays if "seed" in a.dims]
    positive = np.concatenate(counts)
    positive = positive[positive > 0]
    return int(positive.min()) if positive.size else 0


def jackknife(
    statistic: Callable[[Data], float], data: Data, confidence: float = 0.95
) -> Measurement:
    """Value of a statistic over seeds and its interval by leaving out one seed at a time.

    For a mean over seeds this is the usual t interval. Seeds are left out of all
    cells together, since runs with the same seed share random numbers; degrees
    of freedom are those of the cell with the fewest seeds.

    Parameters
    ----------
    statistic
        Function of the data, finite on the data with any one seed left out.
    data
        Array or dataset with a ``seed`` dimension.
    confidence
        Level of the interval.

    Returns
    -------
    Measurement
        With an infinite interval for fewer than two seeds and for an infinite value.

    References
    ----------
    Efron and Stein, The jackknife estimate of variance (1981).
    """
    value = float(statistic(data))
    seeds = fewest_seeds(data)
    if seeds < 2 or math.isinf(value):
        return Measurement(value, -math.inf, math.inf, seeds)
    total = data.sizes["seed"]
    kept = [np.delete(np.arange(total), i) for i in range(total)]
    without = np.array([float(statistic(data.isel(seed=k))) for k in kept])
    variance = (total - 1) / total * np.sum((without - without.mean()) ** 2)
    half = stats.t.ppf(0.5 + confidence / 2, seeds - 1) * math.sqrt(variance)
    return Measurement(value, value - half, value + half, seeds)


def bootstrap(
    statistic: Callable[[Data], float],
    data: Data,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Measurement:
    """Value of a statistic over seeds and its percentile interval, seeds drawn with replacement.

    For medians, whose jackknife variance does not converge. Resamples are the same in every call.

    Parameters
    ----------
    statistic
        Function of the data.
    data
        Array or dataset with a ``seed`` dimension.
    confidence
        Level of the interval.
    resamples
        Number of draws.

    Returns
    -------
    Measurement
        With an infinite interval for fewer than three seeds.

    References
    ----------
    Efron, Bootstrap methods: another look at the jackknife (1979).
    """
    value = float(statistic(data))
    seeds = fewest_seeds(data)
    if seeds < 3 or math.isnan(value):
        return Measurement(value, -math.inf, math.inf, seeds)
    total = data.sizes["seed"]
    chosen = np.random.default_rng(0).integers(0, total, (resamples, total))
    drawn = np.array([float(statistic(data.isel(seed=row))) for row in chosen])
    # Quantiles cannot be interpolated between infinite numbers.
    capped = np.clip(drawn, -UNBOUNDED, UNBOUNDED)
    ends = np.nanquantile(capped, [(1 - confidence) / 2, (1 + confidence) / 2])
    # A neighbour that is not finite leaves a mixture of the two: count it as infinite too.
    low, high = np.where(abs(ends) > UNBOUNDED / 1e6, np.copysign(np.inf, ends), ends)
    return Measurement(value, float(low), float(high), seeds)


def binomial(
    statistic: Callable[[Data], float], data: Data, confidence: float = 0.95
) -> Measurement:
    """Share of seeds, the mean of zeros and ones, with its exact (Clopper-Pearson) interval."""
    known = np.ravel(data.values)[np.isfinite(np.ravel(data.values))]
    if not known.size:
        return Measurement(math.nan, -math.inf, math.inf, 0)
    found = stats.binomtest(int(known.sum()), known.size).proportion_ci(confidence)
    return Measurement(float(statistic(data)), found.low, found.high, fewest_seeds(data))


INTERVALS = {"jackknife": jackknife, "bootstrap": bootstrap, "binomial": binomial}


def measure(rule: Measure, analyses: Mapping[str, xr.Dataset]) -> Measurement:
    """Evaluate a measure on analyses, its interval clipped to the possible range."""
    if isinstance(rule.analysis, str):
        data = rule.select(analyses[rule.analysis])
    else:
        data = rule.select({name: analyses[name] for name in rule.analysis})
    if rule.exact:
        value = float(rule.statistic(data))
        return Measurement(value, value, value, 1)
    found = INTERVALS[rule.interval](rule.statistic, data)
    if math.isnan(found.value):  # an infinite interval clipped to the range would look like one
        return Measurement(math.nan, math.nan, math.nan, found.seeds)
    low, high = (float(np.clip(end, *rule.range)) for end in (found.low, found.high))
    return Measurement(found.value, low, high, found.seeds)


def verdict(expected: tuple[float, float], low: float, high: float) -> str:
    """Verdict of an interval against an expectation.

    Inside: reproduced; disjoint: contradicted; overlapping: inconclusive.
    An interval that is not a number decides nothing.
    """
    if math.isnan(low) or math.isnan(high):
        return INCONCLUSIVE
    if expected[0] <= low and high <= expected[1]:
        return REPRODUCED
    if high < expected[0] or low > expected[1]:
        return CONTRADICTED
    return INCONCLUSIVE


def interval_text(low: float, high: float) -> str:
    """Interval as ``[low, high]`` with ``inf`` where unbounded."""
    return f"[{low:.6g}, {high:.6g}]"


def table(
    study: Study,
    measures: Mapping[str, Measure],
    analyses: Mapping[str, xr.Dataset],
    scale: str,
) -> pd.DataFrame:
    """Claims table of a study at a scale, one row per claim, columns as in `COLUMNS`."""
    rows = []
    for claim in study.claims:
        row = {
            "study": study.study,
            "figure": claim.figure,
            "claim": claim.id,
            "statement": claim.statement,
            "source": claim.source,
            "expected": interval_text(*claim.expected),
        }
        if scale == "smoke" or scale not in claim.scales:
            needs = " or ".join(claim.scales)
            note = "smoke runs only check that everything works; " if scale == "smoke" else ""
            row |= {"verdict": NOT_TESTABLE, "note": f"{note}needs scale {needs}"}
        else:
            found = measure(measures[claim.id], analyses)
            outcome = verdict(claim.expected, found.low, found.high)
            row |= {
                "measured": found.value,
                "ci_low": found.low,
                "ci_high": found.high,
                "seeds": found.seeds,
                "verdict": outcome,
                "note": _note(claim, found, outcome, scale),
            }
        rows.append(row)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame["seeds"] = frame["seeds"].astype("Int64")
    return frame


def _note(claim: Claim, found: Measurement, outcome: str, scale: str) -> str:
    parts = []
    if claim.delicate:
        parts.append("delicate: may fail for reasons that the study's page explains")
    if outcome != REPRODUCED and claim.explained(scale):
        parts.append(claim.explained(scale))
    if outcome != REPRODUCED and found.seeds < claim.seeds and not math.isinf(found.high):
        parts.append(f"{found.seeds} seeds, {claim.seeds} asked for")
    return "; ".join(parts)


def to_csv(frame: pd.DataFrame) -> str:
    """CSV text of a claims table; numbers with six significant digits."""
    return frame.to_csv(index=False, float_format="%.6g")
