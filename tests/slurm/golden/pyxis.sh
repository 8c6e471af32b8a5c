#!/bin/bash
# first/0 of sample as a Slurm job, written by deepep-compiler VERSION.
# `deepep-compiler run` and the bundle's site.yml submit it. By hand, from the bundle's directory where that lies on
# a file system that the hosts share:  sbatch jobs/first/0/cloudai_sbatch_script.sh
# shellcheck disable=SC2016  # what is in single quotes is not for this shell
#SBATCH --job-name=sample.first.0
#SBATCH --partition=batch
#SBATCH --nodes=2
#SBATCH --nodelist=dgx02,dgx01
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:8
#SBATCH --time=00:07:00
#SBATCH --signal=B:TERM@60
#SBATCH --exclusive
#SBATCH --no-requeue

set -u

session=${1:-by-hand-${SLURM_JOB_ID:?submit this with sbatch}}
stamp=${2:-$(date +%Y%m%d_%H%M%S)}
base=${3:-$SLURM_SUBMIT_DIR/results/$session}             # where every host has a directory of its own
program=${4:-$SLURM_SUBMIT_DIR/roles/deepep_run/files}    # what the hosts execute
plan=${5:-$SLURM_SUBMIT_DIR/plan.json}
work_dir=${6:-}                                           # directory of all sessions, for this user alone
python=python3
ending=; fetched=; meet=; ran=

tell() { scontrol update JobId="$SLURM_JOB_ID" Comment="deepep $*" >&2 || true; }
fail() { echo "deepep: $1" >&2; tell "failed: $1"; exit "$2"; }
count() { tr , '\n' <<< "$1" | wc -l; }
carries_program() { grep -q '^#-- payload$' "$0"; }

# srun on one task per host, beside whatever else runs in the job, and with no GPU to itself.
on_hosts() {
  local nodes=$1 number; number=$(count "$1"); shift
  srun --overlap "--nodes=$number" "--ntasks=$number" --ntasks-per-node=1 \
    "--nodelist=$nodes" --gres=none --mpi=none "$@"
}

# run_one RUN NODES FIRST WORDS...: holds a run on its hosts, as srun with these words starts it. Returns its code.
run_one() {
  local run=$1 nodes=$2 first=$3 code=143 step number left; number=$(count "$2"); shift 3
  local given=("--plan=$plan" "--run=$run" "--session=$session" "--stamp=$stamp" "--base=$base" "--nodes=$nodes")
  [ -z "$work_dir" ] || given+=("--work-dir=$work_dir")
  # Where the ranks meet: an address and a free port of the first host, chosen once for all.
  meet=$(on_hosts "$first" "$python" -I "$program/slurm_task.py" meet "${given[@]}") || fail "no meeting point" 73
  [ -z "$ending" ] || return $code
  tell "run $run at $meet"
  left=$(squeue --noheader "--jobs=$SLURM_JOB_ID" --format=%L)
  ran+=${ran:+,}$run
  srun "--nodes=$number" "--ntasks=$number" --ntasks-per-node=1 "--nodelist=$nodes" \
    --cpu-bind=none --kill-on-bad-exit=0 --wait=120 "$@" \
    -I "$program/slurm_task.py" run "${given[@]}" "--meet=$meet" "--left=$left" &
  step=$!
  while kill -0 "$step" 2>/dev/null; do
    wait "$step"
    code=$?    # above 128 where a signal interrupted the waiting, which then goes on
  done
  return $code
}

# The limit of the job is near (TERM) or somebody asks for an end (USR2): the hosts end the run and keep what they
# have. The files were fetched (USR1): the job may end.
trap 'ending=limit; scancel --signal=URG "$SLURM_JOB_ID"' TERM
trap 'ending=stop; scancel --signal=URG "$SLURM_JOB_ID"' USR2
trap 'fetched=yes' USR1

if [ "${SLURM_RESTART_COUNT:-0}" != 0 ]; then
  fail "requeued: a measured run is not repeated in silence" 75
fi
tell start
allocated=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -s -d,)
if carries_program; then    # no directory is shared: the program is at the end of this script
  sed '1,/^#-- payload$/d' "$0" | base64 -d |
    on_hosts "$allocated" /bin/sh -c 'umask 077 && mkdir -p "$1" && tar -xzf - -C "$1"' sh "$program" ||
    fail "the program could not be unpacked on the hosts" 74
fi

result=0
run_one first/0 dgx02,dgx01 dgx02 \
  --mpi=none \
  '--x=y z' \
  --container-image=/shared/images/registry.example.com_5005_team_deepep_1.2_0123456789abcdef.sqsh \
  "--container-mounts=$base:$base,$program:$program,$(dirname "$plan"):$(dirname "$plan")"',/data/it'"'"'s:/data:ro' \
  --container-env=OMP_NUM_THREADS,PYTHONUNBUFFERED,NCCL_DEBUG \
  --container-writable \
  --no-container-mount-home \
  python3
code=$?; [ $code = 0 ] || result=$code

trap '' TERM USR2
tell "done $result"
if carries_program; then    # the files lie on the hosts' own disks until they are fetched
  for ((waited = 0; waited < 300; waited++)); do
    [ -z "$fetched" ] || break
    sleep 1
  done
  [ -z "$fetched" ] || on_hosts "$allocated" "$python" -I "$program/slurm_task.py" remove "--base=$base" "--run=$ran"
fi
exit $result
