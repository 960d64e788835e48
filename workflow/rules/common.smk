def stop(error):
    """End with one message: a mistake of the user's is no matter for a traceback."""
    print(f"regimes: {error}", file=sys.stderr, flush=True)
    os._exit(1)


try:
    CONFIG = load(ROOT)
    resources.table(CONFIG.folder)  # a mistake in it is told here, not by each job
    LIMITS = resources.limits(config)
except ConfigError as error:
    stop(error)


# Folder of the data sets; relative ones belong to the folder in which Snakemake works.
DATA = os.environ.get("REGIMES_DATA") or CONFIG.main.data


wildcard_constraints:
    scale=front.either(SCALES),
    study=front.either(CONFIG.studies),
    experiment="[a-z0-9_]+",
    batch="[a-z0-9_]+",
    start="[a-z0-9_]+",
    analysis="[a-z0-9_]+",
    figure="[a-z0-9_A]+",


def batch_of(wildcards):
    return plan.find_batch(
        CONFIG, wildcards.study, wildcards.experiment, wildcards.scale, wildcards.batch
    )


def batch_digest(wildcards):
    return batch_of(wildcards).digest


def train_code(wildcards):
    return plan.train_fingerprint(wildcards.study, batch_of(wildcards))


def analysis_code(wildcards):
    return plan.analysis_fingerprint(wildcards.study, wildcards.analysis)


def figure_code(wildcards):
    return plan.figure_fingerprint(wildcards.study, wildcards.figure)


def claims_code(wildcards):
    return plan.claims_fingerprint(wildcards.study)


def claims_definition(wildcards):
    return [c.model_dump(mode="json") for c in CONFIG.studies[wildcards.study].claims]


def start_of_batch(wildcards):
    start = CONFIG.studies[wildcards.study].experiments[wildcards.experiment].start
    return [] if start is None else paths.start(wildcards.scale, wildcards.study, start)


def data_of_batch(wildcards):
    names = plan.generated_data(batch_of(wildcards))
    return [paths.generated(DATA, name) for name in names]


def batches_of(wildcards, experiments):
    return [
        paths.batch(wildcards.scale, wildcards.study, experiment, name)
        for experiment in experiments
        for name in plan.batches(CONFIG, wildcards.study, experiment, wildcards.scale)
    ]


def batches_of_start(wildcards):
    entry = CONFIG.studies[wildcards.study].starts[wildcards.start]
    return batches_of(wildcards, [entry.experiment])


def digest_of_start(wildcards):
    lineage = plan.start_lineage(
        CONFIG, wildcards.scale, wildcards.study, wildcards.start
    )
    return plan.digest(lineage)


def batches_of_analysis(wildcards):
    experiments = plan.experiments_at(
        CONFIG, wildcards.scale, wildcards.study, wildcards.analysis
    )
    return batches_of(wildcards, experiments)


def lineage_of_analysis(wildcards):
    return plan.lineage(CONFIG, wildcards.scale, wildcards.study, wildcards.analysis)


def digest_of_analysis(wildcards):
    return plan.digest(lineage_of_analysis(wildcards))


def lineages_of_study(wildcards):
    analyses = plan.analyses_at(CONFIG, wildcards.scale, wildcards.study)
    return plan.lineages(CONFIG, wildcards.scale, wildcards.study, analyses)


def digest_of_claims(wildcards):
    return plan.digest(lineages_of_study(wildcards))


def lineages_of_figure(wildcards):
    analyses = CONFIG.studies[wildcards.study].figures[wildcards.figure].analyses
    return plan.lineages(CONFIG, wildcards.scale, wildcards.study, analyses)


def digest_of_figure(wildcards):
    return plan.digest(lineages_of_figure(wildcards))


def analyses_of_study(wildcards):
    return [
        paths.analysis(wildcards.scale, wildcards.study, name)
        for name in plan.analyses_at(CONFIG, wildcards.scale, wildcards.study)
    ]


def analyses_of_figure(wildcards):
    return [
        paths.analysis(wildcards.scale, wildcards.study, name)
        for name in CONFIG.studies[wildcards.study].figures[wildcards.figure].analyses
    ]


def title_of_figure(wildcards):
    return CONFIG.studies[wildcards.study].figures[wildcards.figure].title


def files_of_study(wildcards):
    return front.study_files(CONFIG, wildcards.scale, wildcards.study)


def files_of_scale(wildcards):
    scale = getattr(wildcards, "scale", CONFIG.main.scale)
    return [
        f
        for study in plan.studies_at(CONFIG, scale)
        for f in front.study_files(CONFIG, scale, study)
    ]


def figures_of_scale(wildcards):
    return [
        file
        for study in plan.studies_at(CONFIG, wildcards.scale)
        for name in plan.figures_at(CONFIG, wildcards.scale, study)
        for file in paths.figure_files(wildcards.scale, study, name)
    ]


def claims_of_scale(wildcards):
    return [
        paths.study_claims(wildcards.scale, study)
        for study in plan.studies_at(CONFIG, wildcards.scale)
    ]


def request_of_batch(wildcards, attempt):
    return resources.training(
        CONFIG,
        wildcards.scale,
        wildcards.study,
        wildcards.experiment,
        attempt,
        LIMITS,
    )


def request_of_start(wildcards, attempt):
    entry = CONFIG.studies[wildcards.study].starts[wildcards.start]
    experiments = [entry.experiment]
    return resources.reading(
        CONFIG, wildcards.scale, wildcards.study, experiments, attempt, LIMITS
    )


def request_of_analysis(wildcards, attempt):
    experiments = plan.experiments_at(
        CONFIG, wildcards.scale, wildcards.study, wildcards.analysis
    )
    return resources.reading(
        CONFIG, wildcards.scale, wildcards.study, experiments, attempt, LIMITS
    )


def request_of_table(wildcards, attempt):
    return resources.small(attempt, LIMITS)


def request_of_generated(wildcards, attempt):
    return resources.generating(CONFIG, attempt, LIMITS)


def asks(request):
    """Resources of a rule from a function of wildcards and attempt; None is no request."""

    def part(name):
        return lambda wildcards, attempt: getattr(request(wildcards, attempt), name)

    return {name: part(name) for name in ("mem_mb", "runtime", "gpu")}


def generation_of(path, scale, studies=None):
    studies = plan.studies_at(CONFIG, scale) if studies is None else studies
    return front.generation(path, tuple(front.manifest_files(CONFIG, scale, studies)))
