"""Tests for plugins, to be imported by their authors: the same answer in every way that it can arrive.

pytest collects the tests of a subclass::

    class TestMine(InspectorConformance):
        samples = {"Write to ann@example.org!": "Write to [EMAIL]!"}

        def make(self) -> object:
            return Plugin(entities=["EMAIL"])

Each test is a method with plain ``assert``, so other runners do, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import msgspec

from ..config.schema import PluginSettings
from ..dialects.transcripts import transcript_for
from ..model.call import Call, Caller, Ids, Operation
from ..model.errors import GatewayError
from ..model.plugin_notes import PluginNotes
from ..model.protocols import NO_PERMIT
from ..model.transcript import Transcript
from ..plugins.admitting import PluginPermit
from ..plugins.hooks import Hook
from ..plugins.inspected import inspected
from ..plugins.inspections import MOST_HELD, open_all
from ..plugins.loaded import Loaded, NoCounts
from ..plugins.loading import load
from ..plugins.rewriting import rewritten
from .answers import Heard, Pieces, body_of, events_of, heard_body, heard_events

#: The operations whose answers are inspected here.
OPERATIONS = (Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE, Operation.MESSAGE)
#: Cuts the bytes of an answer as they may arrive.
Cut = Callable[[bytes], Iterable[bytes]]


def loaded(make: Callable[..., object], name: str = "tested", **table: Any) -> Loaded:
    """The plugin as the gateway has it.

    :param make: makes it, of the options. :param table: other fields of ``[plugins.NAME]``.
    :raises ConfigError: it is no plugin.
    """
    return load(PluginSettings(name=name, use="tested", **table), NoCounts(), make)


def call_of(operation: Operation = Operation.CHAT, *, stream: bool = False, **fields: Any) -> Call:
    """A call such as plugins get.

    :param fields: of the body, in addition to ``model`` and ``stream``.
    """
    body = {"model": "m", **fields, **({"stream": True} if stream else {})}
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}
    ids = Ids("req-1", "1" * 32, f"00-{'1' * 32}-{'2' * 16}-00")
    return Call(ids, Caller("tester", 0), operation, "m", raw, stream, started=0.0)


def at_once(data: bytes) -> Iterable[bytes]:
    """All bytes in one piece."""
    return (data,)


def byte_by_byte(data: bytes) -> Iterable[bytes]:
    return (data[place : place + 1] for place in range(len(data)))


def inspect(
    plugins: Iterable[Loaded],
    operation: Operation,
    pieces: Pieces,
    *,
    stream: bool = True,
    cut: Cut = at_once,
) -> Heard:
    """Send an answer through the inspections of plugins, and return the texts that a caller reads.

    :param pieces: the texts of the model. :param cut: cuts the bytes as they arrive.
    :raises GatewayError: a plugin blocks the answer, or it failed.
    """
    choices = len(pieces) if operation in (Operation.CHAT, Operation.COMPLETION) else 1
    call = call_of(operation, stream=stream, n=choices)
    notes = PluginNotes(tuple(plugins))
    inspections = open_all(call, notes)
    transcript: Transcript = transcript_for(call, "upstream")
    if inspections is not None:
        transcript = inspected(call, transcript, inspections) or transcript
    if stream:
        return heard_events(operation, b"".join(_sent(transcript, cut(events_of(operation, pieces)))))
    body = msgspec.json.encode(body_of(operation, pieces))
    heard = heard_body(operation, json.loads(b"".join(_sent(transcript, cut(body)))))
    return {place: text for place, text in heard.items() if text}


def _sent(transcript: Transcript, parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield transcript.feed(part)
        if transcript.finished:
            return
    yield transcript.end()


class PluginConformance:
    """The rules for every plugin. A subclass says how to make it, with the options of its tests."""

    def make(self) -> object:
        """Return a new plugin."""
        raise NotImplementedError

    def loaded(self) -> Loaded:
        return loaded(self.make)

    def test_it_is_a_plugin_of_this_version(self) -> None:
        """It loads, and closes twice without an error."""
        plugin = self.loaded()
        assert plugin.hooks
        plugin.close()
        plugin.close()


class GuardConformance(PluginConformance):
    """Tests of a guard.

    :cvar admitted: fields of a body that it admits.
    """

    admitted: ClassVar[Mapping[str, Any]] = {"messages": [{"role": "user", "content": "Hello"}]}

    def test_it_admits_and_gives_a_permit(self) -> None:
        """It returns a permit, which can be settled or cancelled."""
        plugin = self.loaded()
        permit: object = plugin.run(Hook.ADMIT, plugin.instance.admit, call_of(**self.admitted))
        if permit is not NO_PERMIT:
            PluginPermit(plugin, permit).cancel()


class RewriterConformance(PluginConformance):
    """Tests of a rewriter.

    :cvar bodies: fields of a body, as JSON, and what they become.
    """

    bodies: ClassVar[Mapping[str, str]] = {}

    def test_it_changes_fields_alone(self) -> None:
        """It returns a call with the fields that are expected, and nothing else changes."""
        plugin = self.loaded()
        for body, expected in self.bodies.items():
            call = msgspec.structs.replace(call_of(**json.loads(body)), plugins=PluginNotes((plugin,)))
            before = dict(call.fields)
            changed = rewritten(plugin, call)
            assert dict(call.fields) == before, "a call is not changed in place"
            fields = {
                name: msgspec.json.decode(raw) for name, raw in changed.fields.items() if name != "model"
            }
            assert fields == json.loads(expected)


class InspectorConformance(PluginConformance):
    """Tests of an inspector that replaces texts.

    :cvar samples: texts of a model, and what callers get. :cvar blocked: texts that it blocks.
    """

    samples: ClassVar[Mapping[str, str]] = {}
    blocked: ClassVar[tuple[str, ...]] = ()

    def operations(self) -> list[Operation]:
        return [operation for operation in OPERATIONS if operation in self.loaded().operations]

    def ways(self, text: str) -> Iterator[dict[str, Any]]:
        """The ways in which a text can arrive."""
        whole, letters = [text], list(text)
        yield {"pieces": [("content", whole)], "stream": False}
        yield {"pieces": [("content", whole)], "stream": True}
        yield {"pieces": [("content", letters)], "stream": True}
        yield {"pieces": [("content", letters)], "stream": True, "cut": byte_by_byte}

    def test_a_text_becomes_the_same_however_it_arrives(self) -> None:
        """In one piece, in one event, in an event for each letter, and byte by byte, in every API."""
        for operation in self.operations():
            for text, expected in self.samples.items():
                for way in self.ways(text):
                    heard = inspect([self.loaded()], operation, **way)
                    assert heard == ({(0, "content"): expected} if expected else {}), (operation, way)

    def test_choices_are_told_apart(self) -> None:
        """Two texts that come in turn, as choices, blocks or items, do not mix."""
        for operation in self.operations():
            for text, expected in self.samples.items():
                pieces = [("content", list(text)), ("content", list(text[::-1]))]
                heard = inspect([self.loaded()], operation, pieces)
                assert heard.get((0, "content"), "") == expected, operation

    def test_arguments_of_tools_become_the_same_however_they_arrive(self) -> None:
        """The arguments of a tool in a stream are those of a whole answer."""
        for operation in self.operations():
            if operation is Operation.COMPLETION:
                continue
            for text in self.samples:
                arguments = json.dumps({"note": text})
                whole = inspect([self.loaded()], operation, [("arguments", [arguments])], stream=False)
                streamed = inspect([self.loaded()], operation, [("arguments", list(arguments))])
                assert json.loads(streamed[0, "arguments"]) == json.loads(whole[0, "arguments"]), operation

    def test_a_text_is_blocked_however_it_arrives(self) -> None:
        """Every way ends in an error of the plugin, in every API."""
        for operation in self.operations():
            for text in self.blocked:
                for way in self.ways(text):
                    assert self.error_of(operation, way) not in (None, "plugin_failed"), (operation, way)

    def error_of(self, operation: Operation, way: Mapping[str, Any]) -> str | None:
        """The code of the error that an answer ends with; ``None`` if it passes."""
        try:
            inspect([self.loaded()], operation, **way)
        except GatewayError as error:
            return error.code or "refused"
        return None

    def test_what_it_holds_back_is_declared(self) -> None:
        """``hold`` is a number from 0 to 4096, unless the plugin waits for somebody."""
        plugin = self.loaded()
        inspection = plugin.instance.open(call_of())
        if inspection is not None and not plugin.whole:
            assert 0 <= inspection.hold <= MOST_HELD
