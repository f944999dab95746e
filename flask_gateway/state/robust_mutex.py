"""Locks in shared memory which no dead process can keep: POSIX robust mutexes, only ever tried.

Why these, and not ``multiprocessing.Semaphore``: a semaphore does not know who holds it. Whoever
writes his pid beside it can die between taking it and writing, or between wiping and releasing, and
two who find him dead can both release it. A robust mutex has its owner *in* the lock word, put there
by the same compare-and-swap that takes it. Each thread has told the kernel where it keeps the list of
those it holds, with a field for the one it is just taking or releasing; when the thread ends, for
whatever reason, ``kill -9`` included, the kernel walks that list and marks them. The next to try is
told ``EOWNERDEAD`` and *has* the lock: exactly one is, nobody waits, and no pid is looked at, so none
can be mistaken for another's. Only the owner can release: there is no double release. See
pthread_mutexattr_setrobust(3) and the kernel's Documentation/locking/robust-futexes.rst.

Why only tried: any lock that lets go of the interpreter lock while it waits comes back holding the
shared lock and waiting for the interpreter lock, and the other processes queue up behind that.
``ctypes.PyDLL`` keeps the interpreter lock, and neither a try nor a release ever enters the kernel.

Why ``map``: the interpreter switches threads and runs signal handlers at calls and on jumping back, and
nowhere else. A function drawn from a ``map`` made beforehand is not called by the interpreter, so
between taking and releasing, if nothing is called there either, no thread is switched out holding the
lock, and no handler raises before the caller's ``try``. Should an interpreter do otherwise, all that is
lost is this: a holder may have to wait for its turn, and others meet ``StoreBusy`` sometimes.
"""

from __future__ import annotations

import ctypes
import errno
import time
from collections.abc import Iterator
from itertools import repeat
from mmap import mmap

from .contract import StoreBusy, StoreError

#: Bytes from one mutex to the next: a cache line, and more than any ABI's ``pthread_mutex_t``
#: (24 to 48 bytes with glibc and musl).
SPACING = 64

#: How long a try may go on, seconds. What a mutex guards takes microseconds, so a holder seen all this
#: time is stopped, swapped out, or many threads away from its turn at the interpreter.
PATIENCE = 0.020

#: Between two tries, seconds; and how many tries come in a row before the first pause, and at the end. A
#: pause gives the interpreter lock away, and with many busy threads it may take 10 ms and more to get it
#: back; these tries take about 30 µs, and what a mutex guards mostly takes one.
PAUSE = 50e-6
EAGER = 100

_PROCESS_SHARED = 1  # PTHREAD_PROCESS_SHARED and PTHREAD_MUTEX_ROBUST, on Linux with glibc and musl
_ROBUST = 1


class Mutexes:
    """A row of mutexes in shared memory. Shared by all threads of all processes that map it.

    :param offset: where in ``memory`` the first one lies, a multiple of :data:`SPACING`.
    :raises StoreError: the platform has no robust mutexes.
    """

    def __init__(self, memory: mmap, offset: int, count: int) -> None:
        try:
            library = ctypes.PyDLL(None)
            function = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
            self._try = function(("pthread_mutex_trylock", library))
            self._unlock = function(("pthread_mutex_unlock", library))
            self._consistent = function(("pthread_mutex_consistent", library))
            library.pthread_mutexattr_setrobust  # noqa: B018 - raises where there is none
        except (AttributeError, TypeError, OSError) as error:
            raise StoreError(f"this platform has no robust mutexes ({error})") from error
        self._library = library
        self._memory = ctypes.c_char.from_buffer(memory)  # keeps the mapping in place
        first = ctypes.addressof(self._memory) + offset
        self._places = tuple((first + SPACING * index,) for index in range(count))

    def create(self) -> None:
        """Make every mutex anew. Only while nobody else can have found them.

        :raises StoreError: the kernel does not support them.
        """
        library = self._library
        attributes = ctypes.create_string_buffer(SPACING)
        codes = [
            library.pthread_mutexattr_init(attributes),
            library.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED),
            library.pthread_mutexattr_setrobust(attributes, _ROBUST),
            *(library.pthread_mutex_init(ctypes.c_void_p(at), attributes) for (at,) in self._places),
        ]
        if any(codes):
            raise StoreError(f"no robust mutexes: {errno.errorcode.get(max(codes))}")

    def take(self, index: int) -> None:
        """Take one; follow with ``try … finally`` and what :meth:`freeing` gave before, on this thread.

        :raises StoreBusy: it was held for :data:`PATIENCE`; it is not held by us.
        """
        place = self._places[index]
        (code,) = map(self._try, place)
        if code == errno.EBUSY:
            code = self._go_on_trying(place)
        if code == errno.EOWNERDEAD:
            # Its holder died and it is ours. What it guards needs no repair: see shm_table.py.
            self._consistent(*place)
        elif code:
            raise StoreBusy(f"unusable lock: {errno.errorcode.get(code, code)}")

    def try_once(self, index: int) -> bool:
        """Whether it could be taken at once."""
        (code,) = map(self._try, self._places[index])
        if code == errno.EOWNERDEAD:
            self._consistent(*self._places[index])
        return code in (0, errno.EOWNERDEAD)

    def _go_on_trying(self, place: tuple[int]) -> int:
        deadline = time.monotonic() + PATIENCE
        code = self._try_in_a_row(place)
        while code == errno.EBUSY and time.monotonic() < deadline:
            time.sleep(PAUSE)
            (code,) = map(self._try, place)
        if code == errno.EBUSY:
            # The last pause may have been most of the time, because other threads had the interpreter.
            code = self._try_in_a_row(place)
        if code == errno.EBUSY:
            raise StoreBusy(f"held by another for {PATIENCE * 1000:.0f} ms")
        return code

    def _try_in_a_row(self, place: tuple[int]) -> int:
        for _ in repeat(None, EAGER):
            (code,) = map(self._try, place)
            if code != errno.EBUSY:
                return int(code)
        return errno.EBUSY

    def freeing(self, index: int) -> Iterator[int]:
        """Releases one that this thread has taken, when drawn from: ``(_,) = freeing``."""
        return map(self._unlock, self._places[index])
