"""What the files of a job depend on, as named facts that can be compared.

Snakemake decides by digests whether a job runs again; a digest cannot say what has changed. A job
therefore notes these facts in its journal, and `regimes why` compares them with what they are now.
"""

from __future__ import annotations

import json
from typing import Any

from regimes import plan
from regimes.config import Config

MOST_VALUES = 40  # of a setting that are listed; more are told by their number and a digest

Facts = dict[str, str]


def facts(config: Config, job: str, scale: str, study: str, *places: str) -> Facts:
    """Facts that the files of a job depend on.

    Parameters
    ----------
    config
        Of the pipeline.
    job, scale, study, places
        As for `regimes.paths.journal`.

    Returns
    -------
    dict of str
        ``"code <module>"``, ``"setting <name>"``, ``"runs"``, ``"batch <experiment>/<name>"``,
        ``"analysis <name>"``, ``"claim <id>"``, ... to a text that tells them apart.

    Raises
    ------
    regimes.config.ConfigError
        If the configuration has no such job.
    """
    if job == "train":
        return _of_batch(config, scale, study, *places)
    if job == "start":
        return _of_start(config, scale, study, *places)
    if job == "analyse":
        return _of_analysis(config, scale, study, *places)
    if job == "draw":
        return _of_figure(config, scale, study, *places)
    if job == "judge":
        return _of_claims(config, scale, study)
    raise ValueError(f"no facts of a job '{job}'")


def _code(code: plan.Code) -> Facts:
    return {f"code {module}": found[:16] for module, found in plan.code_digests(code).items()}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _of_batch(config: Config, scale: str, study: str, experiment: str, name: str) -> Facts:
    batch = plan.find_batch(config, study, experiment, scale, name)
    found = _code(plan.train_code(study, batch))
    dumped = [run.model_dump(mode="json") for run in batch.runs]
    for setting in dumped[0]:
        values = list(dict.fromkeys(_text(run[setting]) for run in dumped))
        text = ", ".join(values)
        if len(values) > MOST_VALUES:
            text = f"{len(values)} values (digest {plan.digest(values)})"
        found[f"setting {setting}"] = text
    found["kind"] = batch.kind
    found["runs"] = f"{len(batch.runs)} (digest {batch.digest})"
    if batch.start:
        found["start point"] = batch.start
    return found


def _batches(config: Config, scale: str, study: str, experiment: str) -> Facts:
    found = plan.batch_lineage(config, scale, study, experiment)
    return {f"batch {name}": text for name, text in found.items()}


def _of_start(config: Config, scale: str, study: str, start: str) -> Facts:
    entry = config.studies[study].starts[start]
    return {"keep": " ".join(entry.keep), **_batches(config, scale, study, entry.experiment)}


def _of_analysis(config: Config, scale: str, study: str, analysis: str) -> Facts:
    found = _code(plan.analysis_code(study, analysis))
    for experiment in plan.experiments_at(config, scale, study, analysis):
        found |= _batches(config, scale, study, experiment)
    return found


def _analyses(config: Config, scale: str, study: str, names: Any) -> Facts:
    found = plan.lineages(config, scale, study, names)
    return {f"analysis {name}": text for name, text in found.items()}


def _of_figure(config: Config, scale: str, study: str, figure: str) -> Facts:
    entry = config.studies[study].figures[figure]
    return {
        **_code(plan.figure_code(study, figure)),
        "title": entry.title,
        **_analyses(config, scale, study, entry.analyses),
    }


def _of_claims(config: Config, scale: str, study: str) -> Facts:
    claims = config.studies[study].claims
    return {
        **_code(plan.claims_code(study)),
        **{
            f"claim {claim.id}": plan.digest(_text(claim.model_dump(mode="json")))
            for claim in claims
        },
        **_analyses(config, scale, study, plan.analyses_at(config, scale, study)),
    }
