// One strip a part of the page: why it could not be brought up to date, and a way to try again.
import { make } from "./util.js";

const strips = new WeakMap();

/** Take the strip away: the part is up to date again. */
export function clearFault(part) {
  strips.get(part)?.remove();
  strips.delete(part);
  part.removeAttribute("data-stale");
}

/**
 * Put the strip before `part`, and mark the part as old until it is brought up to date.
 *
 * `left` says what is still shown; `retry` tries again.
 */
export function showFault(part, error, left, retry) {
  clearFault(part);
  const button = make("button", { type: "button", textContent: "Retry" });
  const words = make("p", {}, make("b", {}, `${error.message.replace(/\.$/, "")}.`), left ? ` ${left}` : "");
  if (error.requestId) words.append(" Request id ", make("code", {}, error.requestId));
  const strip = make("div", { className: "fault", role: "alert" }, words, button);
  button.addEventListener("click", () => {
    button.disabled = true;
    retry();
  });
  part.before(strip);
  part.toggleAttribute("data-stale", true);
  strips.set(part, strip);
}
