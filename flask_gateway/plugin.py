"""Defines what a plugin is: the only module of the gateway that a plugin imports.

A plugin is made by a class or function of yours that the settings name::

    [plugins.pii]
    use = "my_company.pii:Plugin"       # or the name of an entry point of the group flask_gateway.plugins
    options = { entities = ["EMAIL"] }  # its keyword arguments

It is asked by the hooks below that it has, one or several: ``identify``, ``admit``, ``rewrite``, ``open`` and
``__call__``. It may have these attributes, too:

``api``
    the version that it was written for: :data:`API` of then. Another one refuses the start.
``operations``
    the operations that it can see. By default a rewriter and an inspector see :data:`TEXT`, the others all.
    A call of another operation is refused, or with ``on_error = "pass"`` shown as skipped.
``whole``
    of an inspector: ``True`` if it has to wait for somebody. Streams are then held until they are complete.
``teams``
    of an authenticator: the teams that its callers may have. The start refuses one that the settings lack.
``close()``
    is called when the process ends, and after a reload that changed its table.

It is made once in each process, and its hooks are called by many threads at once. An exception that is no
:class:`GatewayError` counts as its failure: it is logged without its text, then ``on_error`` applies.
docs/plugins.md has examples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .model.call import Attempt as Attempt
from .model.call import Call as Call
from .model.call import Caller as Caller
from .model.call import Operation as Operation
from .model.call import Outcome as Outcome
from .model.call import Usage as Usage
from .model.errors import Blocked as Blocked
from .model.errors import GatewayError as GatewayError
from .model.errors import InvalidField as InvalidField
from .model.errors import ModelNotAllowed as ModelNotAllowed
from .model.errors import Overloaded as Overloaded
from .model.errors import RateLimited as RateLimited
from .model.errors import Unauthorized as Unauthorized
from .model.errors import UserRequired as UserRequired
from .model.errors import Verdict as Verdict
from .model.limits import Limits as Limits
from .model.limits import OwnerLimits as OwnerLimits
from .model.limits import Owners as Owners
from .model.protocols import NO_PERMIT as NO_PERMIT
from .model.protocols import Guard as Guard
from .model.protocols import NoPermit as NoPermit
from .model.protocols import Permit as Permit
from .telemetry.request_record import RequestRecord

#: The version of this interface. It is raised when a plugin would have to change.
API = 1

#: A finished request.
Record = RequestRecord
#: Returns a header of a request by its name; ``None`` if it is missing or empty.
Header = Callable[[str], str | None]

#: The operations whose answers are text of a model.
TEXT = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE, Operation.MESSAGE})
#: In ``rate_limit`` and ``max_concurrent`` of a :class:`Caller`: the general limit of the settings.
AS_SET = -1


class Authenticator(Protocol):
    """Finds out who is asking. It is asked when no key of the gateway fits, before a wrong key is counted."""

    def identify(self, key: str, header: Header, /) -> Caller | None:
        """Return the caller of a key; ``None``: it is none of mine.

        The id of a caller is in logs, metrics and limits, so no two callers may have one id: begin yours with
        a word of your own. Of ``owners`` only ``key_policy`` counts; the settings add the limits of its team.

        :raises Unauthorized: it is one of mine, and not valid. It counts as a wrong key.
        """
        ...


class Rewriter(Protocol):
    """Changes what is asked. Several work in the order of the settings."""

    def rewrite(self, call: Call, /) -> Call:
        """Return ``call.with_fields(messages=…)``, or the call itself.

        Only fields of the body may change, and neither ``model`` nor ``stream``.

        :raises Blocked: the caller may not ask that.
        """
        ...


class Inspection(Protocol):
    """Reads one answer, channel by channel. It does no I/O: it runs between other streams.

    The last word of a channel's name says what it is: ``content``, ``reasoning``, ``refusal``, ``arguments``
    (of a tool, as JSON), ``text`` (any other). The words before tell the answer's choices and tools apart.
    It may have an attribute ``verdict``, a word for ``x-gateway-plugins`` such as ``masked(2)``.

    :ivar hold: how many characters of a channel it may hold back, 0 to 4096.
    """

    hold: int

    def text(self, channel: str, delta: str, /) -> str:
        """Return the text to send in place of the next text of a channel: it may be shorter or longer.

        :raises Blocked: the answer ends here.
        """
        ...

    def end(self, channel: str, /) -> str:
        """Return what of a channel was held back. Its text is over.

        :raises Blocked: the answer ends here.
        """
        ...


class Inspector(Protocol):
    """Inspects what the model says, in streams and whole answers."""

    def open(self, call: Call, /) -> Inspection | None:
        """Return the inspection of the answer to one call; ``None``: it is not inspected."""
        ...


class Observer(Protocol):
    """Watches finished requests."""

    def __call__(self, record: Record, /) -> None:
        """Take a record. It must not wait: put the record into a queue of limited length."""
        ...
