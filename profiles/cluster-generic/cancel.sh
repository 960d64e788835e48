#!/bin/sh
# Ends jobs with all their processes: cancel.sh NUMBER...
#
# With LSF this would read: bkill "$@"
for number; do
    job=.snakemake/cluster-generic/$number
    # If no process of it is left, its process id may be another's by now.
    flock --nonblock "$job/lock" true || kill -s TERM -- "-$(cat "$job/pid")"
done 2> /dev/null
exit 0
