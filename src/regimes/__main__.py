"""Command line of the jobs: ``python -m regimes <job> ...``; Snakemake calls it."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is imported: --cores must never change a byte
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")  # before netCDF is; see regimes.store

# Jobs that keep a journal, and what names the files of one.
PLACES = {
    "train": ("scale", "study", "experiment", "batch"),
    "start": ("scale", "study", "start"),
    "analyse": ("scale", "study", "analysis"),
    "judge": ("scale", "study"),
    "draw": ("scale", "study", "figure"),
}


def _die_with_parent() -> None:
    """End this process once the one that started it is gone, and at once if it is gone already.

    The rules name the shell's process and its parent's. They count where this is that process, in
    which Python took the shell's place: then another parent now means that the first is gone.
    """
    parent = os.getppid()
    process, _, named = os.environ.pop("REGIMES_PARENT", "").partition(":")
    if process == str(os.getpid()) and named.isdecimal():
        parent = int(named)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.25)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m regimes", description=__doc__)
    parser.add_argument("--root", default=".", help="folder that holds config/")
    jobs = parser.add_subparsers(dest="job", required=True)

    def job(name: str, text: str, *places: str) -> argparse.ArgumentParser:
        added = jobs.add_parser(name, help=text)
        for place in places:
            added.add_argument(place)
        added.add_argument("--code", default="", help="fingerprint planned with")
        return added

    job("train", "train one batch", *PLACES["train"]).add_argument(
        "--digest", default="", help="digest of the planned runs"
    )
    job("start", "hand on a start point", *PLACES["start"]).add_argument(
        "--digest", default="", help="digest of the planned lineage"
    )
    job("analyse", "run one analysis", *PLACES["analyse"]).add_argument(
        "--digest", default="", help="digest of the planned lineage"
    )
    job("judge", "write a study's claims table", *PLACES["judge"]).add_argument(
        "--digest", default="", help="digest of the planned lineage"
    )
    job("draw", "draw one figure", *PLACES["draw"]).add_argument(
        "--digest", default="", help="digest of the planned lineage"
    )
    job("claims", "merge the claims tables of a scale", "scale")
    job("gallery", "write the page of a scale", "scale")
    manifest = job("manifest", "write a manifest of figures", "scale", "path")
    manifest.add_argument("--generation", type=int, default=0)
    manifest.add_argument("--studies", nargs="+", required=True)
    make = jobs.add_parser("make", help="fetch and decode an image data set, or generate it")
    make.add_argument("name", help="a data set of docs/data.md: mnist, imagenet, mnist1m, ...")
    make.add_argument("--device", default="", help="mnist1m: auto, cpu or cuda; else as configured")
    make.add_argument("--epochs", type=int, help="mnist1m: passes over the images (default 20)")
    forecast = jobs.add_parser("plan", help="tell what a scale would cost, before anything runs")
    forecast.add_argument("scale", help="smoke, laptop, images, gpu or paper")
    forecast.add_argument("--study", nargs="+", default=[], help="these studies only")
    forecast.add_argument("--experiment", nargs="+", default=[], help="these experiments only")
    forecast.add_argument("--quick", action="store_true", help="shorter attempts, less exact")
    forecast.add_argument("--cores", type=int, help="jobs side by side; all cores without")
    forecast.add_argument("--csv", help="write the numbers to this file")
    forecast.add_argument("--record", action="store_true", help="write config/resources.csv")
    status = jobs.add_parser("status", help="tell how far a scale is, what runs, what failed")
    status.add_argument("scale", nargs="?", default="", help="as configured without one")
    status.add_argument("--study", nargs="+", default=[], help="these studies only")
    why = jobs.add_parser("why", help="tell what would make a target be built again")
    why.add_argument("target", help="as for snakemake: figures/laptop/giant_step/fig1.pdf, ...")
    job("startup", "do what every job begins with", "scale", "study")
    verdicts = jobs.add_parser("verdicts", help="compare claims with docs/verdicts.csv")
    verdicts.add_argument("--write", action="store_true", help="replace the record")
    return parser


def _forecast(config, a: argparse.Namespace) -> None:
    from regimes import forecast
    from regimes.config import SCALES, ConfigError, nearest

    if a.scale not in SCALES:
        raise ConfigError(f"scale: got '{a.scale}'; {nearest(a.scale, SCALES)}")
    if a.job == "startup":
        forecast.start_up(config, a.scale, a.study)
        return
    if a.cores is not None and a.cores < 1:
        raise ConfigError(f"--cores: got {a.cores}; must be 1 or more")
    forecast.main(
        config,
        a.scale,
        a.study,
        a.experiment,
        quick=a.quick,
        cores=a.cores,
        csv_file=a.csv,
        recorded=a.record,
    )


def _planned(a: argparse.Namespace) -> None:
    """Run a job that keeps a journal."""
    from regimes import config as configuration
    from regimes import jobs, journal, origins

    places = [getattr(a, name) for name in PLACES[a.job]]
    with journal.kept((a.job, *places)):
        # Only now: it may have changed while the job waited for another to end.
        config = configuration.load(a.root, a.study)
        journal.built_from(origins.facts(config, a.job, *places))
        if a.job == "train":
            jobs.train_batch(config, *places, a.digest, a.code)
        elif a.job == "start":
            jobs.hand_on(config, *places, a.digest)
        elif a.job == "analyse":
            jobs.analyse(config, *places, a.code, a.digest)
        elif a.job == "judge":
            jobs.judge(config, *places, a.code, a.digest)
        else:
            jobs.draw(config, *places, a.code, a.digest)


def _refused(reason: object) -> int:
    """Say why a job ends without its files; where even that finds no room, only end."""
    with contextlib.suppress(OSError):
        print(f"regimes: {reason}", file=sys.stderr, flush=True)
    return 1


def main() -> int:
    """Run one job; a user's mistake gives one message and exit status 1."""
    arguments = _parser().parse_args()
    _die_with_parent()
    from regimes import config as configuration
    from regimes import jobs, store

    a = arguments
    try:
        if a.job in PLACES:
            _planned(a)
            return 0
        config = configuration.load(a.root)
        if a.job == "claims":
            jobs.merge_claims(config, a.scale)
        elif a.job == "gallery":
            jobs.gallery(config, a.scale)
        elif a.job == "manifest":
            jobs.write_manifest(config, a.scale, a.path, a.studies, a.generation)
        elif a.job == "make":
            jobs.make_data(config, a.name, a.device, a.epochs)
        elif a.job in ("plan", "startup"):
            _forecast(config, a)
        elif a.job == "status":
            from regimes import status

            status.main(config, a.scale, a.study)
        elif a.job == "why":
            from regimes import why

            why.main(config, a.target)
        elif a.job == "verdicts":
            from regimes import verdicts

            return verdicts.compare(a.write)
    except (configuration.ConfigError, store.BadFile, jobs.Changed, OSError) as error:
        return _refused(error)
    except (MemoryError, RuntimeError) as error:
        if not store.lacks_memory(error):
            raise
        reason = f" ({error})" if str(error) else ""
        return _refused(
            f"not enough memory for this job{reason}; run fewer jobs at once (--cores 1), lower "
            "the seeds or sizes of the experiments that it reads in config/studies/, or use a "
            "machine with more memory"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
