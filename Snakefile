"""Front door: configuration, rules, targets. Imports nothing heavy."""

import os
import shlex
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.20")

ROOT = workflow.basedir
# Jobs end with the process that started them. The shell, in whose place Python comes, tells which
# one that is: when Python asks, it may be gone already.
PYTHON = f"env REGIMES_PARENT=$$:$PPID {shlex.quote(sys.executable)}"
# Jobs use the code beside this file, wherever the package may also be installed.
sys.path.insert(0, f"{ROOT}/src")
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [f"{ROOT}/src", os.environ.get("PYTHONPATH", "")])
)

from regimes import folders, paths, plan, resources
from regimes import workflow as front
from regimes.config import SCALES, ConfigError, load


include: "workflow/rules/common.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/analyse.smk"


if workflow.is_main_process:
    requested, only_looks = front.command_line()
    try:
        scales = front.check_targets(
            CONFIG, requested, frozenset(r.name for r in workflow.rules)
        )
        if not only_looks:
            folders.check_writable(scales)
        FOLDER = None if only_looks else front.hold_folder()
        if FOLDER is not None:
            folders.date_back(scales)
            if front.keeps_records():
                folders.distrust(CONFIG, scales)
            front.clear_checkpoints(CONFIG, scales)
        if not only_looks:
            front.limit_gpus(workflow, CONFIG, scales)
    except (ConfigError, front.AnotherCall, folders.NotWritable, OSError) as error:
        stop(error)
