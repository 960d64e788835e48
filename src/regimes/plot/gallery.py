"""The gallery: one static page per scale with figures, captions, claims and how they were made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from regimes import paths, plan, store
from regimes.config import Config


def render(config: Config, scale: str) -> str:
    """HTML text of the page of a scale, showing what exists at this moment.

    Parameters
    ----------
    config
        Configuration; studies and figures appear in its order.
    scale
        Scale of the page.

    Returns
    -------
    str
        A page without scripts or outside references; pictures are linked
        relative to ``figures/<scale>/``.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["slug"] = lambda text: text.replace(" ", "-")
    table = _claims(scale)
    studies = [_study(config, scale, name, table) for name in config.studies]
    studies = [study for study in studies if study["figures"]]
    return environment.get_template("gallery.html").render(scale=scale, studies=studies)


def _claims(scale: str) -> pd.DataFrame:
    path = Path(paths.claims(scale))
    if not path.exists():
        return pd.DataFrame(columns=["study", "figure", "verdict"])
    return pd.read_csv(path, keep_default_na=False, na_values={"measured": [""]})


def _study(config: Config, scale: str, name: str, table: pd.DataFrame) -> dict[str, Any]:
    entry = config.studies[name]
    claims = table[table["study"] == name]
    figures = []
    for figure, definition in plan.figures_at(config, scale, name).items():
        if not Path(paths.figure(scale, name, figure, "png")).exists():
            continue
        experiments = sorted(
            {e for a in definition.analyses for e in plan.experiments_at(config, scale, name, a)},
            key=list(entry.experiments).index,
        )
        figures.append(
            {
                "id": figure,
                "title": definition.title,
                "caption": definition.caption,
                "picture": f"{name}/{figure}.png",
                "files": [
                    (Path(file).suffix[1:].upper(), f"{name}/{Path(file).name}")
                    for file in paths.figure_files(scale, name, figure)
                ],
                "analyses": [
                    (a, _from_page(paths.analysis(scale, name, a))) for a in definition.analyses
                ],
                "claims": [_claim(row) for _, row in claims[claims["figure"] == figure].iterrows()],
                "experiments": [_experiment(config, scale, name, e) for e in experiments],
            }
        )
    counts = claims["verdict"].value_counts()
    order = ["reproduced", "inconclusive", "contradicted", "not testable"]
    return {
        "id": name,
        "title": entry.title,
        "paper": entry.paper,
        "figures": figures,
        "cost": _cost(figures),
        "counts": [(v, int(counts[v])) for v in order if v in counts],
    }


def _from_page(path: str) -> str:
    """Address of a file as seen from figures/<scale>/index.html."""
    return f"../../{path}"


def _claim(row: Mapping[str, Any]) -> dict[str, Any]:
    measured = row["measured"]
    number = "" if pd.isna(measured) or measured == "" else f"{float(measured):.4g}"
    interval = ""
    if number and row["ci_low"] != row["ci_high"]:
        low, high = float(row["ci_low"]), float(row["ci_high"])
        if math.isfinite(low) or math.isfinite(high):
            interval = f"{low:.4g} to {high:.4g}"
    return {**row, "measured": number, "interval": interval}


def _experiment(config: Config, scale: str, study: str, experiment: str) -> dict[str, Any]:
    """Settings, seeds, cost and files of an experiment at a scale."""
    batches = plan.batches(config, study, experiment, scale)
    runs = [run for batch in batches.values() for run in batch.runs]
    dumped = [run.model_dump(mode="json") for run in runs]
    fixed, varied = [], []
    for key in dumped[0]:
        values = list({str(d[key]): d[key] for d in dumped}.values())
        if key == "seed":
            continue
        if len(values) == 1:
            fixed.append((key, _text(values[0])))
        else:
            varied.append((key, ", ".join(map(_text, values))))
    seconds, commits, memory, files, hardware = 0.0, set(), 0.0, [], set()
    for name in batches:
        path = paths.batch(scale, study, experiment, name)
        for session in _sessions(Path(path).with_suffix(".json")):
            seconds += _number(session.get("wall_seconds"))
            memory = max(memory, _number(session.get("peak_memory_mb")))
            hardware.add(str(session.get("hardware", "")))
            commit = str(session.get("commit", ""))
            commits.add(commit[:10] + ("+" if commit.endswith("+") else ""))
        files.append((name, _from_page(path)))
    return {
        "id": experiment,
        "title": config.studies[study].experiments[experiment].title,
        "runs": len(runs),
        "seeds": len({run.seed for run in runs}),
        "fixed": fixed,
        "varied": varied,
        "spent": seconds,
        "seconds": _duration(seconds),
        "hardware": "; ".join(sorted(filter(None, hardware))),
        "memory": f"{memory:.0f} MB",
        "commits": ", ".join(sorted(filter(None, commits))) or "not known",
        "files": files,
    }


def _sessions(sidecar: Path) -> list[dict[str, Any]]:
    """What a sidecar says about the starts of its job; nothing where it is not what was written."""
    found = store.read_json(sidecar)
    sessions = found.get("sessions") if isinstance(found, dict) else None
    listed = sessions if isinstance(sessions, list) else []
    return [each for each in listed if isinstance(each, dict)]


def _number(value: Any) -> float:
    """Number of seconds or megabytes, zero for anything else."""
    sound = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if sound and math.isfinite(value) and value >= 0 else 0.0


def _cost(figures: list[dict[str, Any]]) -> dict[str, str]:
    """Time that the jobs behind all figures took together, and where they ran."""
    experiments = {each["id"]: each for figure in figures for each in figure["experiments"]}
    hardware = {each["hardware"] for each in experiments.values() if each["hardware"]}
    return {
        "seconds": _duration(sum(each["spent"] for each in experiments.values())),
        "hardware": "; ".join(sorted(hardware)),
    }


def _duration(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, hours above."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
