"""A Slurm of one node on this machine: loopback only, no systemd, no cgroups, no accounting, two GPUs that are none.

    python tests/slurm/one_node.py COMMAND ...     run a command while it is up

Needs root and Debian's packages slurm-wlm and munge. Configured by /etc/slurm, since Snakemake's plugin hides
$SLURM_CONF from its jobs; a machine that has a slurm.conf already is left alone.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ETC = Path("/etc/slurm")
DAEMONS = ("munged", "slurmctld", "slurmd")
UP = "REPLICATION_ONE_NODE"
"""Set for a command that is run while it is up: tests in it share that one."""
GPUS = 2
CPUS = 2
PATIENCE = 30.0  # seconds until all daemons must have come up

# MinJobAge: `squeue` shows a job for so long after its end. KillWait: seconds from SIGTERM to SIGKILL. The devices of
# the GPUs only have to exist; two addresses of daemons are named so that they do not listen on the network.
CONFIG = """\
ClusterName=one_node
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MinJobAge=3600
KillWait=30
MailProg=/bin/true
SlurmdParameters=config_overrides
StateSaveLocation={state}/slurmctld
SlurmdSpoolDir={state}/slurmd
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
DEVICES = "NodeName={host} Name=gpu File=/dev/tty[0-{last}]\n"


def missing() -> str:
    """Why it cannot be started here; empty where it can."""
    if os.environ.get(UP):
        return ""
    absent = [name for name in DAEMONS if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)} here: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "only root can start Slurm's daemons"
    if (ETC / "slurm.conf").exists():
        return f"this machine has a Slurm already: {ETC / 'slurm.conf'}"
    return ""


@contextlib.contextmanager
def one_node() -> Iterator[None]:
    """Slurm is up while the context is entered; all of it is gone afterwards."""
    if os.environ.get(UP):
        yield
        return
    host = socket.gethostname().partition(".")[0]
    files = {
        "slurm.conf": CONFIG.format(host=host, state="{state}", cpus=CPUS, gpus=GPUS),
        "gres.conf": DEVICES.format(host=host, last=GPUS - 1),
        "cgroup.conf": "CgroupPlugin=disabled\n",  # from Slurm 24.05 on; older ones do not read it
    }
    if _version() < (24, 5):
        files.pop("cgroup.conf")
    with contextlib.ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        for name in ("slurmctld", "slurmd"):
            (state / name).mkdir()
        for name, text in files.items():
            stack.callback((ETC / name).unlink, missing_ok=True)
            (ETC / name).write_text(text.replace("{state}", str(state)))
        stack.enter_context(_munge(state))
        for daemon in ("slurmctld", "slurmd"):
            stack.enter_context(_running([daemon, "-D"], state / f"{daemon}.log"))
        _wait_for_node(state)
        stack.callback(_cancel_all)
        yield


def _version() -> tuple[int, int]:
    words = subprocess.run(["slurmctld", "-V"], capture_output=True, text=True, check=True).stdout.split()
    major, minor, *_ = words[-1].split(".")
    return int(major), int(minor)


@contextlib.contextmanager
def _munge(state: Path) -> Iterator[None]:
    """``munged``, unless the machine runs one."""
    if subprocess.run(["munge", "-n"], capture_output=True).returncode == 0:
        yield
        return
    user = pwd.getpwnam("munge")
    run = Path("/run/munge")
    run.mkdir(exist_ok=True)
    run.chmod(0o755)
    os.chown(run, user.pw_uid, user.pw_gid)
    with _running(["munged", "--foreground"], state / "munged.log", "munge"):
        yield


@contextlib.contextmanager
def _running(command: list[str], log: Path, user: str = "root") -> Iterator[None]:
    with log.open("w") as file:
        daemon = subprocess.Popen(
            command, stdout=file, stderr=file, start_new_session=True, user=user, group=user, extra_groups=[]
        )
    try:
        yield
    finally:
        daemon.terminate()
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _wait_for_node(state: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        done = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True)
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = "".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(state.glob("*.log")))
    raise RuntimeError(f"Slurm did not come up within {PATIENCE:.0f} s: {done.stdout}{done.stderr}\n{logs}")


def _cancel_all() -> None:
    """End what a failed test has left, and wait for it: slurmd's end alone does not end its jobs."""
    subprocess.run(["scancel", "--user=root"], check=False)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and jobs(("PD", "R", "CG")):
        time.sleep(0.5)


def jobs(states: tuple[str, ...] = ("PD", "R"), *options: str) -> list[str]:
    """Ids of the jobs in these states."""
    command = ["squeue", "--noheader", f"--states={','.join(states)}", "--format=%i", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def main() -> int:
    """Run a command in it."""
    if why := missing():
        print(f"error: {why}", file=sys.stderr)
        return 2
    with one_node():
        return subprocess.run(sys.argv[1:], env={**os.environ, UP: "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
