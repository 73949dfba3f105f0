"""Two network namespaces with a cable, what serves in one of them, and what drives it from the
other or on the spot."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

BIN = pathlib.Path(os.environ["BIN"])
RELEASE = pathlib.Path(os.environ["RELEASE"])
# A private pair for NBD; AoE needs no addresses.
SERVER, CLIENT = "169.254.77.1", "169.254.77.2"


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, **options).stdout


class Rig:
    def __init__(self, mib):
        self.mib, self.running = mib, []
        self.a, self.b = f"fnb{os.getpid()}-a", f"fnb{os.getpid()}-b"
        # On a disk: a RAM file system makes every write durable at once.
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="fivenines-bench.", dir=os.environ.get("BENCH_DIR", "/var/tmp")))
        for name in (self.a, self.b):
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "name", "eth1", "netns", self.a, "type", "veth", "peer", "name", "eth1", "netns", self.b)
        for name, address in ((self.a, SERVER), (self.b, CLIENT)):
            run("ip", "-n", name, "addr", "add", f"{address}/30", "dev", "eth1")

    def mtu(self, mtu):
        for name in (self.a, self.b):
            run("ip", "-n", name, "link", "set", "eth1", "mtu", mtu, "up")

    def file(self, name):
        """Allocated and written: nobody pays for blocks that others have found."""
        path = self.work / name
        if not path.exists():
            with open(path, "wb") as file:
                for _ in range(self.mib):
                    file.write(bytes(1 << 20))
                os.fsync(file.fileno())
        return path

    def warm(self):
        """What a busy machine has dropped from memory is read again."""
        for path in self.work.glob("*.disk"):
            with open(path, "rb") as file:
                while file.read(1 << 20):
                    pass

    def settle(self):
        """What is left in memory is not the next one's to wait for."""
        for path in self.work.glob("*.disk"):
            with open(path, "r+b") as file:
                os.fsync(file.fileno())

    def slow_store(self):
        """A file whose every read and write takes a millisecond, however many are under way; and
        the socket of the store behind it."""
        socket, folder = self.work / "slow.sock", self.work / "slow"
        folder.mkdir()
        store = ["nbdkit", "-f", "-t", 64, "-U", socket, "--filter=delay", "memory", f"size={self.mib}M"]
        mounted = ["nbdfuse", "-C", 8, folder / "file", "--unix", socket]
        for words, there in (([*store, "rdelay=1ms", "wdelay=1ms"], socket.exists), (mounted, folder.is_mount)):
            self.running.append(subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL))
            deadline = time.monotonic() + 10
            while not there():
                if time.monotonic() > deadline:
                    raise SystemExit(f"scripts/bench.d/aoe: {words[0]} did not start")
                time.sleep(0.02)
        # The kernel lets FUSE have 12 requests under way unless told otherwise.
        control = self.work / "fusectl"
        control.mkdir()
        run("mount", "-t", "fusectl", "none", control)
        number = os.minor(os.stat(folder).st_dev)
        for knob in ("max_background", "congestion_threshold"):
            (control / str(number) / knob).write_text("256")
        run("umount", control)
        return folder / "file", socket

    def serve(self, name, *command):
        """Starts a server; it serves when it has printed a line, or taken a connection."""
        out, err = open(self.work / f"{name}.out", "w+b"), open(self.work / f"{name}.err", "w+b")
        words = ["ip", "netns", "exec", self.a, *map(str, command)]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        self.running.append(process)
        port = next((word for word in words if re.fullmatch(r"108\d\d", word)), None)
        deadline = time.monotonic() + 10
        while not (self.connects(port) if port else out.seek(0) == 0 and out.read(1)):
            if process.poll() is not None or time.monotonic() > deadline:
                err.seek(0)
                raise SystemExit(f"scripts/bench.d/aoe: {name} did not start: {err.read().decode().strip()}")
            time.sleep(0.02)
        return process.pid

    def connects(self, port):
        probe = ["ip", "netns", "exec", self.b, "python3", "-c"]
        code = f"import socket; socket.create_connection(('{SERVER}', {port}), 1)"
        return subprocess.run([*probe, code], stderr=subprocess.DEVNULL).returncode == 0

    def stop(self):
        # The last one first: a file system ends before what it is made of.
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
            process.wait()
        self.running = []

    def close(self):
        self.stop()
        for name in (self.a, self.b):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        shutil.rmtree(self.work, ignore_errors=True)

    def aoe(self, pid, shelf, slot, cell, seconds, seed):
        """Our load generator against a target."""
        words = ["--depth", cell.depth, "--size", cell.size, "--writes", cell.writes]
        words += ["--seconds", seconds, "--seed", seed, "--pid", pid, "eth1", shelf, slot]
        out = run("ip", "netns", "exec", self.b, BIN / "examples/aoe-load", *words)
        found = json.loads(out)
        return {key: found[key] for key in ("iops", "p50_us", "p99_us", "cpu_us", "retransmissions")}

    def fio(self, cell, seconds, seed, *how, away=False):
        """fio on a file, or over NBD from the other namespace."""
        kind = {0: "randread", 100: "randwrite"}.get(cell.writes, "randrw")
        words = ["fio", "--name=bench", "--thread", "--output-format=json", "--norandommap", "--time_based"]
        words += [f"--rw={kind}", f"--bs={cell.size}", f"--size={self.mib}M", f"--randseed={seed}"]
        words += [f"--runtime={seconds * 1000:.0f}ms", f"--ramp_time={seconds * 100:.0f}ms"]
        if kind == "randrw":
            words.append(f"--rwmixwrite={cell.writes}")
        away = ["ip", "netns", "exec", self.b] if away else []
        out = run(*away, *words, *how)
        # Notes of its own come first.
        found = json.loads(out[out.index("{\n") :])["jobs"][0]
        parts = [found[side] for side in ("read", "write") if found[side]["total_ios"]]
        # Of a mixture, the slower side's.
        at = lambda share: max(part["clat_ns"].get("percentile", {}).get(share, 0) for part in parts) / 1000
        return {"iops": sum(part["iops"] for part in parts), "p50_us": at("50.000000"), "p99_us": at("99.000000")}
