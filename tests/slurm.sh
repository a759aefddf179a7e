#!/usr/bin/env bash
# container/slurm.sbatch tried for real: starts munge and Slurm (slurmctld and slurmd of Debian's slurm-wlm) on this one
# host with two pretended GPUs, submits a manifest as a job array of three shards and the merge after it as the script's head
# says, waits, and compares the merged results with a single run. Takes under a minute after the build.
#
# As root, after `apt-get install slurm-wlm munge` and `make build`; `make slurm-test` calls it. Whatever else runs here is
# left alone: everything lives in a temporary folder and on ports of its own. KEEP=1 keeps that folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly MIXPREC=${MIXPREC:-$PWD/target/release/mixprec}
readonly SHARDS=3
readonly PATIENCE_S=300

say() { printf 'slurm-test: %s\n' "$*"; }

fail() {
    printf 'slurm-test: error: %s\n' "$*" >&2
    if [ -n "${work:-}" ]; then tail -n 20 "$work"/log/*.log "$work"/slurm-*.log >&2 2>/dev/null || true; fi
    exit 1
}

check_tools() {
    local program
    for program in munged slurmctld slurmd sbatch squeue sinfo; do
        PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || fail "no $program: apt-get install slurm-wlm munge"
    done
    [ "$(id -u)" -eq 0 ] || fail "munged, slurmctld and slurmd are started as root here: run this as root"
    [ -x "$MIXPREC" ] || fail "$MIXPREC: not built; run make build"
}

daemons=()

# Starts a daemon in the foreground of a background job, so that its process id is known; its output is a log.
start() {
    local name=$1
    shift
    PATH=$PATH:/usr/sbin "$@" >"$work/log/$name.log" 2>&1 &
    daemons+=($!)
}

stop() {
    local status=$? index
    for ((index = ${#daemons[@]} - 1; index >= 0; index--)); do
        kill "${daemons[index]}" 2>/dev/null || true
        wait "${daemons[index]}" 2>/dev/null || true
    done
    if [ -n "${KEEP:-}" ]; then say "kept $work"; else rm -rf "$work"; fi
    exit "$status"
}

configure() {
    local host
    host=$(hostname -s)
    mkdir -m 755 "$work/log" "$work/state" "$work/spool" "$work/munge"
    (umask 077 && head -c 1024 /dev/urandom >"$work/munge/key")
    cat >"$work/slurm.conf" <<CONF
ClusterName=mixprec
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
SchedulerParameters=defer,sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=60 State=UP
CONF
    # Slurm hands these out and sets CUDA_VISIBLE_DEVICES, as it does with real ones; nobody opens the files.
    printf 'Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n' >"$work/gres.conf"
    printf 'CgroupAutomount=no\n' >"$work/cgroup.conf"
    export SLURM_CONF=$work/slurm.conf
}

start_slurm() {
    start munged munged --foreground --key-file="$work/munge/key" --socket="$work/munge/socket" \
        --pid-file="$work/munge/pid" --log-file="$work/log/munge-own.log" --seed-file="$work/munge/seed"
    wait_for 30 "munge" test -S "$work/munge/socket"
    start slurmctld slurmctld -D -i
    start slurmd slurmd -D
    wait_for 60 "an idle node" node_is_idle
}

node_is_idle() { sinfo --noheader --format=%T 2>/dev/null | grep -q idle; }

# Waits up to so many seconds for a command to succeed.
wait_for() {
    local seconds=$1 what=$2 start=$SECONDS
    shift 2
    until "$@"; do
        [ $((SECONDS - start)) -lt "$seconds" ] || fail "waited $seconds s for $what"
        sleep 0.5
    done
}

write_manifest() {
    cat >"$work/manifest.yaml" <<'YAML'
schema: 1
name: slurm
question: Do shards run by Slurm, merged, equal the single run?
models:
  bert: {random: 1, architecture: bert-tiny}
  gpt2: {random: 1, architecture: gpt2-tiny}
backends: [reference]
precisions: [fp32, fp16, hybrid]
batch_sizes: [1, 2, 4]
sequence_lengths: [16, 64]
inputs:
  random: {random: 7}
measurement: {warmup: 1, min_samples: 6, max_samples: 20, time_cap_s: 1, timeout_s: 60, threads: 1}
expect_configurations: 36
YAML
}

queue_is_empty() { [ -z "$(squeue --noheader 2>/dev/null)" ]; }

submit() {
    local array
    export MIXPREC MANIFEST=$work/manifest.yaml OUT=$work/out
    array=$(sbatch --parsable --array=1-$SHARDS --cpus-per-task=1 --output="$work/slurm-%A-%a.log" container/slurm.sbatch)
    sbatch --dependency=afterok:"$array" --kill-on-invalid-dep=yes --gpus-per-node=0 --cpus-per-task=1 \
        --output="$work/slurm-%j-merge.log" container/slurm.sbatch
    wait_for "$PATIENCE_S" "the jobs" queue_is_empty
    [ -f "$work/out/merged/results.parquet" ] || fail "the merge job left no results"
}

# Files of a report, without those named after the environments.
names() { (cd "$1" && find . ! -name 'environment-*' | sort); }

# Tables without times are the same to the byte, and there are the same tables.
compare() {
    local single=$work/single/report merged=$work/out/merged/report name count=0
    diff <(names "$single") <(names "$merged") || fail "the reports do not have the same files"
    for name in configurations failures excluded numerics quality perplexity; do
        cmp "$single/$name.tex" "$merged/$name.tex" || fail "$name.tex of the merged results differs from the single run's"
        count=$((count + 1))
    done
    for name in "$single"/cosine-*.tex; do
        cmp "$name" "$merged/${name##*/}" || fail "${name##*/} of the merged results differs from the single run's"
        count=$((count + 1))
    done
    say "$count tables are equal to the byte"
}

# Shards of another N in the same folder are not merged along.
merge_beside_others() {
    local said
    mkdir "$work/out/shard-1-of-5"
    if said=$(container/slurm.sbatch 2>&1 >/dev/null); then fail "shards of two N were merged"; fi
    [[ $said == *"several N ($SHARDS 5)"* ]] || fail "shards of two N were refused with: $said"
    env SHARDS=$SHARDS container/slurm.sbatch >/dev/null || fail "shards of N=$SHARDS were not merged beside others"
}

check_tools
work=$(mktemp -d /tmp/mixprec-slurm.XXXXXX)
chmod 755 "$work"
trap stop EXIT
configure
write_manifest
say "the single run"
"$MIXPREC" run "$work/manifest.yaml" --out "$work/single" 2>"$work/log/single.log"
"$MIXPREC" report "$work/single" >/dev/null
say "starting munge and Slurm $(PATH=$PATH:/usr/sbin slurmd -V)"
start_slurm
say "submitting $SHARDS shards and the merge"
submit
cat "$work"/slurm-*-merge.log
parts=("$work"/out/shard-*-of-"$SHARDS")
[ ${#parts[@]} -eq $SHARDS ] || fail "not every shard left a folder"
grep -q " 0 not run" "$work"/slurm-*-merge.log || fail "the merged results are not whole"
compare
merge_beside_others
say "ok"
