"""An HTTP server on loopback that answers as a test has it, and client processes that can be killed at any place."""

import json
import os
import resource
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from email.utils import formatdate
from pathlib import Path

ROOT = Path(__file__).parents[1]
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "*"  # a proxy of this machine knows nothing of its loopback
_PAUSE = 0.02


class Exchange:
    """A request, and the connection for its answer.

    Attributes:
        method, path: of the request.
        headers: of the request; the names in lower case.
        sent: so many bytes of the body were sent.
    """

    def __init__(self, connection, closing, request):
        line, *lines = request.decode("latin-1").split("\r\n")
        self.method, self.path, _ = line.split(" ")
        self.headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}
        self.sent = 0
        self._connection, self._closing = connection, closing

    def head(self, status, **headers):
        """Send the status and the headers, whose names have _ for -."""
        lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
        self._connection.sendall(f"HTTP/1.1 {status}\r\nConnection: close\r\n{''.join(lines)}\r\n".encode("latin-1"))

    def send(self, data):
        view = memoryview(data)
        while view:
            count = self._connection.send(view)
            self.sent += count
            view = view[count:]

    def hang(self):
        """Say nothing more until the client goes away, or the server is closed."""
        self._connection.settimeout(_PAUSE)
        while not self._closing.is_set():
            with suppress(TimeoutError):
                if not self._connection.recv(1):
                    return

    def reset(self):
        """Break the connection off, as a machine does that knows nothing of it."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


class Server:
    """Gives each request the next of its answers, and the last one to all that come later.

    An answer is called with the Exchange.

    Attributes:
        answers: those that are left.
        port: where it listens.
        exchanges: all requests so far, in their order.
        connections: how many there were, with or without a request.
        context: for TLS; None: plain http.
    """

    def __init__(self, *answers, host="127.0.0.1", port=0, context=None):
        self.answers, self.context = list(answers), context
        self.exchanges, self.connections = [], 0
        self._host, self.port = host, port
        self._lock, self._closing, self._threads = threading.Lock(), threading.Event(), []

    def __enter__(self):
        self._socket = socket.create_server((self._host, self.port), backlog=128)
        self._socket.settimeout(_PAUSE)
        self.port = self._socket.getsockname()[1]
        self._run(self._accept)
        return self

    def __exit__(self, *_):
        self._closing.set()
        while self._threads:
            self._threads.pop(0).join()
        self._socket.close()

    def url(self, path="/model.ckpt"):
        return f"{'https' if self.context else 'http'}://{self._host}:{self.port}{path}"

    @property
    def sent(self):
        """So many bytes of bodies were sent, over all requests."""
        return sum(exchange.sent for exchange in self.exchanges)

    def ranges(self):
        """The header Range of each request, None where it had none."""
        return [exchange.headers.get("range") for exchange in self.exchanges]

    def _run(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self._closing.is_set():
            with suppress(TimeoutError):
                connection, _ = self._socket.accept()
                self.connections += 1
                self._run(self._serve, connection)

    def _serve(self, connection):
        with suppress(OSError), connection:  # the client may go away whenever it likes
            connection.settimeout(60)
            if self.context:
                with self.context.wrap_socket(connection, server_side=True) as secured:
                    self._answer(secured)
            else:
                self._answer(connection)

    def _answer(self, connection):
        request = b""
        while b"\r\n\r\n" not in request:
            block = connection.recv(65536)
            if not block:
                return
            request += block
        exchange = Exchange(connection, self._closing, request.partition(b"\r\n\r\n")[0])
        with self._lock:
            self.exchanges.append(exchange)
            answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        answer(exchange)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            exchange.hang()  # the client has all of it before the connection is gone


def file(body, etag='"1"'):
    """The answer of a server that does everything right: Range, If-Range, and 416."""

    def answer(exchange):
        start = exchange.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
        start = int(start) if exchange.headers.get("if-range", etag) == etag else 0
        if start >= len(body) > 0:
            exchange.head("416 Range Not Satisfiable", Content_Range=f"bytes */{len(body)}", Content_Length=0)
        elif start:
            partial(body, start, etag)(exchange)
        else:
            whole(body, ETag=etag)(exchange)

    return answer


def whole(body, status="200 OK", **headers):
    """The answer that says how long ``body`` is, and has all of it."""
    return cut(body, len(body), status, **headers)


def partial(body, start, etag='"1"', then=None):
    """The answer that has the part from byte ``start`` on, whatever was asked for; or does ``then`` for the part."""

    def answer(exchange):
        content_range = f"bytes {start}-{len(body) - 1}/{len(body)}"
        exchange.head("206 Partial Content", Content_Length=len(body) - start, Content_Range=content_range, ETag=etag)
        if then is None:
            exchange.send(body[start:])
        else:
            then(exchange)

    return answer


def cut(body, count, status="200 OK", *, then=None, **headers):
    """The answer that says how long ``body`` is, has its first ``count`` bytes, and ends; or does ``then``."""

    def answer(exchange):
        exchange.head(status, **{"Content_Length": len(body), "ETag": '"1"', **headers})
        exchange.send(body[:count])
        if then is not None:
            then(exchange)

    return answer


def error(status, **headers):
    """The answer of a server that has nothing but ``status`` to say."""
    return whole(b"no", status, Content_Type="text/plain", **headers)


def redirect(url):
    return whole(b"", "302 Found", Location=url)


def date(seconds):
    """``seconds`` from now, as HTTP writes it."""
    return formatdate(time.time() + seconds, usegmt=True)


def wait_until(condition):
    """Return when ``condition()`` holds, which it must within a minute."""
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "expected it to become true, found that it did not"
        time.sleep(0.001)


def certificate(authority, host):
    """The context of a server that ``authority``, of trustme, says is ``host``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


class Clients:
    """Processes that fetch, each forked from one that has everything imported and no thread."""

    def __enter__(self):
        self._parent = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        return self

    def __exit__(self, *_):
        self._parent.communicate()

    def start(self, call, *arguments, **options):
        """Run a call of _CALLS in a new process; give its id.

        The options are those of _prepare.
        """
        return self._order("start", [call, arguments, {"folder": os.environ["HUBPKG_CACHE"], **options}])

    def wait(self, pid):
        """What the call gave, or what it raised; how the process ended, where it was killed."""
        return self._order("wait", pid)

    def _order(self, *order):
        print(json.dumps(order), file=self._parent.stdin, flush=True)
        return json.loads(self._parent.stdout.readline())


def _fork_clients():
    from hubpkg import cache, fetch, lockfile, progress  # noqa: F401 - not once in each client
    from hubpkg.transport import Policy

    for module in ("filelock", "platformdirs", "requests", "rich", "urllib3"):
        __import__(module)
    calls = {
        "fetch": lambda urls, sha256, policy: str(fetch.fetch(urls, sha256, Policy(**policy), lambda _: None)),
        "add": lambda text: cache.add(text.encode()),
        "pin": lockfile.pin,
    }
    results = {}
    for line in sys.stdin:
        kind, order = json.loads(line)
        if kind == "start":
            reader, writer = os.pipe()
            pid = os.fork()
            if not pid:
                call, arguments, options = order
                _be_client(calls[call], arguments, options, writer)
            os.close(writer)
            results[pid] = reader
            answer = pid
        else:
            with open(results.pop(order), encoding="utf-8") as result:  # noqa: PTH123 - a descriptor has no path
                answer = result.read()
            _, status = os.waitpid(order, 0)
            if os.WIFSIGNALED(status):
                answer = signal.Signals(os.WTERMSIG(status)).name
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


def _be_client(call, arguments, options, writer):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _prepare(**options)
            result = str(call(*arguments))
    except BaseException as fault:  # noqa: BLE001 - whatever it is, the test that asked is told
        result = f"{type(fault).__name__}: {fault}"
    os.write(writer, result.encode())
    os._exit(0)


def _prepare(folder, user=None, largest=None, killed_before=None):
    """Let the process use the cache ``folder``; as ``user``, with no file that is larger than ``largest`` bytes.

    It is killed before its operation ``killed_before`` on a file, counted from 0.
    """
    os.environ["HUBPKG_CACHE"] = folder
    if largest is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the system call fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    if killed_before is not None:
        left = iter(range(killed_before))

        def count(event, values):
            if (
                event in {"open", "os.mkdir", "os.rename", "os.remove", "os.chmod", "os.utime"}
                and str(values[0]).startswith(folder)
                and next(left, None) is None
            ):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)


@contextmanager
def no_socket(monkeypatch):
    """Let every attempt to open a socket, or to look a name up, fail."""

    def fail(*arguments, **_):
        raise AssertionError(f"expected no socket to be opened, found {arguments}")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", fail)
        patch.setattr(socket, "getaddrinfo", fail)
        yield


if __name__ == "__main__":
    _fork_clients()
