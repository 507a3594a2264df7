// The page's one state machine: idle -> opening -> live -> (waiting -> live) -> idle.

import { BrowserMeter } from "./browser.js";
import { Call, addVoice, fetchOptions } from "./call.js";
import { dubChoice, offerDub, onDubChange, showDub } from "./dub.js";
import { filterChoice, filtered, offerFilters, onFilterChange, showFilter } from "./filter.js";
import { clearMeters, showFrames, showGlass, showLag, showOffset, showStages } from "./meters.js";
import { openCamera, openSample } from "./source.js";

const $ = (id) => document.getElementById(id);
const RETRY_S = [1, 2, 4, 8, 15];
const HINTS = {
  "pass-through": "Nothing is changed: picture and sound come back as they went.",
  "re-voice": "The lips follow the chosen voice, and that voice is what you hear.",
  dub: "You speak one language, they hear another; the lips follow the dub.",
};
const FILTERED = "Only the filter changes the picture; the sound comes back as it went.";

const now = { stream: null, call: null, figures: null, meter: null, attempt: 0, timers: [], since: 0, turn: 0, limit: Infinity };

// ---- words on the screen

function setState(state, text) {
  document.body.dataset.state = state;
  $("state-text").textContent = text;
  $("stop").disabled = state === "idle";
}

function say(text, actions = []) {
  $("message").hidden = !text;
  $("message-text").textContent = text;
  $("message-actions").replaceChildren(...actions.map(([label, act]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.onclick = act;
    return button;
  }));
}

function choice() {
  const mode = document.querySelector("input[name=mode]:checked").value;
  if (mode === "dub") return dubChoice();
  return mode === "re-voice" && $("voice").value ? { mode, voice: $("voice").value } : { mode };
}

function showMode(mode) {
  const dubs = choice().mode === "dub";
  $("dub-set").hidden = !dubs;
  $("voice-set").hidden = dubs;
  const passes = mode === "pass-through", changed = !passes || filtered();
  $("mode-hint").textContent = passes && filtered() ? FILTERED : HINTS[mode] ?? "";
  $("tag").textContent = !passes ? "Synthetic" : filtered() ? "Filtered" : "Pass-through";
  $("tag").classList.toggle("made", changed);
  $("tag").hidden = !now.stream;
}

// ---- starting and stopping

async function begin(button, open) {
  stop();
  const turn = now.turn;
  setState("opening", "Opening the source");
  button.classList.add("on");
  try {
    const stream = await open();
    if (turn !== now.turn) return stream.getTracks().forEach((track) => track.stop());
    now.stream = stream;
  } catch (error) {
    if (turn !== now.turn) return;
    stop();
    return say(error.message);
  }
  const [track] = now.stream.getVideoTracks();
  track?.addEventListener("ended", () => now.stream && (stop(), say("The camera was taken away. Plug it in again, or use the sample clip.")));
  showOriginal();
  showMode(choice().mode);
  await connect();
}

function showOriginal() {
  const { width, height } = now.stream.getVideoTracks()[0]?.getSettings() ?? {};
  const size = width ?? $("original").videoWidth, lines = height ?? $("original").videoHeight;
  if (size) document.querySelector(".stage").style.setProperty("--aspect", Math.max(0.6, Math.min(2.2, size / lines)));
  $("original-note").textContent = [size && `${size} × ${lines}`, now.stream.note ?? "sound muted here"].filter(Boolean).join(", ");
}

async function connect() {
  const call = (now.call = new Call());
  setState("opening", "Connecting");
  call.addEventListener("picture", ({ detail }) => showResult(detail));
  call.addEventListener("live", () => live());
  call.addEventListener("figures", ({ detail }) => showFigures(detail));
  call.addEventListener("lost", ({ detail }) => now.call === call && recover(detail));
  try {
    await call.open(now.stream, { ...choice(), ...(filtered() ? filterChoice() : {}) });
  } catch (error) {
    call.close();
    if (now.call === call) recover(error);
  }
}

function showResult(picture) {
  const result = $("result");
  if (result.srcObject !== picture) result.srcObject = picture;
  result.play().catch(() => {
    // A browser may refuse sound that nobody asked for: the picture goes on without it.
    setSound(false);
    result.play().catch(() => {});
  });
}

function live() {
  now.attempt = 0;
  now.since = performance.now();
  now.meter = new BrowserMeter();
  $("sound").disabled = false;
  say("");
  setState("live", "Live 0:00");
  clearTimers();
  now.timers.push(setInterval(tick, 1000));
}

function clearTimers() {
  now.timers.forEach((timer) => clearInterval(timer));
  now.timers = [];
}

// The call failed or broke; the source stays open while the server is tried again.
function recover(error) {
  now.call = null;
  clearTimers();
  if (error.kind === "gone") return waitFor(RETRY_S[Math.min(now.attempt++, RETRY_S.length - 1)], error.message);
  if (error.kind === "full") return waitFor(error.retryAfter_s, error.message);
  stop();
  say(error.kind === "ended" ? `${error.message} Choose a source to start again.` : error.message);
}

function waitFor(seconds, why) {
  setState("waiting", "Waiting for the server");
  const retry = () => { clearTimers(); connect(); };
  let left = Math.ceil(seconds);
  const show = () => say(`${why} Trying again in ${left} s.`, [["Try now", retry], ["Stop", stop]]);
  show();
  now.timers.push(setInterval(() => (--left > 0 ? ($("message-text").textContent = `${why} Trying again in ${left} s.`) : retry()), 1000));
}

function stop() {
  now.turn++;
  now.call?.close();
  now.stream?.getTracks().forEach((track) => track.stop());
  clearTimers();
  Object.assign(now, { stream: null, call: null, figures: null, attempt: 0 });
  const original = $("original");
  original.pause();
  original.srcObject = null;
  original.removeAttribute("src");
  original.load();
  $("result").srcObject = null;
  $("tag").hidden = true;
  $("sound").disabled = true;
  $("original-note").textContent = "sound muted here";
  $("result-note").textContent = "waiting";
  for (const button of document.querySelectorAll(".primary")) button.classList.remove("on");
  say("");
  clearMeters();
  showDub(null);
  showFilter(null);
  setState("idle", "Ready");
}

// ---- figures

function showFigures(figures) {
  now.figures = figures;
  showStages(figures.stages);
  showFrames(figures.frames);
  showOffset("engine", figures.av_offset_ms?.p50 ?? NaN);
  showLag(figures.loop_lag_ms);
  showDub(figures.dub, now.call?.location);
  showFilter(figures.filter);
  if (figures.mode) showMode(figures.mode);
}

async function tick() {
  const { call, meter, figures } = now;
  const seconds = Math.floor((performance.now() - now.since) / 1000);
  $("state-text").textContent = `Live ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  const stats = await call?.stats();
  if (!stats?.length || now.call !== call) return;
  const seen = meter.read(stats);
  showOffset("screen", seen.offset_ms);
  // A picture that is ready early waits until its delay is over; one that is late does not wait at all.
  const engine = figures?.latency_ms?.p50, codec = (figures?.stages?.decode?.p50_ms ?? 0) + (figures?.stages?.encode?.p50_ms ?? 0);
  showGlass([
    ["encode here", seen.encode_ms], ["network there", seen.wire_ms],
    ["engine", engine + codec], ["held for the sound", Math.max(0, figures?.delay_ms - engine)],
    ["network back", seen.wire_ms], ["browser's buffer", seen.buffer_ms], ["decode here", seen.decode_ms],
  ]);
  if (seen.width) {
    $("result-note").textContent = `${seen.width} × ${seen.height}, ${(seen.fps ?? 0).toFixed(0)} fps, ${seen.codec ?? ""}`;
  }
}

// ---- controls

function setSound(on) {
  $("result").muted = !on;
  $("sound").setAttribute("aria-pressed", String(on));
  $("sound-text").textContent = on ? "Sound is on" : "Sound is off";
}

async function change() {
  showMode(choice().mode);
  try {
    await now.call?.change(choice());
  } catch (error) {
    say(error.message);
  }
}

// One wish is on its way at a time; of those that come meanwhile the last one counts.
async function changeFilter() {
  showMode(choice().mode);
  if (now.filtering) return (now.filterAgain = true);
  now.filtering = true;
  try {
    do {
      now.filterAgain = false;
      await now.call?.change(filterChoice());
    } while (now.filterAgain);
  } catch (error) {
    say(error.message);
  } finally {
    now.filtering = false;
  }
}

function addOption(voice) {
  const option = new Option(`${voice.name}, ${voice.duration_s.toFixed(1)} s`, voice.id);
  $("voice").append(option);
  return option;
}

async function upload(file) {
  const error = $("voice-error");
  error.hidden = true;
  if (file.size > now.limit) {
    error.textContent = `${file.name} has ${(file.size / 1e6).toFixed(1)} MB; the server takes up to ${(now.limit / 1e6).toFixed(0)} MB.`;
    return (error.hidden = false);
  }
  $("drop-text").textContent = `Reading ${file.name}`;
  try {
    addOption(await addVoice(file)).selected = true;
    document.querySelector("input[value=re-voice]").checked = true;
    await change();
  } catch (failure) {
    error.textContent = failure.message;
    error.hidden = false;
  } finally {
    $("drop-text").innerHTML = "<b>Add a voice</b>: choose a WAV or drop it here";
    $("voice-file").value = "";
  }
}

async function loadOptions() {
  try {
    const options = await fetchOptions();
    now.limit = options.max_upload_bytes ?? Infinity;
    $("voice").replaceChildren();
    options.voices.forEach(addOption);
    offerDub(options.dubbing);
    offerFilters(options.filters, options.filter_order);
    for (const input of document.querySelectorAll("input[name=mode]")) {
      input.disabled = !options.modes.includes(input.value);
      if (input.disabled && input.checked) document.querySelector(`input[value="${options.modes[0]}"]`).checked = true;
    }
    $("mode-hint").textContent = HINTS[choice().mode];
  } catch (error) {
    say(error.message, [["Try again", () => { say(""); loadOptions(); }]]);
  }
}

$("use-camera").onclick = () => begin($("use-camera"), async () => {
  const stream = await openCamera($("camera-format").value);
  $("original").srcObject = stream;
  $("original").play().catch(() => {});
  return stream;
});
$("use-sample").onclick = () => begin($("use-sample"), () => openSample($("original")));
$("stop").onclick = stop;
$("sound").onclick = () => setSound($("result").muted);
$("controls").onsubmit = (event) => event.preventDefault();
$("modes").onchange = change;
$("voice").onchange = change;
onDubChange(change);
onFilterChange(changeFilter);
$("interrupt").onclick = () => now.call?.change({ interrupt: true }).catch((error) => say(error.message));
$("camera-format").onchange = () => $("use-camera").classList.contains("on") && $("use-camera").click();
$("voice-file").onchange = ({ target }) => target.files[0] && upload(target.files[0]);
for (const name of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) upload(event.dataTransfer.files[0]);
  });
}
addEventListener("pagehide", () => now.call?.close());
setSound(false);
loadOptions();
