// Token search: copies the drawn curve to the form and the address, and refreshes the list.
import { ask, find, findAll, onKey, say } from "./util.js";
import { clearFault, showFault } from "./fault.js";
import { focusPad, startSketch } from "./sketch-pad.js";
import { focusMap, startMap } from "./map.js";

const WAIT_MS = 350;
const SWAPPED = [".presets", "#active", "#results", "footer.site"];
let form, loadedAddress, timer, turn = 0;

// Fields that belong to the curves of a choice, and are dropped when it changes.
const DEPENDENT_FIELDS = {
  axis: ["model", "sketch", "at", "lasso", "lasso_of", "emergence_min", "emergence_max", "only_largest", "right", "zoom"],
  model: ["lasso", "lasso_of", "zoom"],
  suite: ["model", "sketch", "at", "lasso", "lasso_of", "zoom"],
  corpus: ["like", "document", "source", "cluster", "lasso", "lasso_of", "zoom"],
};

function isChanged(name) {
  const field = form.elements.namedItem(name);
  if (!field?.options) return field ? field.value !== field.defaultValue : false;
  const before = [...field.options].find((choice) => choice.defaultSelected) ?? field.options[0];
  return field.value !== before.value;
}

/** Drop fields that belong to the former curves, unless they were edited for the new ones. */
function dropDependent(data) {
  for (const [choice, names] of Object.entries(DEPENDENT_FIELDS)) {
    if (!isChanged(choice)) continue;
    for (const name of names) if (name === "sketch" || !isChanged(name)) data.delete(name);
  }
  const corpus = form.elements.namedItem("corpus")?.selectedOptions[0];
  if (corpus && !corpus.dataset.suites.split(" ").includes(data.get("suite"))) data.delete("suite");
  if (!["sketch", "preset", "like"].some((name) => data.has(name))) {
    data.delete("inv");
    if (data.get("sort") === "distance") data.delete("sort");
  }
}

/** Send invariances once, and only where they differ from the default. */
function tidyInvariances(data) {
  const names = data.getAll("inv").filter((name) => name !== "none");
  const defaults = data.has("preset") ? "level" : "";
  data.delete("inv");
  if (names.join() === defaults) return;
  for (const name of names.length ? names : ["none"]) data.append("inv", name);
}

/** The current address with another curve; edited filters that were not sent stay out of it. */
function addressWith(sketch) {
  const url = new URL(location.href);
  const query = url.searchParams;
  for (const name of ["sketch", "preset", "at", "like", "inv", "cursor"]) query.delete(name);
  if (!sketch && query.get("sort") === "distance") query.delete("sort");
  if (sketch) {
    query.set("sketch", sketch);
    for (const box of findAll("[name=inv]:checked", form)) query.append("inv", box.value);
    // Sorted by distance, the nearest come first.
    if ((query.get("sort") ?? "distance") === "distance") query.delete("order");
  }
  return url.pathname + (query.size ? `?${query.toString().replace(/%3A/g, ":").replace(/%2C/g, ",")}` : "");
}

/** Replace the list, the filters and the API call with the server's new ones. */
async function refresh(address) {
  const thisTurn = ++turn;
  const results = find("#results");
  results.setAttribute("aria-busy", "true");
  try {
    const reply = await ask(address).catch((error) => {
      // A refused query has a page too, with the error at its field.
      if (error.page && find("#active", error.page)) return error;
      throw error;
    });
    const page = reply.page ?? new DOMParser().parseFromString(await reply.text(), "text/html");
    if (thisTurn !== turn) return;
    clearFault(results);
    for (const part of SWAPPED) find(part).replaceWith(document.adoptNode(find(part, page)));
    say(find(".count").textContent);
  } catch (error) {
    if (thisTurn !== turn) return;
    showFault(results, error, "The list shows the search before.", () => refresh(address));
  } finally {
    results.removeAttribute("aria-busy");
  }
}

/** Search for the drawn curve instead of a preset or an example; an empty one removes the shape. */
function onSketch(sketch, isFinal) {
  for (const other of findAll("[data-shape], select[name=at]", form)) other.disabled = true;
  const field = form.elements.namedItem("sketch");
  field.disabled = false;
  field.value = sketch;
  const address = addressWith(sketch);
  history.replaceState(history.state, "", address);
  clearTimeout(timer);
  if (isFinal) timer = setTimeout(() => refresh(address), WAIT_MS);
}

/** Restore the address of the history entry that a submitted form leaves. */
function onSubmit() {
  clearTimeout(timer);
  const before = new URL(loadedAddress, location.href);
  const zoom = new URLSearchParams(location.search).get("zoom");
  if (zoom) before.searchParams.set("zoom", zoom);
  history.replaceState(history.state, "", before);
}

/** Start the search page. */
export function start() {
  form = find("[data-search]");
  loadedAddress = location.pathname + location.search;
  const map = find("[data-map]");
  if (find(".pad", form)) {
    startSketch(form, onSketch);
    onKey("s", focusPad);
  }
  form.addEventListener("formdata", ({ formData }) => {
    dropDependent(formData);
    tidyInvariances(formData);
  });
  form.addEventListener("submit", onSubmit);
  if (map) {
    startMap(map);
    onKey("u", focusMap);
  }
  form.dataset.state = "ready";
  // A page from the browser's back/forward cache shows its last drawing, not that of its address.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}
