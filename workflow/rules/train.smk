# A batch file is extended, not rebuilt, when runs are added (`update`): the job
# trains what is missing and keeps the bits of what is there.
rule train_batch:
    input:
        start_of_batch,
        # However old: what lies in the data folder is accepted as it is.
        ancient(data_of_batch),
    output:
        update("results/{scale}/{study}/runs/{experiment}/{batch}.nc"),
    log:
        "logs/{scale}/{study}/runs/{experiment}/{batch}.log",
    # Long jobs first: the many short ones behind them then keep all cores busy to the end.
    priority: 10
    threads: 1
    resources:
        **asks(request_of_batch),
    params:
        digest=batch_digest,
        code=train_code,
    shell:
        "exec {PYTHON} -m regimes --root {ROOT:q} train {wildcards.scale} {wildcards.study}"
        " {wildcards.experiment} {wildcards.batch} --digest {params.digest} --code {params.code}"
        " > {log:q} 2>&1"


# What runs of one experiment hand on to others: final weights, eigenvectors.
rule start_point:
    input:
        batches_of_start,
    output:
        "results/{scale}/{study}/start/{start}.nc",
    log:
        "logs/{scale}/{study}/start/{start}.log",
    priority: 20
    threads: 1
    resources:
        **asks(request_of_start),
    params:
        digest=digest_of_start,
    shell:
        "exec {PYTHON} -m regimes --root {ROOT:q} start {wildcards.scale} {wildcards.study}"
        " {wildcards.start} --digest {params.digest} > {log:q} 2>&1"
