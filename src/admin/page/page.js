// Keeps the page true: after an event it fetches the page again, and replaces the parts that differ.
"use strict";

// Milliseconds from one fetch to the next. Figures that cause no event, such as latencies, wait for REFRESH.
const PAUSE = 250;
const REFRESH = 10000;

const connection = document.getElementById("connection");
let timer = null;
let last = -PAUSE;

function show(isLive) {
  connection.textContent = isLive ? connection.dataset.liveText : connection.dataset.lostText;
  connection.className = isLive ? "good" : "bad";
}

async function refresh() {
  last = performance.now();
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.title = fresh.title;
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (next === null) continue;
    part.className = next.className;
    if (next.innerHTML !== part.innerHTML) part.replaceChildren(...next.childNodes);
  }
}

// At most one fetch runs; what happens meanwhile causes the next one.
let running = false;
let again = false;
function soon() {
  if (running) {
    again = true;
  } else if (timer === null) {
    timer = setTimeout(async () => {
      timer = null;
      running = true;
      try {
        await refresh();
        show(events.readyState === EventSource.OPEN);
      } catch {
        show(false);
      }
      running = false;
      if (again) {
        again = false;
        soon();
      }
    }, Math.max(0, last + PAUSE - performance.now()));
  }
}

let events;
function listen() {
  events = new EventSource("/events");
  events.onopen = soon;
  events.onmessage = soon;
  events.onerror = () => show(false);
}
listen();
setInterval(() => {
  // A browser connects again by itself, unless it was turned away.
  if (events.readyState === EventSource.CLOSED) listen();
  soon();
}, REFRESH);
