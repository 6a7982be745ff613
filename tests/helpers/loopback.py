"""A real Slurm of one node on this machine, in a folder of its own: munged, slurmctld and slurmd, as root."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue")
CONFIGURATION = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
JobRequeue=1
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def lacking():
    """What a Slurm cannot be started without here; empty where it can."""
    programs = [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]
    return [*programs, *(["root"] if os.geteuid() else [])]


def search_path():
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class LoopbackSlurm:
    """Starts and stops the daemons; `environment` is what the commands of Slurm need."""

    def __init__(self, folder, cpus):
        self.folder, self.daemons = Path(folder), []
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": search_path()}
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)
        host = socket.gethostname().split(".")[0]
        text = CONFIGURATION.format(
            folder=self.folder, host=host, cpus=cpus, controller_port=free_port(), node_port=free_port()
        )
        (self.folder / "slurm.conf").write_text(text, encoding="utf-8")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)

    def __enter__(self):
        munge = [f"--{name}={self.folder}/munge.{name.split('-')[0]}" for name in ("key-file", "pid-file", "seed-file")]
        munge += [f"--log-file={self.folder}/munge.log", f"--socket={self.folder}/munge.socket"]
        try:
            self.start("munged", "--foreground", "--force", *munge)
            self.until(lambda: (self.folder / "munge.socket").exists(), "munged listens")
            self.start("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
            self.start("slurmd", "-D", "-f", str(self.folder / "slurm.conf"))
            self.until(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%t", check=False), "the node is idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.ask("scancel", "--user=root", check=False)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def start(self, *command):
        with (self.folder / f"{command[0]}.out").open("w") as output:
            self.daemons.append(
                subprocess.Popen(
                    command, env={**os.environ, **self.environment}, stdout=output, stderr=subprocess.STDOUT
                )
            )

    def ask(self, *command, check=True):
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def until(self, happened, what, seconds=60.0):
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}\n{self.logs()}"
            time.sleep(0.1)

    def jobs(self):
        """State by task, as 5_1: RUNNING, of those that have not ended."""
        lines = self.ask("squeue", "-h", "-r", "-o", "%i %T").split("\n")
        return dict(line.split() for line in lines if line)

    def logs(self):
        return "\n".join(
            f"{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in self.folder.glob("*.log")
        )
