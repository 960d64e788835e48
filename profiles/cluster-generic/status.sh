#!/bin/sh
# Prints running, success or failed for the number of a job: status.sh NUMBER
#
# With LSF this would read: case "$(bjobs -noheader -o stat "$1")" in
#   DONE) echo success ;; EXIT) echo failed ;; *) echo running ;; esac
job=.snakemake/cluster-generic/$1
# Without its folder nothing would ever tell that the job has ended.
[ -d "$job" ] || { echo failed; exit; }

if flock --nonblock "$job/lock" true 2> /dev/null; then # no process of it is left
    if [ "$(cat "$job/ended" 2> /dev/null)" = 0 ]; then echo success; else echo failed; fi
else
    echo running
fi
