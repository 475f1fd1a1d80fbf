// Runs on every page: theme, help, forms, keys; loads the modules of the page.
import { find, findAll, keepInAddress, say } from "./util.js";
import { startTokens } from "./tokens.js";
import { startKeys } from "./keys.js";

const THEMES = ["auto", "light", "dark"];

function startTheme() {
  const button = find('[data-action="theme"]');
  button.addEventListener("click", () => {
    const root = document.documentElement;
    const next = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
    root.dataset.theme = next;
    find("[data-theme-name]").textContent = next;
    document.cookie = `theme=${next}; path=/; max-age=31536000; samesite=lax`;
    keepInAddress({ theme: null });
    say(`theme ${next}`);
  });
}

function startHelp() {
  find('[data-action="help"]').addEventListener("click", () => find("#help").showModal());
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
  for (const slider of findAll("input[data-links]")) {
    const links = findAll("a", find(slider.dataset.links));
    slider.value = links.findIndex((link) => link.ariaCurrent === "true");
    const name = () => slider.setAttribute("aria-valuetext", links[slider.value].textContent);
    name();
    slider.addEventListener("input", name);
    slider.addEventListener("change", () => location.assign(links[slider.value].href));
  }
}

async function startParts() {
  const parts = [];
  if (find(".plot")) parts.push(import("./plot.js"));
  if (find("[data-heat]")) parts.push(import("./heat.js"));
  if (find("[data-annotation]")) parts.push(import("./cluster.js"));
  if (find("[data-search]")) parts.push(import("./search.js"));
  if (find("[data-job], [data-paste]")) parts.push(import("./jobs.js"));
  if (find("[data-new-job]")) parts.push(import("./job-list.js"));
  if (find("[data-experiment]")) parts.push(import("./experiments.js"));
  if (find("[data-circuit-page]")) parts.push(import("./circuit.js"));
  if (find("[data-theory]")) parts.push(import("./theory.js"));
  if (find("[data-login]")) parts.push(import("./login.js"));
  if (find(".operation")) parts.push(import("./reference.js"));
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
