// The circuit of a modular adder: a slider over steps, and links to frequencies, heads and neurons.
import { fetchJson, find, findAll, keepInAddress, say } from "./util.js";
import { clearFault, showFault } from "./fault.js";
import { newerPage, swapParts } from "./parts.js";
import { redraw, watch } from "./plot.js";

const PAUSE_MS = 60;
let timer, lastUpdate = 0;

const section = () => find("[data-circuit]");
const stepSelect = () => find("select[name=step]", section());

function syncSlider() {
  const [select, slider] = [stepSelect(), find("[data-slide]", section())];
  slider.value = select.selectedIndex;
  slider.setAttribute("aria-valuetext", `step ${select.selectedOptions[0].textContent}`);
}

/** Take over the plot heights of the new page: a plot of one map is lower than one of many. */
function copyPlotSizes(page) {
  for (const plot of findAll(".plot", section())) {
    find(".plot-box", plot).className = find(`#${plot.id} .plot-box`, page).className;
  }
}

async function update() {
  const thisUpdate = ++lastUpdate;
  try {
    const page = await newerPage();
    const source = find("[data-circuit] .plot", page).dataset.src;
    const figures = await fetchJson(source);
    if (thisUpdate !== lastUpdate) return;
    clearFault(section());
    for (const part of swapParts(page)) watch(part);
    stepSelect().selectedIndex = find("[data-circuit] select[name=step]", page).selectedIndex;
    syncSlider();
    copyPlotSizes(page);
    redraw(source, figures, section());
    say(find("[data-part=circuit-step]").textContent);
  } catch (error) {
    if (thisUpdate === lastUpdate) showFault(section(), error, "The plots show the previous choice.", update);
  }
}

function scheduleUpdate() {
  syncSlider();
  keepInAddress({ step: stepSelect().value || null });
  clearTimeout(timer);
  timer = setTimeout(update, PAUSE_MS);
}

/** Start the slider and the links; parts of the page may be replaced at any time. */
export function start() {
  const page = find("[data-circuit-page]");
  if (section()) syncSlider();
  else {
    // The first network of the run has finished.
    new MutationObserver(() => { if (find("[data-has-circuit]")) location.reload(); }).observe(page, { childList: true, subtree: true });
  }
  addEventListener("popstate", () => { if (section()) update(); });
  page.addEventListener("input", ({ target }) => {
    if (!target.closest("[data-circuit]")) return;
    if (target.matches("[data-slide]")) stepSelect().selectedIndex = Number(target.value);
    scheduleUpdate();
  });
  page.addEventListener("click", (event) => {
    const link = event.target.closest("[data-circuit] a[data-choice]");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    const address = new URL(link.href);
    const step = new URLSearchParams(location.search).get("step");
    if (step) address.searchParams.set("step", step);
    history.pushState(null, "", address.pathname + address.search);
    update();
  });
}
