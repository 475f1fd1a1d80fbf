// The tip beside a point of the map of curves: its token, class and curve, fetched when asked for.
import { fetchJson, find, make, say } from "./util.js";

const SVG = "http://www.w3.org/2000/svg";
const details = new Map();

const share = (value, low, high) => (high > low ? (value - low) / (high - low) : 0.5);

function sparkline(curve) {
  const svg = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "polyline");
  const [first, last] = [Math.log(curve.x[0]), Math.log(curve.x.at(-1))];
  const top = Math.max(1, ...curve.loss_nats);
  const point = (nats, i) => `${(2 + 106 * share(Math.log(curve.x[i]), first, last)).toFixed(1)},${(34 - 32 * (nats / top)).toFixed(1)}`;
  line.setAttribute("points", curve.loss_nats.map(point).join(" "));
  line.setAttribute("class", "match-line");
  svg.setAttribute("viewBox", "0 0 110 36");
  svg.setAttribute("class", "map-spark");
  svg.append(line);
  return svg;
}

/** Fetch a prediction, once while the page is open. */
function fetchDetail(box, index) {
  if (!details.has(index)) {
    const reply = fetchJson(box.dataset.prediction.replace("INDEX", index));
    details.set(index, reply);
    reply.catch(() => details.delete(index));
  }
  return details.get(index);
}

export function hideTip(box) {
  find(".map-tip", box).hidden = true;
}

/** Show the tip of point `i` of a view; `isSpoken` tells a screen reader too. */
export async function showTip(box, view, i, className, isSpoken) {
  const index = view.points.index[i];
  const tip = find(".map-tip", box);
  tip.replaceChildren(`prediction ${index}, ${className}`);
  tip.hidden = false;
  const place = () => {
    const [left, top] = view.pixel(i);
    const above = top - tip.offsetHeight - 10;
    tip.style.left = `${Math.min(Math.max(left + 12, 4), view.width - tip.offsetWidth - 4)}px`;
    tip.style.top = `${above > 0 ? above : top + 14}px`;
  };
  place();
  try {
    const { curves, token } = await fetchDetail(box, index);
    if (view.current !== i) return;
    const { axis, model } = box.dataset;
    const curve = curves.find((candidate) => candidate.axis === axis && (candidate.model ?? "") === model);
    const text = make("bdi", { className: "tok" }, token.shown.replaceAll("\n", "⏎").replaceAll("\t", "⇥"));
    tip.replaceChildren(text, ` ${className}`, ...(curve ? [sparkline(curve)] : []));
    place();
    if (isSpoken) say(`${token.text}, prediction ${index}, ${className}`);
  } catch (error) {
    if (view.current === i) tip.replaceChildren(error.message);
  }
}
