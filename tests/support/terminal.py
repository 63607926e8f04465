"""Runs a command on its own terminal, and types a line of stdin at each question.

    python3 terminal.py MODES COMMAND [ARG]...

MODES are the names of input modes that are set before the start, separated by commas. Stdout gets the terminal's
output. Stderr says whether the terminal's settings are the same as before, and how many bytes were not read. The exit
code is the command's, or 128 plus the number of the signal that ended it.
"""

import fcntl
import os
import re
import select
import signal
import sys
import termios

QUESTION = re.compile(rb"(passphrase|passphrase to encrypt with|repeat the passphrase): $|\[y/N\] $")


def start(slave, command):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for stream in range(3):
            os.dup2(slave, stream)
        os.execvp(command[0], command)
    return pid


def run(master, pid, answers):
    said, status = b"", None
    while True:
        if select.select([master], [], [], 0.02)[0]:
            said += os.read(master, 65536)
            if QUESTION.search(said) and answers:
                os.write(master, answers.pop(0) + b"\n")
        elif status is not None:
            return said, status
        else:
            ended, how = os.waitpid(pid, os.WNOHANG)
            status = how if ended else None


def main(modes, *command):
    signal.alarm(60)
    answers = sys.stdin.buffer.read().split(b"\n")
    master, slave = os.openpty()
    settings = termios.tcgetattr(slave)
    for mode in filter(None, modes.split(",")):
        settings[0] |= getattr(termios, mode)
    termios.tcsetattr(slave, termios.TCSANOW, settings)
    before = termios.tcgetattr(slave)
    said, status = run(master, start(slave, command), answers)
    after = termios.tcgetattr(slave)
    os.set_blocking(slave, False)
    try:
        left = os.read(slave, 65536)
    except BlockingIOError:
        left = b""
    sys.stdout.buffer.write(said)
    print("settings:", "as before" if after == before else f"{before} {after}", "left:", len(left), file=sys.stderr)
    code = os.waitstatus_to_exitcode(status)
    sys.exit(code if code >= 0 else 128 - code)


main(*sys.argv[1:])
