// What the page shows of a live dub, and what it asks for. It knows the page's elements, not the call.

const $ = (id) => document.getElementById(id);
const STATES = { starting: "Starting the back ends", listening: "Listening", degraded: "Partly off", off: "Off" };
const names = new Intl.DisplayNames(["en"], { type: "language" });
let pairs = [];

const name = (tag) => (tag === "auto" ? "any language" : names.of(tag));

function fill(select, tags) {
  const before = select.value;
  select.replaceChildren(...tags.map((tag) => new Option(name(tag), tag)));
  if (tags.includes(before)) select.value = before;
}

function fillTargets() {
  fill($("dub-to"), pairs.filter(({ from }) => from === $("dub-from").value).map(({ to }) => to));
}

// dubbing: the server's { languages: [{ from, to }], voices, warning }.
export function offerDub(dubbing) {
  pairs = dubbing?.languages ?? [];
  fill($("dub-from"), [...new Set(pairs.map(({ from }) => from))]);
  if (pairs.some(({ from }) => from === "en")) $("dub-from").value = "en";
  $("dub-voices").replaceChildren(...(dubbing?.voices ?? []).map((voice) => new Option(voice, voice)));
  fillTargets();
  if (pairs.some(({ from, to }) => from === $("dub-from").value && to === "es")) $("dub-to").value = "es";
  $("dub-note").textContent = dubbing?.warning ?? "";
  $("dub-note").hidden = !dubbing?.warning;
}

export function dubChoice() {
  const voice = $("dub-voice").value.trim();
  return { mode: "dub", from: $("dub-from").value, to: $("dub-to").value, video: document.querySelector("input[name=video]:checked").value, speaker_voice: voice };
}

export function onDubChange(act) {
  $("dub-from").addEventListener("change", fillTargets);
  $("dub-set").addEventListener("change", act);
}

// dub: the figures' account of the dub, or null; location: the session's address, for the downloads.
export function showDub(dub, location) {
  $("dub-panel").hidden = $("captions").hidden = !dub;
  if (!dub) return;
  showCaption(dub);
  showBehind(dub);
  $("dub-state").textContent = STATES[dub.state] ?? dub.state;
  const counts = Object.entries(dub.counts ?? {}).filter(([, count]) => count);
  $("dub-counts").textContent = counts.map(([kind, count]) => `${kind.replaceAll("_", " ")} ${count}`).join(", ");
  $("dub-warnings").replaceChildren(...(dub.warnings ?? []).map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  for (const link of document.querySelectorAll("#dub-files a")) link.href = `${location}/${link.dataset.file}`;
}

function showCaption({ captions, tentative, to }) {
  const last = captions.at(-1);
  write("caption-source", last?.source ?? "");
  $("caption-target").lang = to;
  write("caption-target", last?.target ?? "");
  write("caption-tentative", tentative ?? "");
}

// A screen reader reads what is written anew, even where it stays the same.
function write(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function showBehind({ lag_ms, target_lag_ms, lag_max_ms }) {
  const known = Number.isFinite(lag_ms), late = known && lag_ms > target_lag_ms;
  const share = (ms) => `${Math.max(0, Math.min(100, (100 * ms) / lag_max_ms))}%`;
  $("behind").textContent = known ? (lag_ms / 1000).toFixed(1) : "–";
  $("behind-fill").style.width = known ? share(lag_ms) : "0";
  $("behind-goal").style.left = share(target_lag_ms);
  $("behind-max").textContent = `${(lag_max_ms / 1000).toFixed(1)} s`;
  $("behind-meter").classList.toggle("late", late);
  $("behind-meter").setAttribute("aria-label", known ? `${(lag_ms / 1000).toFixed(1)} seconds behind${late ? ", beyond the target" : ""}` : "No figures yet");
}
