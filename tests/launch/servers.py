"""Real servers for the tests of `greta launch`, on loopback and for one test: an sshd with keys made for it, and
a Slurm cluster of one node. Each says in `lacking()` what is not installed."""

import contextlib
import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time


def program(name):
    """Debian keeps servers in sbin, which may not be on the PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(holds, what, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)


def stop(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class SshServer:
    """`box` of `config` is this machine, by a server that takes `key` and gives the session `environment`."""

    @staticmethod
    def lacking():
        return [name for name in ["sshd", "ssh", "ssh-keygen"] if program(name) is None]

    def __init__(self, folder, environment=()):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.port = free_port()
        for name in ["host", "key", "stranger"]:
            self.make_key(name)
        settings = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.folder / "host",
            "PidFile": "none",
            "AuthorizedKeysFile": self.folder / "key.pub",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "UsePAM": "no",
            "MaxStartups": "100",
        }
        lines = [f"{name} {value}" for name, value in settings.items()]
        if environment:
            lines.append("SetEnv " + " ".join(f'{name}="{value}"' for name, value in dict(environment).items()))
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")
        self.config = self.folder / "config"
        self.know(self.folder / "host.pub")
        self.write_config()
        self.process = None
        self.start()

    def make_key(self, name):
        subprocess.run([program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)

    def know(self, public_key):
        """The host key that our side expects; none for None."""
        words = public_key.read_text().split() if public_key else []
        entry = f"[127.0.0.1]:{self.port} {words[0]} {words[1]}\n" if words else ""
        (self.folder / "known_hosts").write_text(entry)

    def write_config(self, key="key", port=None, address="127.0.0.1"):
        self.config.write_text(
            f"Host box box2\n  HostName {address}\n  Port {port or self.port}\n  IdentityFile {self.folder / key}\n"
            f"  IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile {self.folder / 'known_hosts'}\n"
            "  GlobalKnownHostsFile none\n  ConnectTimeout 5\n")

    def start(self):
        if os.geteuid() == 0:
            pathlib.Path("/run/sshd").mkdir(exist_ok=True)  # where sshd drops its privileges to
        log = (self.folder / "log").open("ab")
        # A session of its own: stop() ends it with all its connections.
        self.process = subprocess.Popen([program("sshd"), "-D", "-e", "-f", self.folder / "sshd_config"],
                                        stdout=log, stderr=log, start_new_session=True)
        log.close()
        wait_until(self.answers, f"sshd does not answer: {(self.folder / 'log').read_text()}")

    def answers(self):
        with contextlib.closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def connections(self):
        """The processes of the server that serve connections."""
        parents = {}
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                head, _, tail = stat.read_text().rpartition(")")
                pid, _, name = head.partition(" (")
                parents[int(pid)] = (name, int(tail.split()[1]))
        served, found = {self.process.pid}, []
        while more := [pid for pid, (name, parent) in parents.items()
                       if name == "sshd" and parent in served and pid not in served]:
            served.update(more)
            found.extend(more)
        return found

    def cut(self):
        """Ends all connections; what was started by them goes on."""
        for pid in self.connections():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self):
        os.kill(self.process.pid, signal.SIGSTOP)  # so that there is no new one meanwhile
        self.cut()
        self.process.kill()
        self.process.wait()


class SlurmCluster:
    """slurmctld, slurmd and munged in `folder`; `environment` is for Slurm's commands."""

    NAMES = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol"]

    @classmethod
    def lacking(cls):
        return [name for name in cls.NAMES if program(name) is None]

    def __init__(self, folder, cpus=2):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.folder.chmod(0o755)
        for name in ["state", "spool"]:
            (self.folder / name).mkdir()
        node = socket.gethostname().split(".")[0]
        user = getpass.getuser()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        settings = {
            "ClusterName": "test",
            "SlurmctldHost": f"{node}(127.0.0.1)",
            "SlurmctldPort": free_port(),
            "SlurmdPort": free_port(),
            "SlurmUser": user,
            "SlurmdUser": user,
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self.folder}/munge.socket",
            "CryptoType": "crypto/munge",
            "StateSaveLocation": self.folder / "state",
            "SlurmdSpoolDir": self.folder / "spool",
            "SlurmctldPidFile": self.folder / "slurmctld.pid",
            "SlurmdPidFile": self.folder / "slurmd.pid",
            "SlurmctldLogFile": self.folder / "slurmctld.log",
            "SlurmdLogFile": self.folder / "slurmd.log",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core",
            "SchedulerParameters": "sched_interval=1,batch_sched_delay=0,requeue_delay=0",
            "ReturnToService": 2,
            "KillWait": 3,
            "MpiDefault": "none",
            "AccountingStorageType": "accounting_storage/none",
            "JobAcctGatherType": "jobacct_gather/none",
        }
        lines = [f"{name}={value}" for name, value in settings.items()]
        lines += [f"NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN",
                  f"PartitionName=all Nodes={node} Default=YES MaxTime=INFINITE State=UP"]
        (self.folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self.processes = []
        self.begin([program("munged"), "--foreground", "--force", f"--key-file={key}",
                    f"--socket={self.folder}/munge.socket", f"--pid-file={self.folder}/munged.pid",
                    f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munged.seed"])
        wait_until((self.folder / "munge.socket").exists, "munged does not answer")
        self.begin([program("slurmctld"), "-D"])
        self.begin([program("slurmd"), "-D", "-N", node])
        wait_until(lambda: "idle" in self.run(["sinfo", "-h", "-o", "%T"]), f"the node is not idle: {self.logs()}", 40)

    def begin(self, command):
        log = (self.folder / f"{pathlib.Path(command[0]).name}.out").open("wb")
        self.processes.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log,
                                               start_new_session=True))
        log.close()

    def logs(self):
        return "".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))

    def run(self, command):
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def stop(self):
        self.run(["scancel", "-u", getpass.getuser()])
        for process in reversed(self.processes):
            stop(process)
