// Shows live figures: reads live?topic=... and puts each fragment into the element with data-live.
"use strict";

const target = document.querySelector("[data-live]");
const state = document.querySelector("#live");
let last = "";
let shown = "";

// With a filter the list stays as it is, and only says that newer requests have come.
function tellNewer(html) {
  const arrived = /data-arrived="([0-9]+)"/.exec(html);
  const newer = arrived ? arrived[1] - target.dataset.since : 0;
  state.textContent = newer ? newer + " more requests have come since. " : "No request has come since.";
  if (!newer) return;
  const link = document.createElement("a");
  link.href = location.search.replace(/([?&])before=[^&]*/, "$1") || "?";
  link.textContent = "Show";
  state.append(link);
}

function show(html) {
  last = new Date().toISOString().slice(11, 19);
  if (target.dataset.since !== undefined) return tellNewer(html);
  // What has the focus or is being selected stays as it is until that is over.
  const selected = getSelection();
  const used = target.contains(document.activeElement) || (!selected.isCollapsed && target.contains(selected.anchorNode));
  if (!used) shown = last;
  state.textContent = used && shown ? "Figures of " + shown + " UTC: they wait while you read" : "Live · figures of " + last + " UTC";
  if (!used) target.innerHTML = html;
}

async function read(reader) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = events.pop();
    const whole = events.filter((event) => event.startsWith("data: "));
    if (whole.length) show(JSON.parse(whole.pop().slice(6)));
  }
}

function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((wake) => document.addEventListener("visibilitychange", wake, { once: true })).then(visible);
}

async function follow() {
  for (;;) {
    await visible();
    const hanging = new AbortController();
    const hide = () => document.hidden && hanging.abort();
    document.addEventListener("visibilitychange", hide);
    let pause = 200;
    try {
      const answer = await fetch("live?topic=" + target.dataset.live, { signal: hanging.signal });
      if (answer.status === 401) {
        location.assign("login?next=" + target.dataset.live);
        return;
      }
      if (!answer.ok) throw new Error(answer.status);
      await read(answer.body.getReader());
    } catch {
      pause = 5000;
      state.textContent = last ? "Last figures of " + last + " UTC, trying again" : "Not live now, trying again";
    }
    document.removeEventListener("visibilitychange", hide);
    await new Promise((wake) => setTimeout(wake, pause));
  }
}

if (target) follow();
