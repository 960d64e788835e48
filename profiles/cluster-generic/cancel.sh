#!/bin/sh
# Ends jobs with all their processes: cancel.sh NUMBER...
#
# With LSF this would read: bkill "$@"
for number; do
    job=.snakemake/cluster-generic/$number
    # If no process of it is left, its process id may be another's by now.
    flock --nonblock "$job/lock" true && continue
    kill -s TERM -- "-$(cat "$job/pid")"
    # As schedulers do: what has not ended after a while is killed. Snakemake waits only two seconds.
    setsid sh -c 'sleep 5; flock --nonblock "$1/lock" true || kill -s KILL -- "-$(cat "$1/pid")"' \
        cancel "$job" > /dev/null < /dev/null &
done 2> /dev/null
exit 0
