"""Signals that ask a run to end: each is an interruption that is told, whatever is done when it comes."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

# MindSpore, once it has compiled, answers Ctrl-C by sending itself SIGTERM: both are an interruption. So is closing the
# terminal.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_SECONDS = 1.0  # MindSpore's second signal comes sooner
_RETRY_SECONDS = 0.05


def catch() -> list[int]:
    """Have the signals raise KeyboardInterrupt, except those that a shell or nohup has ignored.

    One whose exception was lost is sent again, as Python loses what is raised in a ``__del__``.

    Returns:
        The numbers of those that have come, as they come.
    """
    received: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    for number, handler in _handlers().items():
        if handler != signal.SIG_IGN:
            signal.signal(number, interrupt)
    before = sys.unraisablehook

    def send_again() -> None:
        if signal.getsignal(received[-1]) is not signal.SIG_DFL:  # it is not told yet
            os.kill(os.getpid(), received[-1])

    def hook(unraisable: Any) -> None:
        if received and isinstance(unraisable.exc_value, KeyboardInterrupt):
            again = threading.Timer(_RETRY_SECONDS, send_again)
            again.daemon = True
            again.start()
        else:
            before(unraisable)

    sys.unraisablehook = hook
    return received


def release(received: Sequence[int]) -> None:
    """Let the next one end the process at once, for when an interruption is told.

    Not so MindSpore's answer to Ctrl-C, if that is in ``received``: it may come late, and is no second one.
    """
    for number, handler in _handlers().items():
        if callable(handler):
            answer = number == signal.SIGTERM and signal.SIGINT in received
            signal.signal(number, signal.SIG_IGN if answer else signal.SIG_DFL)


@contextmanager
def deferred() -> Iterator[None]:
    """Let the signals wait until the context is over; one that is sent again, later, does not wait.

    An exception that a signal's handler raises while native code calls Python is not always passed on: MindSpore takes
    it for a damaged file, or it aborts the process.
    """
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread alone
        yield
        return
    handlers = {int(number): handler for number, handler in _handlers().items() if callable(handler)}
    received: dict[int, float] = {}  # the signals, and when each came first

    def later(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        again = any(now - first > _AGAIN_SECONDS for first in received.values())
        received.setdefault(number, now)
        if again:
            handlers[number](number, frame)

    for number in handlers:
        signal.signal(number, later)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(next(iter(received)))


def _handlers() -> Mapping[signal.Signals, Any]:
    return {number: signal.getsignal(number) for number in _SIGNALS}
