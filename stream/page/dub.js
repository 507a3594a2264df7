// Live dubbing on the page: languages, captions over the picture, how far the dub is behind.

const $ = (id) => document.getElementById(id);
const names = new Intl.DisplayNames([navigator.language, "en"], { type: "language" });
const SHOWN_MS = 6000;
let pairs = [], last = { id: 0, at: 0 };

export function offerDub({ pairs: offered = [], warning = null } = {}) {
  pairs = offered;
  fill($("dub-from"), [...new Set(pairs.map(([from]) => from))]);
  offerTargets();
  $("dub-warning").textContent = warning ?? "";
  $("dub-warning").hidden = !warning;
}

export function offerTargets() {
  fill($("dub-to"), pairs.filter(([from]) => from === $("dub-from").value).map(([, to]) => to));
}

function fill(select, tags) {
  const before = select.value;
  select.replaceChildren(...tags.map((tag) => new Option(names.of(tag) ?? tag, tag)));
  if (tags.includes(before)) select.value = before;
  else if (tags.includes("es")) select.value = "es";
}

export const dubChoice = () => ({ mode: "dub", from: $("dub-from").value, to: $("dub-to").value, video: $("dub-video").value });

export function showDubMode(on) {
  $("dub-set").hidden = !on;
  $("voice-set").hidden = on;
  $("dub-meter").hidden = !on;
  if (!on) clearDub();
}

export function clearDub() {
  last = { id: 0, at: 0 };
  $("captions").hidden = true;
  $("dub-lag").textContent = "–";
  $("dub-state").textContent = "";
  $("dub-notes").replaceChildren();
}

export function showDub(dub, location) {
  if (!dub) return clearDub();
  showCaptions(dub);
  showLag(dub);
  $("dub-notes").replaceChildren(...dub.warnings.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  for (const link of document.querySelectorAll("[data-dub]")) link.href = `${location}/${link.dataset.dub}`;
}

function showCaptions(dub) {
  const newest = dub.captions.at(-1);
  if (newest && newest.id !== last.id) last = { id: newest.id, at: performance.now() };
  const fresh = newest && performance.now() - last.at < SHOWN_MS;
  const said = document.createElement("span"), guess = document.createElement("i");
  said.textContent = fresh ? newest.source : "";
  guess.textContent = dub.tentative ? ` ${dub.tentative}` : "";
  $("said").replaceChildren(said, guess);
  $("dubbed").textContent = fresh ? newest.target : "";
  $("dubbed").lang = dub.to;
  $("captions").hidden = !fresh && !dub.tentative;
}

function showLag(dub) {
  const lag = dub.lag_ms;
  $("dub-lag").textContent = lag === null ? "–" : (lag / 1000).toFixed(1);
  const scale = $("dub-scale"), share = (ms) => `${Math.min(100, (100 * ms) / dub.lag_max_ms)}%`;
  scale.style.setProperty("--lag", lag === null ? "0%" : share(lag));
  scale.style.setProperty("--target", share(dub.target_lag_ms));
  scale.classList.toggle("beyond", lag > dub.target_lag_ms + 1000);
  scale.setAttribute("aria-label", lag === null ? "Nothing dubbed yet" : `${(lag / 1000).toFixed(1)} s behind, at most ${dub.lag_max_ms / 1000} s`);
  const counts = dub.counts, parts = [`${counts.spoken ?? 0} clauses spoken`];
  if (counts.skipped) parts.push(`${counts.skipped} too late, shown as captions only`);
  if (counts.restarted) parts.push(`${counts.restarted} restarts of a back end`);
  if (counts.echo) parts.push(`${counts.echo} clauses of our own dub left out`);
  const words = { starting: "Starting", listening: "Listening", degraded: "Running in part", off: "Off: you are heard in your own voice" };
  $("dub-state").textContent = `${words[dub.state]}. ${parts.join(", ")}.`;
}
