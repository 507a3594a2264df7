// The filter: what can be chosen, how it is laid on, and what it costs. It knows the page's elements, not the call.

const $ = (id) => document.getElementById(id);
const REASONS = { no_time: "no time left", no_face: "no face", failed: "it failed", off: "it is switched off" };
let titles = new Map();
let region = "";

const picked = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const percent = (id) => `${Math.round(100 * $(id).value)} %`;

// filters: the server's [{ name, title, region, anonymous, p50_ms }]; order: the server's own, "before" or "after".
export function offerFilters(filters, order) {
  titles = new Map((filters ?? []).map((each) => [each.name, each]));
  const options = [...titles.values()].map((each) => new Option(each.title, each.name));
  $("filter").replaceChildren(new Option("none", ""), ...options);
  $("filter-set").hidden = !titles.size;
  if (order) document.querySelector(`input[name=filter-order][value=${order}]`).checked = true;
  showLaying();
}

// Whether the picture is filtered, and how, as the server takes it; an empty name takes the filter away.
export const filtered = () => $("filter").value !== "";

// A filter that hides who is there is laid on whole or not at all: nothing of it can be chosen.
const hides = () => Boolean(titles.get($("filter").value)?.anonymous);

export function filterChoice() {
  if (!filtered()) return { filter: "" };
  if (hides()) return { filter: $("filter").value };
  return {
    filter: $("filter").value, filter_strength: $("filter-strength").value, filter_wipe: $("filter-wipe").value,
    filter_order: picked("filter-order"), filter_region: picked("filter-region"),
  };
}

export function onFilterChange(act) {
  // A slider tells every step while it is moved: the picture follows the hand.
  $("filter-set").addEventListener("input", () => { showLaying(); act(); });
}

// A filter is laid where it was made for, until somebody says otherwise.
function takeRegion() {
  const made = titles.get($("filter").value)?.region;
  if (made && made !== region && !hides()) document.querySelector(`input[name=filter-region][value=${made}]`).checked = true;
  region = made ?? region;
}

function showLaying() {
  takeRegion();
  for (const control of document.querySelectorAll("#filter-laying input")) control.disabled = !filtered() || hides();
  for (const id of ["filter-strength", "filter-wipe"]) {
    $(`${id}-text`).textContent = percent(id);
    $(id).setAttribute("aria-valuetext", percent(id));
  }
}

// account: the figures' account of the filter, or null where nothing runs.
export function showFilter(account) {
  const name = account?.chosen?.name, cost = account?.latency_ms ?? {};
  for (const option of $("filter").options) {
    const title = titles.get(option.value)?.title, ms = cost[option.value]?.p50;
    if (title) option.textContent = ms ? `${title}, ${ms.toFixed(1)} ms` : title;
  }
  const passed = Object.entries(account?.passed ?? {}).filter(([key, count]) => count && key !== "unseen");
  const counted = (reasons) => reasons.map(([key, count]) => `${REASONS[key] ?? key} ${count.toLocaleString("en")}`).join(", ");
  const left = counted(passed), hidden = counted(Object.entries(account?.hidden ?? {}));
  const spent = name && cost[name] ? `${cost[name].p50.toFixed(1)} ms a frame, 95 of 100 below ${cost[name].p95.toFixed(1)}. ` : "";
  const covered = account?.covered ? ` Drawn anew while a mouth was covered: ${account.covered.toLocaleString("en")}.` : "";
  const hurried = account?.hurried ? `, in a hurry: ${account.hurried.toLocaleString("en")}` : "";
  const note = account?.off
    ? "The filter failed for a second on end and is switched off; choose one to try again."
    : name ? `${spent}Filtered ${account.filtered.toLocaleString("en")}${hurried}${left ? `, left as they were: ${left}` : ""}${hidden ? `, hidden: ${hidden}` : ""}.` : "";
  $("filter-note").textContent = `${note}${covered}`.trim();
  $("filter-note").classList.toggle("bad", Boolean(account?.off));
}
