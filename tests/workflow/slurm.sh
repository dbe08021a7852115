#!/usr/bin/env bash
# Runs a command beside a real Slurm of one node that exists only for it: tests/workflow/slurm.sh COMMAND...
#
# munged, slurmctld and slurmd run as the calling user, listen on loopback only, keep everything in a temporary folder, and are
# stopped by their process ids when the command ends, which it must within SLURM_TEST_SECONDS (900). The node pretends to have
# 16 cores, 256 GB of memory and two GPUs. Needs Debian's slurm-wlm and munge; root gets them from apt-get when they are missing.
set -euo pipefail

missing=()
command -v slurmctld >/dev/null || [ -x /usr/sbin/slurmctld ] || missing+=(slurm-wlm)
command -v munged >/dev/null || [ -x /usr/sbin/munged ] || missing+=(munge)
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "error: ${missing[*]} is missing; run as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
fi
PATH=$PATH:/usr/sbin

folder=$(mktemp -d /tmp/slurm.XXXXXX)
chmod 755 "$folder"
mkdir "$folder/state" "$folder/spool"
pids=()
command=
stop() {
    status=$?
    trap - EXIT
    # timeout has a process group of its own, with all that the command started
    [ -z "$command" ] || kill -KILL -- "-$command" 2>/dev/null || true
    scancel --user="$(id -un)" 2>/dev/null || true
    for ((n = ${#pids[@]} - 1; n >= 0; n--)); do # slurmd, slurmctld, munged
        kill "${pids[n]}" 2>/dev/null || continue
        for _ in {1..50}; do
            kill -0 "${pids[n]}" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "${pids[n]}" 2>/dev/null || true
    done
    rm -rf "$folder"
    exit "$status"
}
trap stop EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

(umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
for gpu in 0 1; do
    ln -s /dev/null "$folder/gpu$gpu" # Slurm counts a file for each GPU
done
host=$(hostname -s)
cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
# no cgroups: they may be out of reach in a container
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# nor is a job held to its cores and memory, so the node may pretend to have what the profile asks for
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
MpiDefault=none
GresTypes=gpu
JobRequeue=1
KillWait=20
MinJobAge=3600
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=16 RealMemory=256000 Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes=$host Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$host MaxTime=INFINITE State=UP
CONF
echo "Name=gpu File=$folder/gpu[0-1]" >"$folder/gres.conf"
export SLURM_CONF=$folder/slurm.conf
# Snakemake's plugin drops SLURM_CONF before it calls srun in a job, which then looks in /etc/slurm
mkdir "$folder/bin"
printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" >"$folder/bin/srun"
chmod 755 "$folder/bin/srun"
export PATH=$folder/bin:$PATH

munged --foreground --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --seed-file="$folder/munged.seed" >"$folder/munged.log" 2>&1 &
pids+=($!)
for _ in {1..50}; do
    [ -S "$folder/munge.socket" ] && break
    sleep 0.1
done
slurmctld -D -f "$SLURM_CONF" >/dev/null 2>&1 &
pids+=($!)
slurmd -D -f "$SLURM_CONF" >/dev/null 2>&1 &
pids+=($!)
for _ in {1..60}; do
    [ "$(sinfo --noheader --partition=cpu --format=%t 2>/dev/null)" = idle ] && break
    sleep 0.5
done
if [ "$(sinfo --noheader --partition=cpu --format=%t)" != idle ]; then
    tail -n 20 "$folder"/*.log >&2 || true
    echo "error: the node did not come up within 30 s" >&2
    exit 1
fi

timeout --kill-after=30 "${SLURM_TEST_SECONDS:-900}" "$@" &
command=$!
wait "$command"
