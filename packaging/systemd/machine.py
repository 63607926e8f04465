"""A machine that packaging/systemd/boot runs, and the commands of a document that run on it."""

import re
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATH = "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = ["env", "-i", "-C", "/opt", PATH, "HOME=/root", "LANG=C.UTF-8", "TZ=UTC"]


def wait_for(what, condition, seconds=120):
    """Waits until `condition` gives something, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


class Machine:
    """A running machine. It ends with the `with` block."""

    def __init__(self, root):
        self.root = root

    def __enter__(self):
        self.boot = subprocess.Popen([HERE / "boot", self.root], stdin=subprocess.DEVNULL)
        try:
            self.init = wait_for("the first process", self._init, 30)
            wait_for("systemd", self._is_up)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.boot.terminate()
        self.boot.wait()

    def _is_up(self):
        return self.try_run("systemctl is-system-running")[1].strip() in ("running", "degraded")

    def _init(self):
        """The process id of the machine's systemd, as this machine sees it."""
        processes = {self.boot.pid}
        # boot, its subshell (which becomes unshare), and the first process of the machine.
        for _ in range(2):
            found = [path for path in Path("/proc").glob("[0-9]*/stat") if parent(path) in processes]
            processes = {int(path.parent.name) for path in found}
        for process in processes:
            if command(process) == "systemd":
                return process
        return None

    def path(self, path):
        """A file of the machine, as this machine sees it."""
        return Path(f"/proc/{self.init}/root") / path.lstrip("/")

    def write(self, path, text, mode=0o644):
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def enter(self, *arguments):
        """A command line that runs `arguments` on the machine."""
        namespaces = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd"]
        return ["nsenter", f"--target={self.init}", *namespaces, *ENVIRONMENT, *arguments]

    def try_run(self, script):
        """The exit code and the output of a shell script."""
        done = subprocess.run(
            self.enter("bash", "-c", script),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        return done.returncode, done.stdout

    def run(self, script):
        """The output of a shell script that succeeds."""
        code, output = self.try_run(script)
        assert code == 0, f"{script}: exit code {code}\n{output}\n{self.try_run('journalctl -n 30 --no-pager')[1]}"
        return output.strip()

    def show(self, unit, name):
        """A property of a unit."""
        return self.run(f"systemctl show -P {name} '{unit}'")


def parent(stat):
    try:
        return int(stat.read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def command(process):
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return None


FENCE = re.compile(r"^(?P<before>(?:<!-- [^\n]* -->\n)?)```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


def blocks(document):
    """The comment before each fenced block, its language and its text."""
    return [match.group("before", "language", "text") for match in FENCE.finditer(document)]


def commands(text):
    """The commands of a console block, each with the output that is expected."""
    found, lines = [], text.splitlines()
    while lines:
        line = lines.pop(0)
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command = command + "\n" + lines.pop(0)
            found.append((command, []))
        else:
            found[-1][1].append(line)
    return found


def fits(expected, printed):
    """Whether a text is as expected: `[..]` stands for any text in a line, and `...` for any lines."""
    pattern = ""
    for line in expected:
        if line == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.rstrip().split("[..]")) + r"[ ]*\n"
    return re.fullmatch(pattern, printed) is not None


class Session:
    """A bash on the machine that runs one command after the other."""

    END = "end of a command"

    def __init__(self, machine):
        self.count = 0
        self.bash = subprocess.Popen(
            machine.enter("bash", "--norc"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command):
        # `$?` of the command before is kept for the command.
        self.bash.stdin.write(f"{{ {command}\n}} </dev/null; code=$?; echo '{self.END}' $code; (exit $code)\n")
        self.bash.stdin.flush()
        printed = ""
        for line in self.bash.stdout:
            if self.END in line:
                rest, code = line.rsplit(self.END, 1)
                return printed + rest, int(code)
            printed += line
        raise AssertionError(f"the shell ended: {command}\n{printed}")

    def block(self, text):
        """Runs a console block, and compares what it prints."""
        for command, expected in commands(text):
            printed, _ = self.run(command)
            assert fits(expected, printed), f"$ {command}\n{printed}--- expected ---\n" + "\n".join(expected)
            self.count += 1


def write_files(machine, text):
    """A file of the machine whose path is in its first line."""
    path = text.splitlines()[0].removeprefix("# ")
    machine.write(path, text, 0o600 if path.startswith("/etc/waxseal/") else 0o644)
