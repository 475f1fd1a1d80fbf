// Token search: the drawn curve goes into the form and the address, and the list follows it.
import { all, ask, onKey, one, say } from "./util.js";
import { clearFault, showFault } from "./fault.js";
import { focusPad, startSketch } from "./sketch-pad.js";
import { focusMap, startMap } from "./map.js";

const WAIT_MS = 350;
const SWAPPED = [".presets", "#active", "#results", "footer.site"];
let form, asked, timer, turn = 0;

// What means nothing any more once the curves are others.
const BOUND = {
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

/** Leave out what belongs to the curves of before; what was typed for the new ones stays. */
function leaveBehind(data) {
  for (const [choice, names] of Object.entries(BOUND)) {
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

/** Say what the distance ignores once, and only where it is not what it is by default. */
function tidyInvariances(data) {
  const asked = data.getAll("inv").filter((name) => name !== "none");
  const [said, usual] = [asked.join(), data.has("preset") ? "level" : ""];
  data.delete("inv");
  if (said === usual) return;
  for (const name of asked.length ? asked : ["none"]) data.append("inv", name);
}

/** The address shown, for another curve: filters that are typed but not searched for stay out of it. */
function addressWith(sketch) {
  const url = new URL(location.href);
  const query = url.searchParams;
  for (const name of ["sketch", "preset", "at", "like", "inv", "cursor"]) query.delete(name);
  if (!sketch && query.get("sort") === "distance") query.delete("sort");
  if (sketch) {
    query.set("sketch", sketch);
    for (const box of all("[name=inv]:checked", form)) query.append("inv", box.value);
    // The nearest come first, whatever was sorted by before.
    if ((query.get("sort") ?? "distance") === "distance") query.delete("order");
  }
  return url.pathname + (query.size ? `?${query.toString().replace(/%3A/g, ":").replace(/%2C/g, ",")}` : "");
}

/** Put the server's new list, filters and API call in place of the old ones. */
async function refresh(address) {
  const mine = ++turn;
  const results = one("#results");
  results.setAttribute("aria-busy", "true");
  try {
    const reply = await ask(address).catch((error) => {
      // A question that cannot be answered has its page: it says so at the field.
      if (error.page && one("#active", error.page)) return error;
      throw error;
    });
    const page = reply.page ?? new DOMParser().parseFromString(await reply.text(), "text/html");
    if (mine !== turn) return;
    clearFault(results);
    for (const part of SWAPPED) one(part).replaceWith(document.adoptNode(one(part, page)));
    say(one(".count").textContent);
  } catch (error) {
    if (mine !== turn) return;
    showFault(results, error, "The list is the one from before.", () => refresh(address));
  } finally {
    results.removeAttribute("aria-busy");
  }
}

/** A drawn curve takes the place of a preset or an example; an empty one of every shape. */
function onSketch(sketch, isFinal) {
  for (const other of all("[data-shape], select[name=at]", form)) other.disabled = true;
  const field = form.elements.namedItem("sketch");
  field.disabled = false;
  field.value = sketch;
  const address = addressWith(sketch);
  history.replaceState(history.state, "", address);
  clearTimeout(timer);
  if (isFinal) timer = setTimeout(() => refresh(address), WAIT_MS);
}

/** A search is a new entry of the history: the one before it keeps what it asked for. */
function onSubmit() {
  clearTimeout(timer);
  const before = new URL(asked, location.href);
  const zoom = new URLSearchParams(location.search).get("zoom");
  if (zoom) before.searchParams.set("zoom", zoom);
  history.replaceState(history.state, "", before);
}

/** Bring the search page to life. */
export function start() {
  form = one("[data-search]");
  asked = location.pathname + location.search;
  const map = one("[data-map]");
  if (one(".pad", form)) {
    startSketch(form, onSketch);
    onKey("s", focusPad);
  }
  form.addEventListener("formdata", ({ formData }) => {
    leaveBehind(formData);
    tidyInvariances(formData);
  });
  form.addEventListener("submit", onSubmit);
  if (map) {
    startMap(map);
    onKey("u", focusMap);
  }
  form.dataset.state = "ready";
  // A page kept by the browser has the drawing of its last moment, not that of its address.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}
