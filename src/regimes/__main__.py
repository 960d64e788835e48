"""Command line of the jobs: ``python -m regimes <job> ...``; Snakemake calls it."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is imported: --cores must never change a byte
os.environ.setdefault("MPLBACKEND", "agg")


def _die_with_parent() -> None:
    """End this process once the one that started it is gone."""
    parent = os.getppid()

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

    job("train", "train one batch", "scale", "study", "experiment", "batch").add_argument(
        "--digest", default="", help="digest of the planned runs"
    )
    job("start", "hand on a start point", "scale", "study", "start").add_argument(
        "--digest", default="", help="digest of the planned lineage"
    )
    job("analyse", "run one analysis", "scale", "study", "analysis")
    job("judge", "write a study's claims table", "scale", "study")
    job("draw", "draw one figure", "scale", "study", "figure")
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
        config, a.scale, a.study, a.experiment, quick=a.quick, cores=a.cores, csv_file=a.csv
    )


def main() -> int:
    """Run one job; a user's mistake gives one message and exit status 1."""
    arguments = _parser().parse_args()
    _die_with_parent()
    from regimes import config as configuration
    from regimes import jobs, store

    a = arguments
    try:
        config = configuration.load(a.root)
        if a.job == "train":
            jobs.train_batch(config, a.scale, a.study, a.experiment, a.batch, a.digest, a.code)
        elif a.job == "start":
            jobs.hand_on(config, a.scale, a.study, a.start, a.digest)
        elif a.job == "analyse":
            jobs.analyse(config, a.scale, a.study, a.analysis, a.code)
        elif a.job == "judge":
            jobs.judge(config, a.scale, a.study, a.code)
        elif a.job == "draw":
            jobs.draw(config, a.scale, a.study, a.figure, a.code)
        elif a.job == "claims":
            jobs.merge_claims(config, a.scale)
        elif a.job == "gallery":
            jobs.gallery(config, a.scale)
        elif a.job == "manifest":
            jobs.write_manifest(config, a.scale, a.path, a.studies, a.generation)
        elif a.job == "make":
            jobs.make_data(config, a.name, a.device, a.epochs)
        elif a.job in ("plan", "startup"):
            _forecast(config, a)
        elif a.job == "verdicts":
            from regimes import verdicts

            return verdicts.compare(a.write)
    except (configuration.ConfigError, store.BadFile, jobs.Changed, FileNotFoundError) as error:
        print(f"regimes: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
