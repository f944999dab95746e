// Shows live figures: reads live?topic=... and puts each fragment into the element with data-live.
"use strict";

const target = document.querySelector("[data-live]");
const state = document.querySelector("#live");
let last = "";

function show(html) {
  last = new Date().toISOString().slice(11, 19);
  state.textContent = "Live · figures of " + last + " UTC";
  // What has the focus or is being selected stays as it is until that is over.
  const selected = getSelection();
  const used = target.contains(document.activeElement) || (!selected.isCollapsed && target.contains(selected.anchorNode));
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
