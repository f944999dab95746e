"""Provides a trivial translation, and an upstream that answers in its own API what a test scripts."""

from __future__ import annotations

import msgspec

from flask_gateway.dialects.openai import DONE, chat_error_event
from flask_gateway.dialects.transcripts import transcript_for
from flask_gateway.dialects.translations.translation import FieldTable, Translated, Translation
from flask_gateway.model.call import Call, Operation, Usage
from flask_gateway.model.errors import (
    GatewayError,
    UnsupportedField,
    UpstreamError,
    UpstreamMalformed,
    UpstreamRefusal,
)
from flask_gateway.model.quirks import TranslationTarget
from flask_gateway.model.reply import Reply
from kit.replies import ScriptedSource

Raw = msgspec.Raw


class SpokenUpstream:
    """A service that answers with the given script, read by the transcript of the call's own API."""

    def __init__(self, *script: bytes | Exception, name: str = "up", hides_usage: bool = False) -> None:
        self.name = name
        self.script = script
        self.hides_usage = hides_usage
        self.calls: list[Call] = []
        self.sources: list[ScriptedSource] = []
        #: Whether the reply is primed when it is returned, as by an upstream whose options are not proven.
        self.primes = False

    def send(self, call: Call) -> Reply:
        self.calls.append(call)
        if isinstance(self.script[0], UpstreamRefusal):
            raise self.script[0]
        source = ScriptedSource(*self.script)
        self.sources.append(source)
        transcript = transcript_for(call, self.name, hides_usage=self.hides_usage)
        reply = Reply(source, transcript, self.name, call.model)
        return reply.prime() if self.primes else reply

    @property
    def sent(self) -> dict[str, object]:
        """The body of the last call."""
        body: dict[str, object] = msgspec.json.decode(self.calls[-1].payload())
        return body


class LoudRewriter:
    """Rewrites chat as completions: the text in capitals, and the usage at the end."""

    def body(self, data: bytes, usage: Usage | None) -> bytes:
        text = msgspec.json.decode(data)["choices"][0]["message"]["content"]
        return msgspec.json.encode({"text": text.upper(), "tokens": usage and usage.completion_tokens})

    def event(self, data: bytes) -> bytes:
        choices = msgspec.json.decode(data).get("choices")
        text = choices[0]["delta"].get("content") if choices else None
        if text == "unspeakable":
            raise UpstreamMalformed("it cannot be said")
        return b"" if not text else b"data: %b\n\n" % msgspec.json.encode({"text": text.upper()})

    def end(self, usage: Usage | None) -> bytes:
        return b"data: %b\n\n" % msgspec.json.encode({"tokens": usage and usage.completion_tokens}) + DONE

    def cut(self, error: GatewayError) -> bytes:
        return chat_error_event(error, None)


def _request(call: Call, target: TranslationTarget) -> Translated:
    if "logprobs" in call.fields:
        raise UnsupportedField("No logprobs.", param="logprobs", upstream=target.upstream)
    messages = [{"role": "user", "content": call.fields["prompt"]}]
    kept = {name: raw for name, raw in call.fields.items() if name not in ("prompt", "echo")}
    left_out = ("echo",) if "echo" in call.fields else ()
    fields = {**kept, "messages": Raw(msgspec.json.encode(messages))}
    return Translated(fields, LoudRewriter(), {"max_tokens": Raw(b"16")}, left_out)


def _refusal(error: UpstreamError) -> UpstreamError:
    error.message = error.message.upper()
    return error


#: Completions in, to an upstream that takes chat.
LOUD = Translation(
    Operation.COMPLETION, Operation.CHAT, _request, FieldTable({"prompt": "`messages`"}, (), ()), _refusal
)
