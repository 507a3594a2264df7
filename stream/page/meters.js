// Draws the measurements. Every function takes figures and touches only its own part of the page.

const $ = (id) => document.getElementById(id);
// In the order of a frame's journey; what is not listed comes last, under its own name.
const NAMES = {
  decode_wait: "Wait for the decoder", decode: "Decode", faces: "Find the face", render: "Draw the mouth", filter: "Filter",
  encode: "Encode", send: "Send",
  audio_decode: "Decode sound", audio_encode: "Encode sound",
};
const ORDER = Object.keys(NAMES);
const place = ([key]) => (ORDER.includes(key) ? ORDER.indexOf(key) : ORDER.length);
const REASONS = {
  pass_through: "pass-through", no_face: "no face", low_confidence: "face turned away or covered", no_voice: "no voice", no_time: "no time left to draw it",
  faces_failed: "finding the face failed", faces_off: "finding faces is switched off after failures",
  render_failed: "drawing failed", render_off: "drawing is switched off after failures",
};
const words = (key, names) => names[key] ?? key.replaceAll("_", " ");
const signed = (ms) => `${ms < 0 ? "−" : "+"}${Math.abs(ms).toFixed(0)} ms`;
const FRAME_MS = 40; // one frame at 25 fps: the whole budget
const SCALE_MS = 150;

export function showStages(stages) {
  const entries = Object.entries(stages ?? {}).sort((a, b) => place(a) - place(b));
  if (!entries.length) return;
  const end = Math.max(FRAME_MS, ...entries.map(([, s]) => s.p95_ms));
  $("bar-end").textContent = end > FRAME_MS ? `${end.toFixed(0)} ms` : "40 ms, one frame at 25 fps";
  const body = $("stage-rows");
  const known = new Map([...body.querySelectorAll("tr[data-stage]")].map((row) => [row.dataset.stage, row]));
  body.replaceChildren(...entries.map(([key, s]) => fillRow(known.get(key) ?? newRow(key), s, end)));
}

function newRow(key) {
  const row = document.createElement("tr");
  row.dataset.stage = key;
  row.innerHTML = '<td><span></span> <em class="failed"></em></td><td></td><td></td><td class="meter"><div aria-hidden="true"><i></i><s></s></div></td>';
  row.querySelector("span").textContent = words(key, NAMES);
  return row;
}

function fillRow(row, s, end) {
  row.querySelector("em").textContent = s.failed ? `${s.failed} failed` : "";
  row.children[1].textContent = s.p50_ms.toFixed(1);
  row.children[2].textContent = s.p95_ms.toFixed(1);
  row.querySelector("i").style.width = `${Math.min(100, (100 * s.p50_ms) / end)}%`;
  const tail = row.querySelector("s").style;
  tail.left = `${Math.min(100, (100 * s.p50_ms) / end)}%`;
  tail.width = `${Math.min(100, (100 * (s.p95_ms - s.p50_ms)) / end)}%`;
  return row;
}

export function showFrames(frames) {
  if (!frames) return;
  const passed = Object.entries(frames.passed ?? {}).filter(([, n]) => n > 0);
  const counts = { ...frames, passed: passed.reduce((sum, [, n]) => sum + n, 0) };
  for (const cell of document.querySelectorAll("[data-count]")) {
    const count = counts[cell.dataset.count];
    cell.textContent = count === undefined ? "–" : count.toLocaleString("en");
    cell.parentElement.classList.toggle("alert", count > 0 && ["dropped", "late"].includes(cell.dataset.count));
  }
  $("reasons").classList.toggle("bad", passed.some(([key]) => key.endsWith("_off")));
  $("reasons").textContent = passed.length
    ? `Passed unchanged: ${passed.map(([key, n]) => `${words(key, REASONS)} ${n.toLocaleString("en")}`).join(", ")}.`
    : "Dropped: a newer frame took its place. Late: its moment to be shown had gone. No frame has passed unchanged so far.";
}

// where: "engine" or "screen"; offset in ms, positive = sound late; undefined = not known.
export function showOffset(where, offset, note = "") {
  const scale = $(`scale-${where}`), needle = scale.querySelector(".needle"), known = Number.isFinite(offset);
  $(`offset-${where}`).textContent = known ? `${signed(offset)}${note}` : "–";
  needle.hidden = !known;
  if (!known) return scale.setAttribute("aria-label", "No figures yet");
  const clipped = Math.max(-SCALE_MS, Math.min(SCALE_MS, offset));
  needle.style.left = `${50 + (50 * clipped) / SCALE_MS}%`;
  scale.setAttribute("aria-label", offset < 0 ? `the sound is ${-offset.toFixed(0)} ms early` : `the sound is ${offset.toFixed(0)} ms late`);
}

// parts: [name, ms] in the order of the journey, the same order every time.
export function showGlass(parts) {
  const known = parts.filter(([, ms]) => Number.isFinite(ms));
  if (!known.length) return;
  const sum = known.reduce((total, [, ms]) => total + ms, 0);
  const label = (ms) => (ms < 9.95 ? ms.toFixed(1) : ms.toFixed(0));
  $("glass").textContent = `≈ ${sum.toFixed(0)}`;
  const bar = $("waterfall"), key = $("waterfall-key");
  bar.setAttribute("aria-label", known.map(([name, ms]) => `${name} ${label(ms)} ms`).join(", "));
  while (bar.children.length < parts.length) bar.append(document.createElement("i"));
  parts.forEach(([, ms], index) => {
    bar.children[index].className = `part-${index}`;
    bar.children[index].style.width = `${(100 * (ms || 0)) / Math.max(sum, 1)}%`;
  });
  key.replaceChildren(...parts.map(([name, ms], index) => {
    const item = document.createElement("li");
    item.innerHTML = `<i class="part-${index}"></i><span></span><b></b>`;
    item.children[1].textContent = name;
    item.children[2].textContent = Number.isFinite(ms) ? label(ms) : "–";
    return item;
  }));
}

export function showLag(lag) {
  $("loop-lag").textContent = lag ? `The event loop is late by ${lag.p99.toFixed(1)} ms at most in 99 of 100 cases.` : "";
}

export function clearMeters() {
  showOffset("engine");
  showOffset("screen");
  $("glass").textContent = "–";
  $("waterfall").replaceChildren();
  $("waterfall-key").replaceChildren();
  $("waterfall").setAttribute("aria-label", "No figures yet");
  $("stage-rows").innerHTML = '<tr class="none"><td colspan="4">Figures appear while a session runs.</td></tr>';
  for (const cell of document.querySelectorAll("[data-count]")) cell.textContent = "–";
  showLag(null);
}
