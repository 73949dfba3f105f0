#!/usr/bin/env python3
"""Run a program on a terminal of its own and look at its screen.

usage: watch.py SCRIPT PROGRAM [ARGUMENT...]

SCRIPT has a step a line: `see TEXT` and `gone TEXT` wait until the screen has or has not TEXT,
`size ROWS COLUMNS` changes the terminal, `fits` has no line longer than the terminal, `type KEYS`
types, `signal NAME` sends a signal, `run COMMAND` runs it in a shell, `stopped` and `goes` wait for
the program's state, `ends STATUS` for its end (a number, or a signal's name). In the end the
screen there was before has to be back, with its cursor and the keyboard's settings.
"""
import fcntl, os, pty, select, signal, struct, subprocess, sys, termios, time

PATIENCE = 15.0


class Screen:
    """As much of a terminal as the programs use."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.cells = [""] * rows
        self.row = self.column = 0
        # Pictures to come, the present one included, that may be for a terminal of another size.
        self.old = 0
        self.alternate, self.cursor = False, True
        self.rest = b""

    def feed(self, data):
        data = self.rest + data
        self.rest = b""
        text = data.decode("utf-8", "ignore")
        at = 0
        while at < len(text):
            c = text[at]
            if c == "\x1b":
                end = at + 2
                if at + 1 >= len(text):
                    break
                assert text[at + 1] == "[", f"an escape nobody expects: {text[at:at+8]!r}"
                while end < len(text) and not text[end].isalpha():
                    end += 1
                if end >= len(text):
                    break
                self.control(text[at + 2 : end], text[end])
                at = end + 1
                continue
            if c == "\r":
                self.column = 0
            elif c == "\n":
                self.row = min(self.row + 1, self.rows - 1)
            else:
                assert c.isprintable(), f"{c!r} on the screen"
                if self.row < self.rows:
                    line = self.cells[self.row].ljust(self.column)
                    self.cells[self.row] = line[: self.column] + c + line[self.column + 1 :]
                self.column += 1
                assert self.column <= self.columns or self.old, f"longer than the terminal: {self.cells[self.row]!r}"
            at += 1
        self.rest = text[at:].encode()

    def control(self, argument, kind):
        if kind == "H":
            self.row = self.column = 0
            self.old = max(self.old - 1, 0)
        elif kind == "K":
            self.cells[self.row] = "" if argument == "2" else self.cells[self.row][: self.column]
        elif kind == "J":
            self.cells[self.row] = self.cells[self.row][: self.column]
            self.cells[self.row + 1 :] = [""] * (self.rows - self.row - 1)
        elif argument == "?1049":
            self.alternate = kind == "h"
            self.cells = [""] * self.rows
        elif argument == "?25":
            self.cursor = kind == "h"
        else:
            raise AssertionError(f"a control nobody expects: {argument}{kind}")

    def text(self):
        return "\n".join(self.cells)


class Program:
    def __init__(self, argv):
        self.screen = Screen(24, 80)
        self.master, self.slave = pty.openpty()
        self.size(24, 80)
        self.settings = termios.tcgetattr(self.slave)
        self.status = None
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            for fd in range(3):
                os.dup2(self.slave, fd)
            os.execvp(argv[0], argv)

    def size(self, rows, columns):
        # What is under way was written for the terminal as it is.
        while self.readable(0):
            self.screen.feed(os.read(self.master, 65536))
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.rows, self.screen.columns = rows, columns
        self.screen.cells = [""] * rows
        # As terminals do.
        self.screen.row = min(self.screen.row, rows - 1)
        # The rest of one picture, or the next one, may have been made before the program knew.
        self.screen.old = 2

    def readable(self, seconds):
        return bool(select.select([self.master], [], [], seconds)[0])

    def turn(self, seconds=0.2):
        if self.readable(seconds):
            try:
                self.screen.feed(os.read(self.master, 65536))
            except OSError:
                pass
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if pid and not os.WIFSTOPPED(status) and not os.WIFCONTINUED(status):
                self.status = os.waitstatus_to_exitcode(status)

    def until(self, what, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                sys.exit(f"gave up waiting for: {what}; status {self.status}, screen:\n{self.screen.text()}")
            self.turn()

    def state(self):
        with open(f"/proc/{self.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]


def main():
    program = Program(sys.argv[2:])
    for step in open(sys.argv[1]).read().splitlines():
        word, _, rest = step.partition(" ")
        screen = program.screen
        if word == "see":
            program.until(step, lambda: rest in screen.text() and screen.alternate)
        elif word == "gone":
            program.until(step, lambda: rest not in screen.text() and screen.alternate)
        elif word == "size":
            program.size(*map(int, rest.split()))
        elif word == "type":
            os.write(program.master, rest.encode())
        elif word == "signal":
            os.kill(program.pid, getattr(signal, rest))
        elif word == "run":
            subprocess.run(rest, shell=True, check=True)
        elif word == "stopped":
            program.until(step, lambda: program.state() == "T" and not screen.alternate and screen.cursor)
            assert termios.tcgetattr(program.slave) == program.settings, "the keyboard is not as it was"
        elif word == "goes":
            program.until(step, lambda: program.state() != "T" and screen.alternate and not screen.cursor)
            assert termios.tcgetattr(program.slave) != program.settings, "keys are not read one by one"
        elif word == "ends":
            program.until(step, lambda: program.status is not None)
            while program.readable(0):
                program.turn(0)
            wanted = -getattr(signal, rest) if rest.startswith("SIG") else int(rest)
            assert program.status == wanted, f"it ended with {program.status}, not {wanted}"
            assert not screen.alternate and screen.cursor, "the screen is not as it was"
            assert termios.tcgetattr(program.slave) == program.settings, "the keyboard is not as it was"
            return
        elif word:
            sys.exit(f"no such step: {step}")
    os.kill(program.pid, signal.SIGKILL)
    sys.exit("the script has no end")


main()
