"""Fetching against curl, on one file of 1 GB that a server on loopback sends; and fifty processes that want one file.

Prints the ratio of the rates, whole commands with hashing and start included, median of the runs; curl and hubpkg take
turns. Then the peak memory, and how many bodies the server sent to fifty processes. Needs curl, and 3 GB of free space.

python benchmarks/fetch.py [--runs N] [--megabytes N]
"""

import argparse
import hashlib
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROCESSES = 50


def serve(listener, path, bodies):
    """Send the file at ``path`` to whoever asks, without copying it through this process."""
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            with connection, path.open("rb") as file:
                connection.recv(65536)
                size = path.stat().st_size
                connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: %d\r\n\r\n' % size)
                connection.sendfile(file)
            with bodies.get_lock():
                bodies.value += 1
            os._exit(0)
        connection.close()


def timed(command, environment=None):
    """Seconds that ``command`` takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
    return time.perf_counter() - start


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        folder = Path(temporary)
        source = folder / "weights.bin"
        block = os.urandom(1_000_000)
        with source.open("wb") as file:
            for _ in range(options.megabytes):
                file.write(block)
        with source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        bodies = multiprocessing.Value("i", 0)
        server = multiprocessing.Process(target=serve, args=(listener, source, bodies), daemon=True)
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/weights.bin"
        cache, copy = folder / "cache", folder / "copy"
        fetch = [sys.executable, "-m", "hubpkg", "fetch", url, "--sha256", sha256]
        curl_seconds, fetch_seconds = [], []
        for _ in range(options.runs):
            curl_seconds.append(timed(["curl", "--silent", "--output", str(copy), url]))
            copy.unlink()
            fetch_seconds.append(timed(fetch, {"HUBPKG_CACHE": str(cache)}))
            subprocess.run(["rm", "-rf", str(cache)], check=True)
        curl, hubpkg = statistics.median(curl_seconds), statistics.median(fetch_seconds)
        print(f"curl:   {options.megabytes / curl:7.0f} MB/s, median of {options.runs}")
        print(f"hubpkg: {options.megabytes / hubpkg:7.0f} MB/s, hashing and start included, median of {options.runs}")
        print(f"rate of hubpkg to curl: {curl / hubpkg:.2f} (promised: at least 0.9)")
        children = [subprocess.Popen(fetch, env={**os.environ, "HUBPKG_CACHE": str(cache)}, stdout=subprocess.DEVNULL)]
        _, status, usage = os.wait4(children[0].pid, 0)
        children[0].returncode = status
        print(f"peak memory: {usage.ru_maxrss / 1000:.0f} MB (promised: under 120)")
        subprocess.run(["rm", "-rf", str(cache)], check=True)
        source.write_bytes(block * 20)
        small = hashlib.sha256(block * 20).hexdigest()
        before = bodies.value
        environment = {**os.environ, "HUBPKG_CACHE": str(cache)}
        command = [*fetch[:-1], small]
        many = [
            subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _ in range(PROCESSES)
        ]
        right = sum(process.wait() == 0 for process in many)
        sent = bodies.value - before
        print(f"{PROCESSES} processes, one file of 20 MB: {right} got it, bodies sent: {sent} (promised: 1)")
        server.kill()


if __name__ == "__main__":
    main()
