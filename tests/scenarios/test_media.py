"""Calls on sound and pictures through a running gateway, by the official SDK and by hand."""

from __future__ import annotations

import hashlib
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from kit.gateways import KEY, UNLIMITED, StartGateway
from kit.media_provider import SOUND, MediaProvider
from kit.sdks import openai
from kit.servers import Gateway
from kit.waiting import until
from kit.wire import Answer, send_raw

THREADS = 8
SPEECH = b"RIFF" + bytes(200_000)

SETTINGS = """
[upstreams.media]
url = "{url}"
[upstreams.other]
url = "{url}"

[ledger]
data = "{data}"
[prices."media/whisper-1"]
per_second = "0.001"
[prices."media/tts-1"]
characters = "15"
[prices."media/gpt-image-1"]
per_image = "0.02"
[prices."media/silent"]
input = "1"
output = "1"

[models.either]
tiers = [["media/status-503"], ["other/whisper-1"]]

[models.forced]
tiers = [["media/whisper-1"]]
set = {{ language = "de" }}
default = {{ prompt = "x" }}
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[MediaProvider]:
    running = MediaProvider()
    yield running
    running.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the ledger."""
    folder: Path = tmp_path_factory.mktemp("ledger")
    folder.chmod(0o700)
    return folder


@pytest.fixture(scope="module")
def media(provider: MediaProvider, start_gateway: StartGateway, data: Path, tmp_path_factory: Any) -> Gateway:
    settings: Path = tmp_path_factory.mktemp("media") / "gateway.toml"
    settings.write_text(SETTINGS.format(url=provider.url, data=data))
    return start_gateway(
        GATEWAY_CONFIG=str(settings),
        GATEWAY_API_KEYS=KEY,
        GATEWAY_DEFAULT_UPSTREAM="media",
        GATEWAY_WORKERS="1",
        GATEWAY_THREADS=str(THREADS),
        GATEWAY_RATE_LIMIT_PER_MINUTE=UNLIMITED,
        GATEWAY_CIRCUIT_BREAKER_MAX_FAILURES=UNLIMITED,
        GATEWAY_MAX_UPLOAD_BYTES="1000000",
    )


@pytest.fixture(scope="module")
def client(media: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{media.url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


def test_a_transcript(client: openai.OpenAI, provider: MediaProvider) -> None:
    answer = client.audio.transcriptions.create(
        model="whisper-1",
        file=("speech.wav", SPEECH),
        language="en",
        timestamp_granularities=["word", "segment"],
    )
    assert answer.text == "Hello there"
    names = [part.name for part in provider.last.parts]
    assert names[0] == "model"
    assert names.count("timestamp_granularities[]") == 2
    assert provider.last.parts[-1] == ("file", "speech.wav", hashlib.sha256(SPEECH).hexdigest())


def test_a_transcript_in_plain_text_and_one_in_events(client: openai.OpenAI) -> None:
    text = client.audio.transcriptions.create(model="whisper-1", file=("a.mp3", b"x"), response_format="text")
    assert str(text) == "Hello there\n"
    stream = client.audio.transcriptions.create(model="tokens", file=("a.mp3", b"x"), stream=True)
    assert [event.type for event in stream] == [*["transcript.text.delta"] * 2, "transcript.text.done"]


#: The SDK calls the two operations old.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_a_translation(client: openai.OpenAI, provider: MediaProvider) -> None:
    assert client.audio.translations.create(model="whisper-1", file=("a.mp3", b"x")).text == "Hello there"
    assert provider.last.path == "/v1/audio/translations"


def test_speech_comes_as_it_is(client: openai.OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", input="Hello", voice="alloy"
    ) as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        assert answer.headers["x-gateway-upstream"] == "media"
        assert answer.read() == SOUND * 2


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_pictures_made_and_changed(client: openai.OpenAI, provider: MediaProvider) -> None:
    made = client.images.generate(model="gpt-image-1", prompt="A fox", n=2)
    assert len(made.data or ()) == 2
    stream = client.images.generate(model="gpt-image-1", prompt="A fox", stream=True, partial_images=1)
    assert [event.type for event in stream] == [
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    files = [("one.png", b"1"), ("two.png", b"2")]
    assert client.images.edit(model="gpt-image-1", prompt="Redder", image=files).data
    assert [part.value for part in provider.last.parts][-2:] == ["one.png", "two.png"]
    assert client.images.create_variation(image=("one.png", b"1")).data
    assert provider.last.model == "dall-e-2"


def test_the_ledger_has_each_unit_and_never_nothing(client: openai.OpenAI, data: Path) -> None:
    client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"x"))
    client.audio.transcriptions.create(model="silent", file=("a.mp3", bytes(8000)))
    client.audio.speech.create(model="tts-1", input="Hello", voice="alloy").read()
    client.images.generate(model="gpt-image-1", prompt="A fox", n=2)

    def charged() -> dict[str, tuple[int, str]]:
        with closing(sqlite3.connect(data / "ledger.db")) as ledger, suppress(sqlite3.OperationalError):
            query = "SELECT upstream_model, cost, source FROM charge ORDER BY at DESC LIMIT 4"
            return {model: (cost, source) for model, cost, source in ledger.execute(query)}
        return {}  # the bookkeeper has not made the table yet

    expected = {
        "whisper-1": (9_000_000, "reported"),
        "silent": (23_000, "estimated"),
        "tts-1": (75_000, "estimated"),
        "gpt-image-1": (40_000_000, "reported"),
    }
    assert until(lambda: charged() == expected), charged()


def form(*parts: bytes, boundary: bytes = b"B") -> bytes:
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


def field(name: str, value: str) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()


def file(data: bytes, name: str = "a.mp3") -> bytes:
    head = (
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: audio/mpeg\r\n\r\n'
    )
    return head.encode() + data


def send(media: Gateway, body: bytes, *, chunked: bool = False, path: str = "audio/transcriptions") -> Answer:
    lines = [
        f"POST /v1/{path} HTTP/1.1",
        "Host: gateway",
        f"Authorization: Bearer {KEY}",
        "Content-Type: multipart/form-data; boundary=B",
        "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if chunked:
        pieces = [body[at : at + 5000] for at in range(0, len(body), 5000)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return send_raw(media.port, "\r\n".join([*lines, "", ""]).encode() + body)


@pytest.mark.parametrize("chunked", [False, True])
def test_the_model_is_found_behind_the_file_and_sent_before_it(
    media: Gateway, provider: MediaProvider, chunked: bool
) -> None:
    answer = send(media, form(file(SPEECH), field("model", "whisper-1")), chunked=chunked)
    assert answer.json["text"] == "Hello there"
    assert provider.last.body.index(b'name="model"') < provider.last.body.index(b'name="file"')
    assert provider.last.parts[-1].digest == hashlib.sha256(SPEECH).hexdigest()
    assert provider.last.headers["content-length"] == str(len(provider.last.body))


def test_a_model_twice_and_a_form_that_is_too_large_are_refused(media: Gateway) -> None:
    twice = send(media, form(field("model", "a"), file(b"x"), field("model", "b")))
    assert (twice.status, twice.error["param"]) == (400, "model")
    large = send(media, form(field("model", "a"), file(bytes(1_000_001))))
    assert (large.status, large.error["code"]) == (413, "request_too_large")
    large = send(media, form(field("model", "a"), file(bytes(1_000_001))), chunked=True)
    assert (large.status, large.error["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (form(field("model", "m")), "invalid_field"),
        (form(file(b"x")), "invalid_field"),
        (form(field("model", "m"), field("fallbacks", "a"), file(b"x")), "invalid_field"),
        (form(field("model", "m"), file(b"x"))[:-8], "invalid_form"),
        (form(b"Content-Type: text/plain\r\n\r\nx"), "invalid_form"),
        (form(*[field("a", "b")] * 70), "invalid_form"),
        (form(field("prompt", "x" * 140_000), file(b"x")), "invalid_field"),
        (b"no form at all", "invalid_form"),
    ],
)
def test_a_broken_form_is_refused_by_name(media: Gateway, body: bytes, code: str) -> None:
    answer = send(media, body)
    assert (answer.status, answer.error["code"] or "invalid_field") == (400, code)


def test_the_next_candidate_gets_the_same_bytes(client: openai.OpenAI, provider: MediaProvider) -> None:
    answer = client.audio.transcriptions.with_raw_response.create(model="either", file=("a.wav", SPEECH))
    assert answer.headers["x-gateway-upstream"] == "other"
    first, second = provider.requests[-2:]
    assert (first.model, second.model) == ("status-503", "whisper-1")
    assert first.parts[1:] == second.parts[1:]
    assert second.parts[-1].digest == hashlib.sha256(SPEECH).hexdigest()


def test_fields_of_the_settings_replace_those_of_the_form(
    client: openai.OpenAI, provider: MediaProvider
) -> None:
    client.audio.transcriptions.create(model="forced", file=("a.wav", b"x"), language="en")
    fields = [(part.name, part.value) for part in provider.last.parts if not part.digest]
    assert ("language", "de") in fields
    assert ("language", "en") not in fields
    assert ("prompt", "x") in fields


def speak(media: Gateway, model: str) -> bytes:
    """All bytes of the answer, as they came."""
    body = b'{"model":"%b","input":"Hello","voice":"alloy"}' % model.encode()
    head = (
        f"POST /v1/audio/speech HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", media.port), 15) as sock:
        sock.sendall(head.encode() + body)
        data = b""
        while part := sock.recv(65536):
            data += part
            if data.endswith(b"0\r\n\r\n"):
                break
    return data


def test_a_cut_of_sound_closes_the_connection_without_the_last_chunk(media: Gateway) -> None:
    whole, cut = speak(media, "tts-1"), speak(media, "cut")
    assert whole.endswith(b"\r\n0\r\n\r\n")
    assert cut.startswith(b"HTTP/1.1 200 ")
    assert SOUND in cut
    assert not cut.endswith(b"0\r\n\r\n")


def test_sound_that_goes_on_holds_no_thread(media: Gateway) -> None:
    body = b'{"model":"held","input":"Hello","voice":"alloy"}'
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(2 * THREADS):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", media.port), 30))
            sock.sendall(head.encode() + body)
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert media.ask("GET", "/v1/models").status == 200


def test_a_page_or_an_error_instead_of_sound(media: Gateway) -> None:
    for model in ("json", "page"):
        assert speak(media, model).startswith(b"HTTP/1.1 502 "), model
    assert b"\r\nContent-Type: application/octet-stream\r\n" in speak(media, "odd")


def test_a_call_without_a_form_is_refused(media: Gateway) -> None:
    answer = media.ask("POST", "/v1/audio/transcriptions", {"model": "whisper-1"})
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
