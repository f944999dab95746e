"""Locks shared memory with POSIX robust mutexes, which the kernel releases when their owner dies.

Why not ``multiprocessing.Semaphore``: a semaphore does not know its holder. A holder that stores its pid next
to it can die between locking and storing, or between clearing and unlocking. Two processes that find the
holder dead can then both unlock. A robust mutex has its owner *in* the lock word. The same compare-and-swap
locks the mutex and sets the owner.

Each thread registers a list of its mutexes with the kernel, with a field for the mutex that it is locking or
unlocking. When the thread ends, even by ``kill -9``, the kernel walks that list and marks the mutexes. The
next trylock returns ``EOWNERDEAD`` and *holds* the lock. Exactly one thread gets it, nobody waits, and no pid
is compared, so a reused pid does no harm. Only the owner can unlock, so there is no double unlock. See
pthread_mutexattr_setrobust(3) and the kernel's Documentation/locking/robust-futexes.rst.

Why trylock only: a blocking lock releases the GIL while it waits. It returns with the shared lock held and
then waits for the GIL, and the other processes queue behind it. ``ctypes.PyDLL`` keeps the GIL, and neither
trylock nor unlock enters the kernel.

Why ``map``: the interpreter switches threads and runs signal handlers only at calls and at backward jumps.
Drawing from a prepared ``map`` is not a call of the interpreter. If the code between lock and unlock makes no
call either, no thread is switched out while it holds the lock, and no handler raises before the caller's
``try``. On an interpreter that switches elsewhere, a holder may lose the GIL, and others get ``StoreBusy``
sometimes. Nothing else breaks.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import time
from collections.abc import Iterator
from itertools import repeat
from mmap import mmap

from .contract import StoreBusy, StoreError

#: Bytes from one mutex to the next: a cache line, and more than any ABI's ``pthread_mutex_t``
#: (24 to 48 bytes with glibc and musl).
SPACING = 64

#: How long to try for a mutex, seconds. A critical section takes microseconds. A holder that keeps a mutex
#: for this long is stopped, swapped out, or waits for a core or the GIL behind many others.
PATIENCE = 0.020
#: How long to try while the holder is not stopped, seconds. On a machine with many more threads than cores, a
#: holder may wait this long for its next turn. Until then it is better to wait than to count alone.
LONGEST = 0.1

#: The pause between two tries, seconds; and the number of tries without pause, at the start and at the end.
#: A pause releases the GIL, and with many busy threads it may take 10 ms or more to get it back. These tries
#: take about 30 µs together; a critical section usually takes 1 µs.
PAUSE = 50e-6
EAGER = 100

#: The bits of a futex that hold its owner (``FUTEX_TID_MASK``).
_OWNER = 0x3FFFFFFF
_GLIBC = platform.libc_ver()[0] == "glibc"

_PROCESS_SHARED = 1  # PTHREAD_PROCESS_SHARED and PTHREAD_MUTEX_ROBUST, on Linux with glibc and musl
_ROBUST = 1


class Mutexes:
    """An array of mutexes in shared memory, for all threads of all processes that map it.

    :param offset: of the first mutex in ``memory``, a multiple of :data:`SPACING`.
    :raises StoreError: the platform has no robust mutexes.
    """

    def __init__(self, memory: mmap, offset: int, count: int) -> None:
        try:
            library = ctypes.PyDLL(None)
            function = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
            self._try = function(("pthread_mutex_trylock", library))
            self._unlock = function(("pthread_mutex_unlock", library))
            self._consistent = function(("pthread_mutex_consistent", library))
            library.pthread_mutexattr_setrobust  # noqa: B018 - raises if the platform has none
        except (AttributeError, TypeError, OSError) as error:
            raise StoreError(f"this platform has no robust mutexes ({error})") from error
        self._library = library
        self._memory = ctypes.c_char.from_buffer(memory)  # keeps the mapping in place
        first = ctypes.addressof(self._memory) + offset
        self._places = tuple((first + SPACING * index,) for index in range(count))

    def create(self) -> None:
        """Initialize every mutex. Call it only while no other process can use them.

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
        """Lock a mutex. Draw from a prepared :meth:`unlocker` in ``try … finally`` on the same thread.

        :raises StoreBusy: another thread held it for :data:`PATIENCE`. The mutex is not locked.
        """
        (code,) = map(self._try, self._places[index])
        if code:
            self.insist(index, code)

    def locker(self, index: int) -> tuple[Iterator[int], Iterator[int]]:
        """Two iterators, to be drawn from once each, on the same thread. It is :meth:`take` without its call.

        ``(code,) = locker`` tries to lock a mutex: a code that is not 0 goes to :meth:`insist`.
        ``(_,) = unlocker`` unlocks it.
        """
        place = self._places[index]
        return map(self._try, place), map(self._unlock, place)

    def insist(self, index: int, code: int) -> None:
        """Lock a mutex of which trylock has returned another code than 0.

        :raises StoreBusy: as :meth:`take`.
        """
        place = self._places[index]
        if code == errno.EBUSY:
            code = self._keep_trying(place)
        if code == errno.EOWNERDEAD:
            # The holder died, and we hold the mutex now. The slots need no repair: see shm_table.py.
            self._consistent(*place)
        elif code:
            raise StoreBusy(f"unusable lock: {errno.errorcode.get(code, code)}")

    def try_once(self, index: int) -> bool:
        """Try once to lock a mutex. Returns whether it is locked now."""
        (code,) = map(self._try, self._places[index])
        if code == errno.EOWNERDEAD:
            self._consistent(*self._places[index])
        return code in (0, errno.EOWNERDEAD)

    def _keep_trying(self, place: tuple[int]) -> int:
        begun = time.monotonic()
        code = self._try_until(begun + PATIENCE, place)
        if code == errno.EBUSY and self._runs(place):
            code = self._try_until(begun + LONGEST, place)
        if code == errno.EBUSY:
            raise StoreBusy(f"held by another for {(time.monotonic() - begun) * 1000:.0f} ms")
        return code

    def _try_until(self, deadline: float, place: tuple[int]) -> int:
        code = self._try_in_a_row(place)
        while code == errno.EBUSY and time.monotonic() < deadline:
            time.sleep(PAUSE)
            (code,) = map(self._try, place)
        # The last pause may have used up the time, because other threads held the GIL.
        return self._try_in_a_row(place) if code == errno.EBUSY else code

    def _runs(self, place: tuple[int]) -> bool:
        """Tell whether the holder's thread is alive and not stopped: it will give the mutex back soon.

        glibc keeps the thread id of a robust mutex's owner in its first word, as the kernel wants it
        (Documentation/locking/robust-futex-ABI.rst). Of another C library nothing is known.
        """
        if not _GLIBC:
            return False
        owner = ctypes.c_uint32.from_address(place[0]).value & _OWNER
        try:
            with open(f"/proc/{owner}/stat", "rb") as file:
                state = file.read(512).rpartition(b") ")[2][:1]
        except OSError:
            return False
        return state not in (b"T", b"t", b"Z", b"X", b"")

    def _try_in_a_row(self, place: tuple[int]) -> int:
        for _ in repeat(None, EAGER):
            (code,) = map(self._try, place)
            if code != errno.EBUSY:
                return int(code)
        return errno.EBUSY

    def unlocker(self, index: int) -> Iterator[int]:
        """An iterator that unlocks a mutex of this thread when drawn from: ``(_,) = unlocker``."""
        return map(self._unlock, self._places[index])
