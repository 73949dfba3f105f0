"""dog.py FIFO PIDFILE LOG SECONDS: a watchdog, as far as one can be had without a kernel's.

What is written to the FIFO feeds it; the process group of the process that PIDFILE names is killed
when nothing comes for so many seconds. LOG tells of that, each line with its time.
"""
import os
import select
import signal
import sys
import time

fifo, pidfile, log, timeout = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
device = os.open(fifo, os.O_RDWR)


def say(what):
    with open(log, "a") as out:
        out.write("%s %.3f\n" % (what, time.time()))


armed = False
while True:
    ready, _, _ = select.select([device], [], [], timeout if armed else None)
    if not ready:
        with open(pidfile) as file:
            os.killpg(int(file.read()), signal.SIGKILL)
        say("reset")
        armed = False
        continue
    data = os.read(device, 64)
    say("fed" if armed else "armed")
    armed = not data.endswith(b"V")
    if not armed:
        say("disarmed")
