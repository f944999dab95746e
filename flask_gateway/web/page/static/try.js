// The page Try: sends a chat completion and shows the answer as it comes. Texts are set as text, never as HTML.
"use strict";

const form = document.querySelector("#try");
const part = (name) => document.querySelector("#t-" + name);
let hanging = null;

function body(fields) {
  const messages = [{ role: "user", content: fields.get("prompt") }];
  if (fields.get("system").trim()) messages.unshift({ role: "system", content: fields.get("system") });
  const sent = { model: fields.get("model").trim(), messages };
  if (fields.get("max").trim()) sent.max_tokens = Number(fields.get("max"));
  if (fields.get("stream")) Object.assign(sent, { stream: true, stream_options: { include_usage: true } });
  return sent;
}

function fact(name, value, href) {
  const [dt, dd] = ["dt", "dd"].map((tag) => document.createElement(tag));
  const shown = href ? document.createElement("a") : document.createElement("code");
  if (href) shown.href = href;
  shown.textContent = value;
  dt.textContent = name;
  dd.append(shown);
  part("facts").append(dt, dd);
}

function showHead(answer) {
  const headers = [...answer.headers].filter(([name]) => /^x-|^content-type|^retry-after/.test(name));
  part("headers").textContent = headers.map(([name, value]) => name + ": " + value).join("\n");
  part("more").hidden = false;
  fact("status", answer.status);
  for (const [name, header] of [["upstream", "x-gateway-upstream"], ["attempts", "x-gateway-attempts"], ["cost", "x-gateway-cost"]])
    if (answer.headers.get(header)) fact(name, (name === "cost" ? "$ " : "") + answer.headers.get(header));
  const id = answer.headers.get("x-request-id");
  if (id) fact("request", id, "request?id=" + encodeURIComponent(id));
}

function showUsage(usage) {
  fact("tokens", usage.prompt_tokens + " in, " + usage.completion_tokens + " out");
  if (usage.cost !== undefined) fact("cost", "$ " + usage.cost);
}

function add(text) {
  part("answer").textContent += text;
}

const contentOf = (said) => (typeof said === "string" ? said : said ? JSON.stringify(said) : "");

// Shows one event of the stream. Returns the words of an error, if it is one.
function showEvent(text) {
  const event = JSON.parse(text);
  if (event.error) return event.error.message || "error";
  const delta = (event.choices && event.choices[0] && event.choices[0].delta) || {};
  add(contentOf(delta.reasoning_content) + contentOf(delta.content) + contentOf(delta.tool_calls));
  if (event.usage) showUsage(event.usage);
  return "";
}

async function readStream(answer, began) {
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let [rest, pieces, trouble, ended] = ["", 0, "", false];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const events = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = events.pop();
    for (const data of events.filter((event) => event.startsWith("data: ")).map((event) => event.slice(6))) {
      if (data.trim() === "[DONE]") ended = true;
      else trouble = showEvent(data) || trouble;
    }
    pieces += 1;
    part("state").textContent = "Receiving, in " + pieces + " pieces so far, for " + since(began);
  }
  if (trouble || !ended) throw new Error(trouble || "the stream broke off before its end");
  return pieces + " pieces";
}

async function readWhole(answer) {
  const said = await answer.json();
  if (!answer.ok) throw new Error((said.error && said.error.message) || "status " + answer.status);
  add(contentOf(said.choices && said.choices[0] && said.choices[0].message && said.choices[0].message.content));
  if (said.usage) showUsage(said.usage);
  return "one piece";
}

const since = (began) => ((performance.now() - began) / 1000).toFixed(1) + " s";

async function send() {
  const fields = new FormData(form);
  const began = performance.now();
  hanging = new AbortController();
  part("send").disabled = !(part("stop").disabled = false);
  for (const name of ["answer", "facts"]) part(name).textContent = "";
  part("state").textContent = "Sent, waiting for the first token";
  try {
    const headers = { "Content-Type": "application/json", "X-CSRF-Token": fields.get("csrf") };
    const options = { method: "POST", headers, body: JSON.stringify(body(fields)), signal: hanging.signal };
    const answer = await fetch("call?key=" + encodeURIComponent(fields.get("key").trim()), options);
    if (answer.status === 401) return location.assign("login?next=try");
    showHead(answer);
    const live = (answer.headers.get("content-type") || "").startsWith("text/event-stream");
    const pieces = live ? await readStream(answer, began) : await readWhole(answer);
    part("state").textContent = "Done after " + since(began) + ", in " + pieces;
  } catch (error) {
    part("state").textContent = error.name === "AbortError" ? "Stopped after " + since(began) : "Failed after " + since(began) + ": " + error.message;
  } finally {
    part("stop").disabled = !(part("send").disabled = false);
  }
}

if (form) {
  form.addEventListener("submit", (event) => (event.preventDefault(), send()));
  part("stop").addEventListener("click", () => hanging.abort());
}
