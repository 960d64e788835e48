# Analyses that are named for what they do; the job is the same for all.
EXPONENTS = "exponents|portrait_[a-z0-9_]+"
CURVATURE = "curvature|curvature_[a-z0-9_]+"
COLLAPSE = "collapse"


rule analyse:
    input:
        batches_of_analysis,
    output:
        "results/{scale}/{study}/{analysis}.nc",
    log:
        "logs/{scale}/{study}/{analysis}.log",
    wildcard_constraints:
        analysis=f"(?!(?:{EXPONENTS}|{CURVATURE}|{COLLAPSE})\\.nc)[a-z0-9_]+",
    threads: 1
    resources:
        **asks(request_of_analysis),
    params:
        lineage=lineage_of_analysis,
        digest=digest_of_analysis,
        code=analysis_code,
    shell:
        "exec {PYTHON} -m regimes --root {ROOT:q} analyse {wildcards.scale} {wildcards.study}"
        " {wildcards.analysis} --digest {params.digest} --code {params.code} > {log:q} 2>&1"


use rule analyse as fit_exponents with:
    wildcard_constraints:
        analysis=EXPONENTS,


use rule analyse as curvature with:
    wildcard_constraints:
        analysis=CURVATURE,


use rule analyse as time_collapse with:
    wildcard_constraints:
        analysis=COLLAPSE,


rule claims:
    input:
        analyses_of_study,
    output:
        "results/{scale}/{study}/claims.csv",
    log:
        "logs/{scale}/{study}/claims.log",
    localrule: True
    threads: 1
    resources:
        **asks(request_of_table),
    params:
        claims=claims_definition,
        lineage=lineages_of_study,
        digest=digest_of_claims,
        code=claims_code,
    shell:
        "exec {PYTHON} -m regimes --root {ROOT:q} judge {wildcards.scale} {wildcards.study}"
        " --digest {params.digest} --code {params.code} > {log:q} 2>&1"


rule claims_table:
    input:
        claims_of_scale,
    output:
        "results/{scale}/claims.csv",
    log:
        "logs/{scale}/claims.log",
    localrule: True
    resources:
        **asks(request_of_table),
    shell:
        "exec {PYTHON} -m regimes --root {ROOT:q} claims {wildcards.scale} > {log:q} 2>&1"
