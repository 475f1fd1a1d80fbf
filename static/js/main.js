// Runs on every page: theme, help, forms, keys; loads the modules of the page.
import { all, keepInAddress, one, say } from "./util.js";
import { startTokens } from "./tokens.js";
import { startKeys } from "./keys.js";

const THEMES = ["auto", "light", "dark"];

function startTheme() {
  const button = one('[data-action="theme"]');
  button.addEventListener("click", () => {
    const root = document.documentElement;
    const next = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
    root.dataset.theme = next;
    one("[data-theme-name]").textContent = next;
    document.cookie = `theme=${next}; path=/; max-age=31536000; samesite=lax`;
    keepInAddress({ theme: null });
    say(`theme ${next}`);
  });
}

function startHelp() {
  one('[data-action="help"]').addEventListener("click", () => one("#help").showModal());
}

function startForms() {
  // On the document, because parts of a page with forms may be added later.
  document.addEventListener("formdata", (event) => {
    const form = event.target;
    if (form.method !== "get") return;
    // Addresses have only the parameters that differ from the default.
    for (const [name, value] of [...event.formData]) {
      const field = form.elements.namedItem(name);
      if (field instanceof RadioNodeList) continue; // an empty value of a radio group may mean none
      if (value === "" || value === field?.dataset?.default) event.formData.delete(name);
    }
  });
  document.addEventListener("change", (event) => {
    event.target.closest("form[data-auto]")?.requestSubmit();
  });
}

function startLinkSliders() {
  for (const slider of all("input[data-links]")) {
    const links = all("a", one(slider.dataset.links));
    slider.value = links.findIndex((link) => link.ariaCurrent === "true");
    const name = () => slider.setAttribute("aria-valuetext", links[slider.value].textContent);
    name();
    slider.addEventListener("input", name);
    slider.addEventListener("change", () => location.assign(links[slider.value].href));
  }
}

async function startParts() {
  const parts = [];
  if (one(".plot")) parts.push(import("./plot.js"));
  if (one("[data-heat]")) parts.push(import("./heat.js"));
  if (one("[data-annotation]")) parts.push(import("./cluster.js"));
  if (one("[data-search]")) parts.push(import("./search.js"));
  if (one("[data-job], [data-paste]")) parts.push(import("./jobs.js"));
  if (one("[data-new-job]")) parts.push(import("./job-list.js"));
  if (one("[data-experiment]")) parts.push(import("./experiments.js"));
  if (one("[data-circuit-page]")) parts.push(import("./circuit.js"));
  if (one("[data-theory]")) parts.push(import("./theory.js"));
  if (one("[data-login]")) parts.push(import("./login.js"));
  if (one(".operation")) parts.push(import("./reference.js"));
  for (const part of await Promise.all(parts)) part.start();
}

document.documentElement.classList.add("js");
startTheme();
startHelp();
startForms();
startLinkSliders();
startTokens();
startKeys();
startParts();
