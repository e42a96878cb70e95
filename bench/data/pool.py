"""Processes that read files, in order; one that does not return, or crashes, is named by its task.

The pool of the standard library waits for ever where a library hangs, and when a process crashes it
does not say at which task.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from bench.spec.errors import printable
from bench.spec.processes import end_with_launcher, keep_memory

Task = TypeVar("Task")
Result = TypeVar("Result")
AHEAD = 1
"""Groups of tasks that wait in each process beside the one that it works on."""
LOOK_SECONDS = 1.0
"""Between two looks at readers that are silent."""
LEAVE_SECONDS = 5.0
"""That a reader has to end by itself."""
CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")
"""Signals by which native code ends a process, the same with each attempt."""


Group = tuple[int, ...]
"""Numbers of tasks that are sent and answered together."""


@dataclass(frozen=True)
class Lost:
    """A task that has no result."""

    why: str
    crashed: bool = False
    """Whether native code crashed, so that another attempt would end alike."""


@dataclass
class _Reader:
    """A process, and the groups of tasks that it has: it works on the first."""

    process: BaseProcess
    pipe: Connection
    waiting: deque[Group] = field(default_factory=deque)
    silent: float = 0.0
    """Seconds since it last said anything, of those in which this process looked."""


class Pool(Generic[Task, Result]):
    """Applies a function to tasks in processes.

    Args:
        work: Takes a task; what pickle can send. An exception is raised where its result is due.
        tasks: Are sent to the processes, so they are small.
        jobs: Number of processes.
        seconds: That a task may take, or all that are sent together.
        at_once: Tasks that are sent together, where each takes little. Where such a group is lost,
            each of its tasks is tried alone.
        within: A context that each process works in.
    """

    def __init__(
        self,
        work: Callable[[Task], Result],
        tasks: Sequence[Task],
        jobs: int,
        seconds: float,
        at_once: int = 1,
        within: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._within = within
        self._work, self._tasks, self._seconds = work, tasks, seconds
        # Forked from a small server without threads: a fork of this process, which has some, could
        # wait for ever for a lock that one of them holds.
        self._context = multiprocessing.get_context("forkserver")
        numbers = tuple(range(len(tasks)))
        self._to_do: deque[Group] = deque()
        for start in range(0, len(tasks), at_once):
            self._to_do.append(numbers[start : start + at_once])
        self._jobs = min(jobs, len(self._to_do))
        # In tasks: each reader works on one group, has AHEAD more, and may have finished one.
        self._most_ahead = self._jobs * at_once * (AHEAD + 2)
        self._readers: list[_Reader] = []
        self._results: dict[int, Any] = {}

    def results(self) -> Iterator[Result | Lost]:
        """Yield the result of each task in order; `Lost` of one whose process has ended."""
        try:
            for _ in range(self._jobs):
                self._start()
            for number in range(len(self._tasks)):
                while number not in self._results:
                    self._hand_out(number)
                    self._look()
                result = self._results.pop(number)
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            self._end()

    def _start(self) -> None:
        """Start a reader."""
        own_end, reader_end = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(reader_end, self._work, self._within))
        process.daemon = True
        process.start()
        # The reader has a copy of its end; once this one is closed, a reader that ends is noticed.
        reader_end.close()
        self._readers.append(_Reader(process, own_end))

    def _hand_out(self, due: int) -> None:
        """Give tasks to the readers, none far beyond the one whose result is due."""
        for reader in self._readers:
            while self._to_do:
                first_number = self._to_do[0][0]
                too_far = first_number > due + self._most_ahead
                if too_far or len(reader.waiting) > AHEAD:
                    break
                group = self._to_do.popleft()
                try:
                    reader.pipe.send([self._tasks[number] for number in group])
                except OSError:  # the reader has ended; `_take` finds out why
                    self._to_do.appendleft(group)
                    break
                reader.waiting.append(group)

    def _look(self) -> None:
        """Take the results that are there; end readers that have been silent for too long."""
        began = time.monotonic()
        ready = wait([reader.pipe for reader in self._readers], LOOK_SECONDS)
        # Waiting takes about LOOK_SECONDS at most; longer than twice that, this process was stopped
        # (Ctrl-Z), which is not the reader's time. Its work on results is not counted either.
        waited = min(time.monotonic() - began, 2 * LOOK_SECONDS)
        for reader in list(self._readers):
            if reader.pipe in ready:
                self._take(reader)
            elif reader.waiting:
                reader.silent += waited
                if reader.silent > self._seconds:
                    reader.process.kill()
                    why = f"has not been read within {self._seconds:g} s, so its reader was killed"
                    self._bury(reader, Lost(why))

    def _take(self, reader: _Reader) -> None:
        """Take the results of a reader's first group, or find out why it has ended."""
        try:
            answers = _receive(reader.pipe)
        except (EOFError, OSError):
            reader.process.join(LEAVE_SECONDS)
            code = reader.process.exitcode
            reader.process.kill()  # a library may hang while its process ends
            self._bury(reader, _lost(code))
            return
        reader.silent = 0.0
        self._results.update(zip(reader.waiting.popleft(), answers, strict=True))

    def _bury(self, reader: _Reader, lost: Lost) -> None:
        """Keep why the task of a reader that has ended is lost, and start another reader.

        Only its first group was worked on; the groups behind it are handed out again.
        """
        self._readers.remove(reader)
        reader.pipe.close()
        reader.process.join()
        suspects: Group = ()
        if reader.waiting:
            suspects = reader.waiting.popleft()
        # `extendleft` turns the order around, so it is given the last one first.
        self._to_do.extendleft(reversed(reader.waiting))
        if len(suspects) == 1:
            self._results[suspects[0]] = lost
        else:
            self._to_do.extendleft((number,) for number in reversed(suspects))
        self._start()

    def _end(self) -> None:
        """End all readers: those without work end by themselves when their pipe is closed."""
        for reader in self._readers:
            reader.pipe.close()
            if reader.waiting:
                reader.process.terminate()
        for reader in self._readers:
            reader.process.join(LEAVE_SECONDS)
            reader.process.kill()
            reader.process.join()


def _lost(code: int | None) -> Lost:
    """Return why a process that has ended gave no result."""
    if code is None or code >= 0:
        return Lost(f"cannot be read: its reader ended with exit code {code}")
    name = signal.Signals(-code).name
    if name in CRASHES:
        return Lost(f"cannot be read: a library crashed ({name})", crashed=True)
    if name == "SIGKILL":
        return Lost("cannot be read: its reader was killed, as happens when memory runs out")
    return Lost(f"cannot be read: its reader was killed by {name}")


def _serve(
    pipe: Connection,
    work: Callable[[Any], Any],
    within: Callable[[], AbstractContextManager[object]],
) -> None:
    """Work on tasks in this process until the pipe is closed."""
    # The server that forks readers may ignore SIGTERM (bench/launch/server.py), and a fork inherits
    # that; the pool ends its readers by SIGTERM.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Ctrl-C goes to all processes of a terminal; the pool's own ends its readers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_launcher()  # this process ends when the pool's own is killed
    keep_memory()  # what one image needed is used for the next, not given back to the kernel
    with within():
        _answer(pipe, work)


def _answer(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """Answer each group of tasks with its results, until nobody asks."""
    while True:
        try:
            tasks = pipe.recv()
            _send(pipe, [_result(work, task) for task in tasks])
        except (EOFError, OSError):
            return


def _send(pipe: Connection, answers: list[Any]) -> None:
    """Send answers; their arrays go as they lie in memory, which pickle alone would copy.

    `_receive` expects this order: how many arrays there are with the pickle of the rest, then each
    array's bytes.
    """
    arrays: list[pickle.PickleBuffer] = []
    # Protocol 5 is the first that hands over arrays apart from the rest.
    rest = pickle.dumps(answers, protocol=5, buffer_callback=arrays.append)
    pipe.send((len(arrays), rest))
    for array in arrays:
        pipe.send_bytes(array.raw())


def _receive(pipe: Connection) -> list[Any]:
    """Receive answers; their arrays cannot be written to.

    Raises:
        EOFError: The sender has ended.
    """
    count, rest = pipe.recv()
    answers: list[Any] = pickle.loads(rest, buffers=[pipe.recv_bytes() for _ in range(count)])
    return answers


def _result(work: Callable[[Any], Any], task: Any) -> Any:
    """Return the result of a task, or the exception that it raised."""
    try:
        return work(task)
    except Exception as error:
        return _sendable(error)


def _sendable(error: Exception) -> Exception:
    """Return the exception, or where it cannot be pickled another one with its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception of a library may hold anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


@contextmanager
def watched(name: str, seconds: float) -> Iterator[None]:
    """End this whole process by `os._exit` if the block of the `with` takes longer than `seconds`.

    A line on stderr names what was read. Python cannot interrupt code of a library that hangs, so
    nothing less can end it.
    """

    def end() -> None:
        line = f"bench: {name} has not been read within {seconds:g} s; remove it, and run again"
        print(printable(line), file=sys.stderr, flush=True)
        os._exit(2)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
