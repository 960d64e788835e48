#!/bin/sh
# Submits a job and prints its number, and nothing else: submit.sh NAME CORES MB MINUTES SCRIPT
#
# Here the job runs in the background of this machine. With LSF, the lines below the assignments are
#   bsub -J "$name" -n "$cores" -M "${megabytes}MB" -W "$minutes" ${gpus:+-gpu "num=$gpus"} \
#     -o "logs/cluster-generic/$name.%J.log" "$script" | sed 's/^Job <\([0-9]*\)>.*/\1/'
set -eu
[ $# -eq 5 ] || { echo "submit.sh: NAME CORES MB MINUTES SCRIPT are needed" >&2; exit 2; }
# shellcheck disable=SC2034 # what this machine does not ask for: jobs lease their GPU themselves
name=$1 cores=$2 megabytes=$3 minutes=$4 script=$5
# shellcheck disable=SC2034
gpus=$(sed -n 's/^# properties = .*"gpu": \([0-9]*\).*/\1/p' "$script") # empty without one

folder=.snakemake/cluster-generic
mkdir -p "$folder" logs/cluster-generic
job=$(mktemp -d "$folder/XXXXXXXX")
number=${job##*/}

# The lock is held as long as a process of the job lives: status.sh asks for nothing else.
exec 9> "$job/lock"
flock 9
# A session of its own, so that cancel.sh reaches all of its processes.
setsid timeout --signal=KILL "${minutes}m" sh -c '"$1"; echo $? > "$2/ended"' \
    job "$script" "$job" > "logs/cluster-generic/$name.$number.log" 2>&1 < /dev/null &
echo $! > "$job/pid"
echo "$number"
