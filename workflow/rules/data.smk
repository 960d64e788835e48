# Data sets that the pipeline makes itself, when a batch of runs needs one that is not there.
# The description is the last file; parts that a killed job left are kept and completed.
rule generated_data:
    output:
        paths.generated(DATA, "{generated}"),
    log:
        "logs/data/{generated}.log",
    wildcard_constraints:
        generated=front.either(plan.GENERATED),
    priority: 30
    threads: 1
    resources:
        **asks(request_of_generated),
    shell:
        "exec {PYTHON} -m regimes --root {ROOT:q} make {wildcards.generated} > {log:q} 2>&1"
