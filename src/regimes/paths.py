"""Where files lie, relative to the working directory; the Snakefile and the jobs agree by this."""

from __future__ import annotations


def batch(scale: str, study: str, experiment: str, name: str) -> str:
    """Trajectories of one batch (netCDF)."""
    return f"results/{scale}/{study}/runs/{experiment}/{name}.nc"


def checkpoints(scale: str, study: str, experiment: str, name: str) -> str:
    """Folder of what a batch in training keeps for the case that its job is killed."""
    return f"results/{scale}/{study}/runs/{experiment}/{name}.partial"


def start(scale: str, study: str, name: str) -> str:
    """Start point that runs of one experiment hand on to others (netCDF)."""
    return f"results/{scale}/{study}/start/{name}.nc"


def analysis(scale: str, study: str, name: str) -> str:
    """Result of an analysis (netCDF)."""
    return f"results/{scale}/{study}/{name}.nc"


def generated(folder: str, name: str) -> str:
    """Description of a data set that the pipeline makes itself, its last file (JSON)."""
    return f"{folder}/{name}/metadata.json"


def study_claims(scale: str, study: str) -> str:
    """Claims of one study (CSV)."""
    return f"results/{scale}/{study}/claims.csv"


def claims(scale: str) -> str:
    """Claims of all studies that have been run (CSV)."""
    return f"results/{scale}/claims.csv"


def figure(scale: str, study: str, name: str, suffix: str) -> str:
    """A figure (pdf, png) or the numbers of a table (csv)."""
    return f"figures/{scale}/{study}/{name}.{suffix}"


def gallery(scale: str) -> str:
    """Page that shows all figures of a scale."""
    return f"figures/{scale}/index.html"


def journal(job: str, *places: str) -> str:
    """Journal of a job (JSON), beside its log.

    Parameters
    ----------
    job
        ``train`` (places: scale, study, experiment, batch), ``start``, ``analyse``, ``draw``
        (scale, study, name), ``judge`` (scale, study) or ``make`` (data set).
    """
    if job == "make":
        return f"logs/data/{places[0]}.json"
    scale, study, *names = places
    if job == "train":
        names = ["runs", *names]
    elif job == "start":
        names = ["start", *names]
    elif job == "judge":
        names = ["claims"]
    return "/".join(["logs", scale, study, *names]) + ".json"


def is_table(figure_name: str) -> bool:
    """Whether a figure id names a table, which also has a CSV file."""
    return figure_name.startswith("table")


def figure_files(scale: str, study: str, name: str) -> list[str]:
    """All files of a figure."""
    suffixes = ["pdf", "png", "csv"] if is_table(name) else ["pdf", "png"]
    return [figure(scale, study, name, suffix) for suffix in suffixes]


def files(job: str, scale: str, study: str, *places: str) -> list[str]:
    """Files that a job makes.

    Parameters
    ----------
    job, scale, study, places
        As for `journal`; not of a generated data set.
    """
    if job == "train":
        return [batch(scale, study, *places)]
    if job == "start":
        return [start(scale, study, *places)]
    if job == "analyse":
        return [analysis(scale, study, *places)]
    if job == "judge":
        return [study_claims(scale, study)]
    return figure_files(scale, study, *places)
