# Manifests come first: figures/all is what `snakemake` builds when nothing is named.
# A manifest job also refreshes the merged claims table and the page from all that exists.
rule all_figures:
    input:
        files_of_scale,
    output:
        "figures/all",
    log:
        "logs/all.log",
    localrule: True
    params:
        scale=CONFIG.main.scale,
        page=plan.gallery_fingerprint(),
        studies=plan.studies_at(CONFIG, CONFIG.main.scale),
        generation=lambda wildcards: generation_of("figures/all", CONFIG.main.scale),
    shell:
        "exec {PYTHON} -m regimes --root {ROOT:q} manifest {params.scale} {output:q}"
        " --generation {params.generation} --studies {params.studies} > {log:q} 2>&1"


rule scale_figures:
    input:
        files_of_scale,
    output:
        "figures/{scale}/all",
    log:
        "logs/{scale}/all.log",
    localrule: True
    params:
        page=plan.gallery_fingerprint(),
        studies=lambda wildcards: plan.studies_at(CONFIG, wildcards.scale),
        generation=lambda wildcards: generation_of(
            f"figures/{wildcards.scale}/all", wildcards.scale
        ),
    shell:
        "exec {PYTHON} -m regimes --root {ROOT:q} manifest {wildcards.scale} {output:q}"
        " --generation {params.generation} --studies {params.studies} > {log:q} 2>&1"


rule study_figures:
    input:
        files_of_study,
    output:
        "figures/{scale}/{study}/all",
    log:
        "logs/{scale}/{study}/all.log",
    localrule: True
    params:
        page=plan.gallery_fingerprint(),
        generation=lambda wildcards: generation_of(
            f"figures/{wildcards.scale}/{wildcards.study}/all",
            wildcards.scale,
            [wildcards.study],
        ),
    shell:
        "exec {PYTHON} -m regimes --root {ROOT:q} manifest {wildcards.scale} {output:q}"
        " --generation {params.generation} --studies {wildcards.study} > {log:q} 2>&1"


rule draw_figure:
    input:
        analyses_of_figure,
    output:
        pdf="figures/{scale}/{study}/{figure}.pdf",
        png=report(
            "figures/{scale}/{study}/{figure}.png",
            caption="../report/figure.rst",
            category="{scale}",
            subcategory="{study}",
            labels={"figure": "{figure}"},
        ),
    log:
        "logs/{scale}/{study}/{figure}.log",
    wildcard_constraints:
        figure="(?!table)[a-z0-9_A]+",
    localrule: True
    threads: 1
    params:
        title=title_of_figure,
        lineage=lineages_of_figure,
        digest=digest_of_figure,
        code=figure_code,
    shell:
        "exec {PYTHON} -m regimes --root {ROOT:q} draw {wildcards.scale} {wildcards.study}"
        " {wildcards.figure} --digest {params.digest} --code {params.code} > {log:q} 2>&1"


use rule draw_figure as draw_table with:
    output:
        pdf="figures/{scale}/{study}/{figure}.pdf",
        png=report(
            "figures/{scale}/{study}/{figure}.png",
            caption="../report/figure.rst",
            category="{scale}",
            subcategory="{study}",
            labels={"figure": "{figure}"},
        ),
        csv="figures/{scale}/{study}/{figure}.csv",
    wildcard_constraints:
        figure="table[a-z0-9_A]*",
    localrule: True  # said again: a rule that is used does not pass this on


rule gallery:
    input:
        figures_of_scale,
        "results/{scale}/claims.csv",
    output:
        "figures/{scale}/index.html",
    log:
        "logs/{scale}/gallery.log",
    localrule: True
    params:
        code=plan.gallery_fingerprint(),
    shell:
        "exec {PYTHON} -m regimes --root {ROOT:q} gallery {wildcards.scale} > {log:q} 2>&1"
