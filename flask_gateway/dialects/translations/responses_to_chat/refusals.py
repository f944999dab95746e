"""Refuses what chat cannot carry: in an error that names field, upstream and setting."""

from __future__ import annotations

from ....model.errors import InvalidField, UnsupportedField

#: The longest name of the caller's that an error repeats, characters.
MAX_NAME = 200


class Refusals:
    """Refuses fields of one request, or leaves them out where the upstream's settings say so.

    :param upstream: the name of the upstream that takes only chat.
    :param drop: ``unsupported = "drop"``: leave out what can be left out.
    :ivar left_out: what was left out, for the caller.
    """

    def __init__(self, upstream: str, *, drop: bool = False) -> None:
        self.left_out: list[str] = []
        self._upstream = upstream
        self._drop = drop

    def refuse(self, param: str, what: str) -> UnsupportedField:
        """Return the error for a field that cannot be left out either.

        :param what: the field in words, such as "a stored response".
        """
        param, what = param[:MAX_NAME], what[:MAX_NAME]
        return UnsupportedField(
            f"Upstream '{self._upstream}' takes only chat, which has no {what}: '{param}' cannot be "
            f"translated. Leave it out, or add 'responses' to 'speaks' in [upstreams.{self._upstream}] if it "
            f"takes the Responses API.",
            param=param,
            upstream=self._upstream,
        )

    def leave_out(self, param: str, what: str) -> None:
        """Leave a field out.

        :raises UnsupportedField: the upstream's settings say that it is refused.
        """
        if not self._drop:
            param, what = param[:MAX_NAME], what[:MAX_NAME]
            raise UnsupportedField(
                f"Upstream '{self._upstream}' takes only chat, which has no {what}: '{param}' cannot be "
                f'translated. Leave it out, or set unsupported = "drop" in [upstreams.{self._upstream}].',
                param=param,
                upstream=self._upstream,
            )
        self.note(param)

    def note(self, name: str) -> None:
        """Note what is left out without a refusal."""
        self.left_out.append(name)

    @staticmethod
    def invalid(param: str, expected: str) -> InvalidField:
        """Return the error for a value that the Responses API does not allow either."""
        return InvalidField(f"'{param}' must be {expected}.", param=param)
