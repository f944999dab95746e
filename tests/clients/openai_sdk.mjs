// Calls one route of a gateway by OpenAI's SDK: node openai_sdk.mjs ROUTE. It fails where the answer is not as expected.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { once } from "node:events";

const { BASE_URL, KEY, MODULES } = process.env;
const require = createRequire(`${MODULES}/`);
const { default: OpenAI, toFile } = require("openai");
const client = new OpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "Hello" }];
const sound = () => toFile(Buffer.alloc(100_000, 7), "speech.wav");
const picture = (name) => toFile(Buffer.from("png"), name, { type: "image/png" });

async function collected(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

const routes = {
  async "chat/completions"() {
    const answer = await client.chat.completions.create({ model: "mock", messages });
    assert.equal(answer.choices[0].finish_reason, "stop");
    const chunks = await collected(await client.chat.completions.create({ model: "mock", messages, stream: true }));
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  },
  async completions() {
    assert.ok((await client.completions.create({ model: "mock", prompt: "Hello" })).choices[0].text);
  },
  async embeddings() {
    const answer = await client.embeddings.create({ model: "mock", input: ["one", "two"] });
    assert.deepEqual(answer.data.map((one) => one.index), [0, 1]);
    assert.equal(typeof answer.data[0].embedding[0], "number");
  },
  async moderations() {
    assert.equal((await client.moderations.create({ model: "mock", input: "Hello" })).results[0].flagged, false);
  },
  async models() {
    const names = (await collected(client.models.list())).map((model) => model.id);
    assert.ok(names.includes("mock"));
    assert.equal((await client.models.retrieve("mock")).id, "mock");
  },
  async responses() {
    assert.ok((await client.responses.create({ model: "mock", input: "Hello" })).output_text);
    const events = await collected(await client.responses.create({ model: "mock", input: "Hello", stream: true }));
    assert.equal(events.at(-1).type, "response.completed");
  },
  async "responses/{id}"() {
    const made = await client.responses.create({ model: "media", input: "Hello", background: true });
    assert.equal(made.status, "queued");
    assert.equal((await client.responses.retrieve(made.id)).id, made.id);
    const events = await collected(await client.responses.retrieve(made.id, { stream: true }));
    assert.equal(events.at(-1).type, "response.completed");
    assert.equal((await collected(client.responses.inputItems.list(made.id)))[0].id, "msg_1");
    assert.equal((await client.responses.cancel(made.id)).status, "cancelled");
    await client.responses.delete(made.id);
    await assert.rejects(client.responses.retrieve(made.id), OpenAI.NotFoundError);
  },
  async "audio/transcriptions"() {
    const answer = await client.audio.transcriptions.create({ model: "media", file: await sound() });
    assert.equal(answer.text, "Hello there");
    const text = await client.audio.transcriptions.create({ model: "media", file: await sound(), response_format: "text" });
    assert.equal(text, "Hello there\n");
    const stream = await client.audio.transcriptions.create({ model: "media", file: await sound(), stream: true });
    assert.equal((await collected(stream)).at(-1).type, "transcript.text.done");
  },
  async "audio/translations"() {
    assert.equal((await client.audio.translations.create({ model: "media", file: await sound() })).text, "Hello there");
  },
  async "audio/speech"() {
    const answer = await client.audio.speech.create({ model: "media", input: "Hello", voice: "alloy" });
    assert.equal(answer.headers.get("content-type"), "audio/mpeg");
    assert.ok((await answer.arrayBuffer()).byteLength > 16_000);
  },
  async "images/generations"() {
    const answer = await client.images.generate({ model: "media", prompt: "A fox" });
    assert.equal(answer.data[0].b64_json, "AAAA");
    const events = await collected(await client.images.generate({ model: "media", prompt: "A fox", stream: true }));
    assert.equal(events.at(-1).type, "image_generation.completed");
  },
  async "images/edits"() {
    const image = [await picture("one.png"), await picture("two.png")];
    assert.ok((await client.images.edit({ model: "media", prompt: "Redder", image })).data);
  },
  async "images/variations"() {
    assert.ok((await client.images.createVariation({ model: "media", image: await picture("one.png") })).data);
  },
  async raw() {
    const files = new OpenAI({ baseURL: `${BASE_URL}/v1/raw/media`, apiKey: KEY, maxRetries: 0 }).files;
    assert.equal((await files.create({ purpose: "batch", file: await sound() })).id, "file_a");
    assert.equal((await files.retrieve("file_a")).id, "file_a");
    await assert.rejects(files.delete("file_a"), OpenAI.NotFoundError);
  },
  async realtime() {
    const { OpenAIRealtimeWS } = require("openai/realtime/ws");
    const session = new OpenAIRealtimeWS({ model: "voice" }, client);
    session.on("error", (error) => assert.fail(error));
    await new Promise((resolve) => session.on("session.created", resolve));
    session.send({ type: "response.create" });
    const done = await new Promise((resolve) => session.on("response.done", resolve));
    assert.equal(done.response.status, "completed");
    session.close();
    await once(session.socket, "close");
  },
  async errors() {
    const stranger = new OpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: "wrong", maxRetries: 0 });
    await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
    await assert.rejects(client.audio.speech.create({ model: "mock", input: "Hello", voice: "alloy" }), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.equal(error.code, "unsupported_operation");
      return true;
    });
    const twice = client.audio.transcriptions.create({ model: "", file: await sound() });
    await assert.rejects(twice, OpenAI.BadRequestError);
  },
};

await routes[process.argv[2]]();
console.log("done");
