"""A Slurm cluster of one node on this machine, for the tests: needs root and Debian's packages; everything of it lies in one folder."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurmdbd", "munge", "mariadb-server")
SLURM = """ClusterName=book
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=10
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
JobAcctGatherType=jobacct_gather/linux
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
JobRequeue=1
ReturnToService=2
KillWait=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
ACCOUNTING = """AuthType=auth/munge
DbdHost=localhost
SlurmUser=root
StorageType=accounting_storage/mysql
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""
GRANTS = """create database if not exists slurm_acct_db;
create user if not exists slurm@localhost identified by 'slurm';
grant all on slurm_acct_db.* to slurm@localhost;"""
SOCKET = "/run/mysqld/mysqld.sock"


def shell(*command: str, check: bool = True, **kw: object) -> subprocess.CompletedProcess:
    "Run a program and keep what it says."
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=600, **kw)


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    "Wait for something to become true."
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.2)


def answers(*command: str) -> bool:
    "Whether a program ends with 0."
    return shell(*command, check=False).returncode == 0


class Cluster:
    "A running cluster; `stop` ends its daemons."

    def __init__(self):
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            pytest.skip("a Slurm cluster of one's own needs root and Debian's packages")
        self.folder, self.daemons = (
            Path(tempfile.mkdtemp(prefix="slurm-", dir="/var/tmp")),
            [],
        )  # where every user may look
        self.folder.chmod(0o755)
        for part in ("state", "spool", "database"):
            (self.folder / part).mkdir()
        self._install()
        self._authentication()
        self._accounting()
        self._slurm()

    def _install(self) -> None:
        missing = [p for p in PACKAGES if not answers("dpkg", "-s", p)]
        if missing:
            env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
            shell("apt-get", "update", "-qq", env=env)
            shell("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, env=env)

    def start(self, *command: str) -> None:
        "A daemon in the foreground, as a child of this process."
        log = (self.folder / f"{Path(command[0]).name}.out").open("w")
        self.daemons.append(
            subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        )

    def _authentication(self) -> None:
        for place in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
            Path(place).mkdir(exist_ok=True, parents=True)
            shutil.chown(place, "munge", "munge")
        Path("/run/munge").chmod(0o755)
        if not answers("munge", "-n"):
            self.start("su", "-s", "/bin/sh", "munge", "-c", "exec /usr/sbin/munged --foreground --force")
        until(lambda: answers("munge", "-n"), "munge's answer")

    def _accounting(self) -> None:
        database = self.folder / "database"
        Path("/run/mysqld").mkdir(exist_ok=True)
        for place in ("/run/mysqld", database):
            shutil.chown(place, "mysql", "mysql")
        if not answers("mariadb-admin", f"--socket={SOCKET}", "ping"):
            shell(
                "mariadb-install-db",
                "--user=mysql",
                f"--datadir={database}",
                "--skip-test-db",
                "--auth-root-authentication-method=socket",
            )
            options = (
                f"--datadir={database}",
                f"--socket={SOCKET}",
                "--skip-networking",
                "--innodb-buffer-pool-size=64M",
            )
            self.start("mariadbd", "--user=mysql", "--innodb-lock-wait-timeout=900", *options)
        until(lambda: answers("mariadb-admin", f"--socket={SOCKET}", "ping"), "the database's answer")
        shell("mariadb", f"--socket={SOCKET}", "-e", GRANTS)
        config = Path("/etc/slurm/slurmdbd.conf")
        config.parent.mkdir(exist_ok=True)
        config.write_text(ACCOUNTING.format(folder=self.folder))
        config.chmod(0o600)

    def _slurm(self) -> None:
        host = socket.gethostname().split(".")[0]
        if not answers("getent", "hosts", host):
            with open("/etc/hosts", "a") as hosts:
                hosts.write(f"127.0.0.1 {host}\n")
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 1024
        text = SLURM.format(host=host, folder=self.folder, cpus=os.cpu_count(), memory=memory)
        Path("/etc/slurm/slurm.conf").write_text(text)
        self.start("slurmdbd", "-D")
        until(lambda: answers("timeout", "5", "sacctmgr", "-n", "list", "cluster"), "the accounting's answer")
        if "book" not in shell("sacctmgr", "-n", "list", "cluster", "format=cluster").stdout:
            shell("sacctmgr", "-i", "add", "cluster", "book")
        self.start("slurmctld", "-D")
        self.start("slurmd", "-D")
        until(lambda: shell("sinfo", "-h", "-N", "-t", "idle", check=False).stdout.strip() != "", "an idle node")

    def stop(self) -> None:
        "End all daemons that were started here, the youngest first."
        for daemon in self.daemons[::-1]:
            if daemon.poll() is None:
                os.killpg(daemon.pid, signal.SIGTERM)
        for daemon in self.daemons:
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
