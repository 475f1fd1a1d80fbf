// The circuit of a modular adder: a slider over steps; links choose frequency, head and neuron.
import { all, fetchJson, keepInAddress, one, say } from "./util.js";
import { clearFault, showFault } from "./fault.js";
import { newerPage, swapParts } from "./parts.js";
import { redraw, watch } from "./plot.js";

const PAUSE_MS = 60;
let timer, turn = 0;

const section = () => one("[data-clock]");
const steps = () => one("select[name=step]", section());

function syncSlider() {
  const [choice, slider] = [steps(), one("[data-slide]", section())];
  slider.value = choice.selectedIndex;
  slider.setAttribute("aria-valuetext", `step ${choice.selectedOptions[0].textContent}`);
}

/** Plots of one map are lower than those of many. */
function keepSizes(page) {
  for (const plot of all(".plot", section())) {
    one(".plot-box", plot).className = one(`#${plot.id} .plot-box`, page).className;
  }
}

async function update() {
  const mine = ++turn;
  try {
    const page = await newerPage();
    const source = one("[data-clock] .plot", page).dataset.src;
    const figures = await fetchJson(source);
    if (mine !== turn) return;
    clearFault(section());
    for (const part of swapParts(page)) watch(part);
    steps().selectedIndex = one("[data-clock] select[name=step]", page).selectedIndex;
    syncSlider();
    keepSizes(page);
    redraw(source, figures, section());
    say(one("[data-part=look-step]").textContent);
  } catch (error) {
    if (mine === turn) showFault(section(), error, "The plots are those from before.", update);
  }
}

function changed() {
  syncSlider();
  keepInAddress({ step: steps().value || null });
  clearTimeout(timer);
  timer = setTimeout(update, PAUSE_MS);
}

/** Bring the slider and the choices to life; parts of the page may be replaced at any time. */
export function start() {
  const page = one("[data-clock-page]");
  if (section()) syncSlider();
  else {
    // The first network of the run has finished.
    new MutationObserver(() => { if (one("[data-has-look]")) location.reload(); }).observe(page, { childList: true, subtree: true });
  }
  addEventListener("popstate", () => { if (section()) update(); });
  page.addEventListener("input", ({ target }) => {
    if (!target.closest("[data-clock]")) return;
    if (target.matches("[data-slide]")) steps().selectedIndex = Number(target.value);
    changed();
  });
  page.addEventListener("click", (event) => {
    const link = event.target.closest("[data-clock] a[data-choice]");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    const address = new URL(link.href);
    const step = new URLSearchParams(location.search).get("step");
    if (step) address.searchParams.set("step", step);
    history.pushState(null, "", address.pathname + address.search);
    update();
  });
}
