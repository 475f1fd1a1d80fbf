// Tokens: value on hover and focus, one tab stop for each text, arrow keys inside it.
import { find, findAll, keepInAddress, say } from "./util.js";

let tip;

/** Description of a token; its title moves to a data attribute, so that no second tooltip opens. */
export function about(token) {
  if (token.title) {
    token.dataset.about = token.title;
    token.removeAttribute("title");
  }
  return token.dataset.about ?? "";
}

function showTip(token) {
  tip.textContent = about(token);
  tip.hidden = false;
  const box = token.getClientRects()[0] ?? token.getBoundingClientRect();
  const size = tip.getBoundingClientRect();
  const left = Math.min(Math.max(4, box.left), innerWidth - size.width - 4);
  const above = box.top - size.height - 6;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 4 ? above : box.bottom + 6}px`;
  const readout = find("#heat-value");
  if (readout) readout.textContent = tip.textContent;
}

const hideTip = () => { tip.hidden = true; };

function startText(text) {
  const tokens = findAll(".t", text);
  const place = new URLSearchParams(location.search).get("pos");
  const name = location.hash.startsWith("#t") ? location.hash.slice(1) : `t${place}`;
  const named = document.getElementById(name);
  const first = (named && text.contains(named) && named) || find(".ans", text) || tokens[0];
  if (!first) return;
  text.removeAttribute("tabindex");
  for (const token of tokens) token.tabIndex = -1;
  first.tabIndex = 0;
  if (first === named) {
    first.classList.add("at");
    first.scrollIntoView({ block: "center" });
  }
}

/** Prepare the texts below `root` for keys. */
export function startTexts(root) {
  for (const text of findAll("[data-tokens]", root)) startText(text);
}

function focusToken(from, to) {
  from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

function below(tokens, current, rows) {
  const box = current.getBoundingClientRect();
  const middle = (box.left + box.right) / 2;
  let best = null;
  let bestScore = Infinity;
  for (const token of tokens) {
    const other = token.getBoundingClientRect();
    const fall = (other.top - box.top) * rows;
    if (fall < box.height / 2) continue;
    const score = fall * 1000 + Math.abs((other.left + other.right) / 2 - middle);
    if (score < bestScore) [best, bestScore] = [token, score];
  }
  return best;
}

/** Move focus inside a text by tokens or, in a document, by rows; false if focus is elsewhere. */
export function stepToken(by, rows = 0) {
  const current = document.activeElement?.closest?.(".t");
  const text = current?.closest("[data-tokens]");
  if (!text || (rows && !text.classList.contains("document"))) return false;
  const tokens = findAll(".t", text);
  const next = rows ? below(tokens, current, rows) : tokens[tokens.indexOf(current) + by];
  if (next) focusToken(current, next);
  return true;
}

/** Put the position of the focused token into the address of a document. */
function keepPosition(token) {
  const field = find("[data-heat] [name=pos]");
  if (!field || !/^t\d+$/.test(token.id)) return;
  field.value = token.id.slice(1);
  if (location.hash) history.replaceState(history.state, "", location.pathname + location.search);
  keepInAddress({ pos: field.value });
}

/** Listen for pointers and focus on tokens. */
export function startTokens() {
  tip = find("#tip");
  startTexts(document);
  document.addEventListener("pointerover", (event) => {
    const token = event.target.closest?.(".t");
    if (token) showTip(token);
    else hideTip();
  });
  document.addEventListener("focusin", (event) => {
    const token = event.target.closest?.(".t");
    if (!token) return hideTip();
    keepPosition(token);
    for (const old of findAll(".t.at")) old.classList.toggle("at", old === token);
    showTip(token);
    say(about(token));
  });
  addEventListener("scroll", hideTip, { passive: true });
}
