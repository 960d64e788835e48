"""The jobs of the pipeline: train a batch, analyse, judge claims, draw.

Each job reads configuration and finished files, writes its own files, and
refuses to run if configuration or code changed after Snakemake planned it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from regimes import journal, lease, paths, plan, provenance, store
from regimes.config import Config, ConfigError, RunSettings, nearest

FOREIGN = "was made by other code or from other runs than are planned"


class Changed(Exception):
    """Configuration or code is no longer what Snakemake planned with."""


def check_unchanged(kind: str, planned: str, found: str) -> None:
    """Raise `Changed` if a fingerprint differs from the planned one (empty: not planned)."""
    if planned and planned != found:
        raise Changed(f"the {kind} changed while the pipeline ran; run the same command again")


def hyperparameters(kind: str, runs: Sequence[RunSettings]) -> dict[str, tuple]:
    """Coordinates on ``run``: id, every setting, and the quantities derived from them."""
    model = type(runs[0])
    identity = {"long_name": "identifier of the run: hash of its settings", "units": "1"}
    coordinates = {"run_id": ("run", [plan.run_id(kind, run) for run in runs], identity)}
    for name, field in model.model_fields.items():
        values = [getattr(run, name) for run in runs]
        if any(isinstance(v, tuple) for v in values):
            values = [json.dumps(v) for v in values]
        elif any(v is None for v in values):
            values = [np.nan if v is None else float(v) for v in values]
        attributes = {"long_name": field.description or name.replace("_", " "), "units": "1"}
        coordinates[name] = ("run", values, attributes)
    for name in sorted(vars(model)):
        derived = getattr(model, name)
        if isinstance(derived, property):
            attributes = {"long_name": (derived.__doc__ or name).split("\n")[0], "units": "1"}
            coordinates[name] = ("run", [getattr(run, name) for run in runs], attributes)
    return coordinates


def with_hyperparameters(trained: xr.Dataset, kind: str, runs: Sequence[RunSettings]) -> xr.Dataset:
    """Trained runs with their hyperparameters as coordinates.

    Raises
    ------
    ValueError
        If a setting bears the name of a variable or dimension of the results.
    """
    coordinates = hyperparameters(kind, runs)
    taken = sorted(set(coordinates) & {*trained.variables, *trained.dims})
    if taken:
        raise ValueError(f"settings and results share the names {', '.join(taken)}; rename one")
    return trained.assign_coords(coordinates)


def _finished_runs(path: str, code: str, start: str) -> xr.Dataset | None:
    """Finished runs of an existing batch file, None if it cannot be built upon.

    They count if the same code trained them, from the same start point.
    """
    try:
        old = store.read_netcdf(path)
    except FileNotFoundError:
        return None
    except store.BadFile as error:
        print(f"{error} Training the batch anew.", flush=True)
        return None
    known = (old.attrs.get("code_fingerprint"), old.attrs.get("start_lineage", ""))
    return old if known == (code, start) else None


def train_batch(
    config: Config,
    scale: str,
    study: str,
    experiment: str,
    name: str,
    digest: str = "",
    code: str = "",
) -> None:
    """Train the missing runs of a batch and write its file and sidecar.

    Runs that the file already holds, trained by the same code on the same data, keep their bits.
    What a killed job had trained of the others is gone on with (`regimes.ensemble.checkpoints`).
    """
    from regimes import device as devices
    from regimes.data import files
    from regimes.ensemble import checkpoints

    seconds = checkpoints.interval()
    entry = config.studies[study].experiments[experiment]
    batch = plan.find_batch(config, study, experiment, scale, name)
    fingerprint = plan.train_fingerprint(study, batch)
    check_unchanged("configuration", digest, batch.digest)
    check_unchanged("code", code, fingerprint)
    devices.set_policy()
    device = devices.choose(config.main.device, scale)
    files.use_folder(config.main.data)
    path = paths.batch(scale, study, experiment, name)
    folder = paths.checkpoints(scale, study, experiment, name)
    old = _finished_runs(path, fingerprint, batch.start)
    finished, missing = _divided(batch, old)
    started = time.perf_counter()
    # Files are needed only to train: a selection of finished runs carries over what they read.
    data = _data_of(batch.runs) if missing else json.loads(old.attrs.get("data", "{}"))
    if missing and finished and not _read_what_is_there(old, finished):
        print("the finished runs were trained on other data: training the batch anew", flush=True)
        old, missing = None, batch.runs
    parts, earlier = [] if old is None else [old], []

    def session() -> dict[str, object]:
        found = provenance.session(config.root, time.perf_counter() - started)
        return found | {"hardware": provenance.describe(device), "trained": 0}

    if missing:
        device = lease.gpu(device, f"{study}, {experiment}, {name}", journal.waiting)
        print(f"training {len(missing)} of {len(batch.runs)} runs on {device}", flush=True)
        journal.begun(len(missing), provenance.describe(device))
        module = importlib.import_module(f"regimes.studies.{study}.experiments")
        given = {}
        if entry.start is not None:
            given["start"] = _start_of(config, scale, study, entry.start)
        identity = {
            "code": fingerprint,
            "data": plan.digest(data, 64),
            "start": batch.start,
            "device": device.type,
            # Its model decides which instructions libraries use; a GPU promises no bits anyway.
            "processor": provenance.processor() if device.type == "cpu" else "",
        }
        with checkpoints.kept(folder, seconds, identity, session) as earlier:
            new = module.KINDS[batch.kind](missing, device, **given)
        parts.append(with_hyperparameters(new, batch.kind, missing))
    wanted = [plan.run_id(batch.kind, run) for run in batch.runs]
    joined = store.select_runs(store.join_runs(parts), wanted)
    sidecar = Path(path).with_suffix(".json")
    history = (store.read_json(sidecar) or {}).get("sessions", []) if old is not None else []
    attributes = {
        "title": f"{study}, {experiment}, {name}",
        "study": study,
        "experiment": experiment,
        "batch": name,
        "scale": scale,
        "kind": batch.kind,
        "settings": _common_settings(batch.runs),
        "code_fingerprint": fingerprint,
        "format": plan.FORMAT,
        "package_versions": provenance.package_versions(),
        "device": device.type,
        "precision": "TF32 off; types as stored",
    }
    if entry.start is not None:
        attributes |= {"start": entry.start, "start_lineage": batch.start}
    if data:
        attributes["data"] = data
    store.write_netcdf(path, joined, attributes)
    sessions = [*history, *earlier, session() | {"trained": len(missing)}]
    store.write_json(sidecar, {"sessions": sessions, "runs": len(wanted)})
    checkpoints.discard(folder)


def _divided(
    batch: plan.Batch, old: xr.Dataset | None
) -> tuple[list[RunSettings], list[RunSettings]]:
    """Runs of a batch that are finished, and those that are missing."""
    done = set() if old is None else set(map(str, old["run_id"].values))
    finished, missing = [], []
    for run in batch.runs:
        (finished if plan.run_id(batch.kind, run) in done else missing).append(run)
    return finished, missing


def _read_what_is_there(old: xr.Dataset, finished: Iterable[RunSettings]) -> bool:
    """Whether finished runs were trained on the data that are in the data folder now."""
    read = json.loads(old.attrs.get("data", "{}"))
    return all(read.get(name) == digest for name, digest in _data_of(finished).items())


def _data_of(runs: Iterable[RunSettings]) -> dict[str, str]:
    """Files that runs read: parts of data sets with SHA-256 of pixels and of labels, weights."""
    from regimes.data import catalog, files, images

    named = {getattr(run, field, None) for run in runs for field in plan.DATA_FIELDS}
    found = {}
    for name in sorted(filter(None, map(catalog.beginning, filter(None, named)))):
        loaded, tested = images.load(name), catalog.CATALOG[name].test_of or name
        for part, held in ((f"{name}/train", loaded.train), (f"{tested}/test", loaded.test)):
            found[part] = files.used()[part]
            found[f"{part}/label"] = hashlib.sha256(held.label.astype("<i8")).hexdigest()
    for name in sorted(filter(None, {run.pretrained() for run in runs})):
        files.weights(name)
        found[f"torchvision/{name}"] = files.used()[f"torchvision/{name}"]
    return found


def _start_of(config: Config, scale: str, study: str, name: str) -> xr.Dataset:
    """Start point as planned.

    Raises
    ------
    regimes.store.BadFile
        If the file comes from other runs or other code than planned.
    """
    path = paths.start(scale, study, name)
    found = store.read_netcdf(path)
    if found.attrs.get("lineage") != plan.digest(plan.start_lineage(config, scale, study, name)):
        raise store.set_aside(path, FOREIGN)
    return found


def _common_settings(runs: Sequence[RunSettings]) -> dict[str, object]:
    dumped = [run.model_dump(mode="json") for run in runs]
    return {k: v for k, v in dumped[0].items() if all(d[k] == v for d in dumped)}


def read_experiment(
    config: Config,
    scale: str,
    study: str,
    experiment: str,
    wanted: Collection[str] | None = None,
) -> xr.Dataset:
    """All planned runs of an experiment, in the order of its grids.

    Parameters
    ----------
    config, scale, study, experiment
        Where.
    wanted
        Variables that are read where there are such; None for all. Coordinates of the runs always.

    Raises
    ------
    FileNotFoundError, regimes.store.BadFile
        If a batch file is missing, damaged, or not what is planned.
    """
    planned = plan.batches(config, study, experiment, scale)
    parts = [_read_batch(scale, study, batch, wanted) for batch in planned.values()]
    joined = store.join_runs(parts)
    # Batches that name different table entries differ in their fingerprints.
    codes = sorted({part.attrs["code_fingerprint"] for part in parts})
    return joined.assign_attrs(training_fingerprints=codes)


def _read_batch(
    scale: str, study: str, batch: plan.Batch, wanted: Collection[str] | None
) -> xr.Dataset:
    """Planned runs of a batch; Snakemake alone would trust any file of its name that looks new."""
    path = paths.batch(scale, study, batch.experiment, batch.name)
    found = store.read_netcdf(path, wanted)
    made_by = (found.attrs.get("code_fingerprint"), found.attrs.get("start_lineage", ""))
    if made_by != (plan.train_fingerprint(study, batch), batch.start):
        raise store.set_aside(path, FOREIGN)
    try:
        return store.select_runs(found, [plan.run_id(batch.kind, run) for run in batch.runs])
    except KeyError:
        raise store.set_aside(path, FOREIGN) from None


def hand_on(config: Config, scale: str, study: str, start: str, digest: str = "") -> None:
    """Write a start point: what is kept of the finished runs of its experiment.

    Raises
    ------
    ConfigError
        If the runs have no variable of a name that is to be kept.
    """
    entry = config.studies[study].starts[start]
    lineage = plan.digest(plan.start_lineage(config, scale, study, start))
    check_unchanged("configuration", digest, lineage)
    trained = read_experiment(config, scale, study, entry.experiment, entry.keep)
    for index, name in enumerate(entry.keep):
        if name not in trained.data_vars:
            known = read_experiment(config, scale, study, entry.experiment).data_vars
            raise config.error(
                study,
                ("starts", start, "keep", index),
                f"got '{name}': runs of {entry.experiment} have no such variable; "
                f"{nearest(name, map(str, known))}",
            )
    attributes = {
        "title": entry.title,
        "study": study,
        "start": start,
        "experiment": entry.experiment,
        "scale": scale,
        "lineage": lineage,
        "training_fingerprints": trained.attrs["training_fingerprints"],
        "format": plan.FORMAT,
        "package_versions": provenance.package_versions(),
    }
    store.write_netcdf(paths.start(scale, study, start), trained[entry.keep], attributes)


def analyse(
    config: Config, scale: str, study: str, analysis: str, code: str = "", digest: str = ""
) -> None:
    """Run one analysis on its finished experiments."""
    fingerprint = plan.analysis_fingerprint(study, analysis)
    check_unchanged("code", code, fingerprint)
    lineage = plan.digest(plan.lineage(config, scale, study, analysis))
    check_unchanged("configuration or code of training", digest, lineage)
    entry = config.studies[study].analyses[analysis]
    names = plan.experiments_at(config, scale, study, analysis)
    experiments = {name: read_experiment(config, scale, study, name) for name in names}
    module = importlib.import_module(f"regimes.studies.{study}.analyses.{analysis}")
    result = module.analyse(experiments)
    seeds = [len(np.unique(e["seed"].values)) for e in experiments.values()]
    attributes = {
        "title": entry.title,
        "study": study,
        "analysis": analysis,
        "scale": scale,
        "code_fingerprint": fingerprint,
        "lineage": lineage,
        "training_fingerprints": sorted(
            {code for e in experiments.values() for code in e.attrs["training_fingerprints"]}
        ),
        "format": plan.FORMAT,
        "package_versions": provenance.package_versions(),
        "seeds": [min(seeds), max(seeds)] if seeds else [0, 0],
    }
    store.write_netcdf(paths.analysis(scale, study, analysis), result, attributes)


def read_analyses(
    config: Config, scale: str, study: str, names: Iterable[str], digest: str = ""
) -> dict[str, xr.Dataset]:
    """Results of analyses by name.

    Parameters
    ----------
    config, scale, study, names
        Which.
    digest
        Of the lineages that were planned with; empty: not planned.

    Raises
    ------
    Changed
        If the configuration or the code that they depend on changed since.
    FileNotFoundError, regimes.store.BadFile
        If a file is missing, damaged, or not what is planned.
    """
    lineages = plan.lineages(config, scale, study, names)
    check_unchanged("configuration or code of training", digest, plan.digest(lineages))
    found = {}
    for name, lineage in lineages.items():
        path = paths.analysis(scale, study, name)
        found[name] = store.read_netcdf(path)
        if found[name].attrs.get("lineage") != lineage:
            raise store.set_aside(path, FOREIGN)
    return found


def judge(config: Config, scale: str, study: str, code: str = "", digest: str = "") -> None:
    """Write the claims table of a study and refresh the table of the scale."""
    from regimes import claims

    check_unchanged("code", code, plan.claims_fingerprint(study))
    entry = config.studies[study]
    measures = importlib.import_module(f"regimes.studies.{study}.claims").MEASURES
    for i, claim in enumerate(entry.claims):
        if claim.id not in measures:
            raise config.error(study, ("claims", i, "id"), f"got '{claim.id}': no measure")
    figures = plan.figures_at(config, scale, study)
    claimed = [claim for claim in entry.claims if claim.figure in figures]
    entry = entry.model_copy(update={"claims": claimed})
    needed = {name for claim in claimed for name in measures[claim.id].analyses}
    known = plan.analyses_at(config, scale, study)
    lineages = plan.digest(plan.lineages(config, scale, study, known))
    check_unchanged("configuration or code of training", digest, lineages)
    analyses = read_analyses(config, scale, study, sorted(needed.intersection(known)))
    frame = claims.table(entry, measures, analyses, scale)
    store.write_text(paths.study_claims(scale, study), claims.to_csv(frame))


def draw(
    config: Config, scale: str, study: str, figure: str, code: str = "", digest: str = ""
) -> None:
    """Draw one figure as PDF and PNG; a table also as CSV."""
    from regimes.plot import style

    fingerprint = plan.figure_fingerprint(study, figure)
    check_unchanged("code", code, fingerprint)
    entry = config.studies[study].figures[figure]
    analyses = read_analyses(config, scale, study, entry.analyses, digest)
    module = importlib.import_module(f"regimes.studies.{study}.figures.{figure}")
    ranges = [json.loads(a.attrs["seeds"]) for a in analyses.values()]
    ranges = [r for r in ranges if r[1]]
    with style.applied():
        drawn = module.draw(analyses)
        style.footer(drawn, scale, ranges, fingerprint)
        for suffix in ("pdf", "png"):
            with store.atomic(paths.figure(scale, study, figure, suffix)) as temporary:
                style.save(drawn, temporary)
    if paths.is_table(figure):
        rows = module.rows(analyses)
        store.write_text(
            paths.figure(scale, study, figure, "csv"), rows.to_csv(index=False, float_format="%.6g")
        )


def make_data(config: Config, name: str, device: str = "", epochs: int | None = None) -> None:
    """Get an image data set ready before runs need it: make, fetch or decode what is missing.

    Parameters
    ----------
    config
        Folder of the data and device, unless the environment or ``device`` says otherwise.
    name
        A name in `regimes.data.catalog.CATALOG`. Those in `regimes.plan.GENERATED` are made in
        the data folder, others are fetched where they can be, and decoded.
    device
        Where a generated set is made, as in the configuration; empty for the configuration's.
    epochs
        Passes over the training images of a generated set; None for the default.

    Raises
    ------
    ConfigError
        If the name or the number is wrong, there is no GPU and the CPU was not asked for, files
        are missing, damaged or were made by other settings, or the folder cannot be written to.
    """
    from regimes.data import catalog, files

    if name not in catalog.CATALOG:
        raise ConfigError(f"make: no image data set '{name}'; {nearest(name, catalog.CATALOG)}")
    if epochs is not None and epochs < 1:
        raise ConfigError(f"--epochs: got {epochs}; must be 1 or more")
    files.use_folder(config.main.data)
    if name in plan.GENERATED:
        folder = files.folder() / name
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # Where the data are: calls of other folders make them there too.
            with journal.kept(("make", name), folder.with_name(f".{name}.lock")):
                _generate(config, name, folder, device, epochs)
        except OSError as error:
            raise ConfigError(
                f"make: {folder.absolute()} cannot be written to ({error.strerror or error}); make "
                "it writable, or copy the data to a folder that is and name this one "
                "(config/config.yaml, data, or environment REGIMES_DATA)"
            ) from None
        return
    if device or epochs is not None:
        raise ConfigError(
            f"make: --device and --epochs are for generated data sets "
            f"({', '.join(plan.GENERATED)}), and {name} is none; leave them out"
        )
    source = catalog.CATALOG[name]
    for part, origin in zip(catalog.PARTS, (name, source.test_of or name), strict=True):
        held = files.decoded(catalog.CATALOG[origin], part)
        print(f"{origin}, {part}: {len(held.label)} images are in {files.cache()}", flush=True)


def _generate(config: Config, name: str, folder: Path, device: str, epochs: int | None) -> None:
    """Make the files of a generated data set that are missing: see `make_data`."""
    from regimes import device as devices
    from regimes.data import catalog, diffusion, images

    settings = diffusion.Diffusion() if epochs is None else diffusion.Diffusion(epochs=epochs)
    source = catalog.CATALOG[name]
    if diffusion.complete(folder, settings, source.shape):
        print(f"{folder} is complete", flush=True)
        return
    asked = {device or config.main.device, os.environ.get("REGIMES_DEVICE")}
    chosen = devices.choose(device or config.main.device, "paper")
    if chosen.type == "cpu" and "cpu" not in asked:
        raise ConfigError(
            f"make: {name} takes hours on a GPU, of which torch sees none, and about 140 days on "
            f"one CPU core; put its parts, made elsewhere, into {folder.absolute()}, or add "
            "--device cpu to make it all the same"
        )
    devices.set_policy()
    diffusion.allow_tf32()
    learned = images.load(source.test_of).train
    chosen = lease.gpu(chosen, f"make {name}", journal.waiting)
    diffusion.make(folder, learned.pixels, learned.label, source.test_of, settings, chosen)


def merge_claims(config: Config, scale: str) -> None:
    """Write ``claims.csv`` of a scale from the tables of the studies that have one."""
    parts = []
    for study in config.studies:
        path = Path(paths.study_claims(scale, study))
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            parts.append("".join(lines if not parts else lines[1:]))
    if not parts:
        raise ConfigError(f"no study has claims at scale {scale} yet")
    _write_if_new(Path(paths.claims(scale)), "".join(parts))


def gallery(config: Config, scale: str) -> None:
    """Write the gallery page of a scale from the figures that exist."""
    from regimes.plot import gallery as page

    _write_if_new(Path(paths.gallery(scale)), page.render(config, scale))


def _write_if_new(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        store.write_text(path, text)


def write_manifest(
    config: Config, scale: str, path: str, studies: Sequence[str], generation: int
) -> None:
    """Refresh claims table and gallery of a scale, then list hashes of figures and inputs."""
    merge_claims(config, scale)
    gallery(config, scale)
    figures, inputs = {}, {}
    for study in studies:
        for name, entry in plan.figures_at(config, scale, study).items():
            for file in paths.figure_files(scale, study, name):
                figures[file] = store.file_digest(file)
            for analysis in entry.analyses:
                file = paths.analysis(scale, study, analysis)
                inputs[file] = store.file_digest(file)
        file = paths.study_claims(scale, study)
        inputs[file] = store.file_digest(file)
    store.write_json(
        path, {"generation": generation, "scale": scale, "figures": figures, "inputs": inputs}
    )
