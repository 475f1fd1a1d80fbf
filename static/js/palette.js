// Colours of the current theme for figures, which have roles instead of colours.
import { make } from "./util.js";

const NAMES = [
  "ink", "muted", "faint", "line", "edge", "accent", "theory", "page", "panel",
  "ramp-low", "ramp-high", "low", "middle", "high",
  ...["learned", "flat-high", "monogenic", "polygenic", "inverse", "u-shaped", "hump", "irregular"].map((name) => `c-${name}`),
];

/** Read the theme's colours as rgb(); a probe resolves light-dark(). */
export function palette() {
  const probe = make("span");
  document.body.append(probe);
  const colours = {};
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(probe).color;
  }
  probe.style.color = "";
  colours.sans = getComputedStyle(probe).fontFamily;
  probe.remove();
  return colours;
}

const parts = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number);
const fade = (colour, alpha) => `rgba(${parts(colour).join(",")},${alpha})`;

function mix(from, to, at) {
  const [a, b] = [parts(from), parts(to)];
  return `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * at)).join(",")})`;
}

function colourOf(meta, colours) {
  if (meta.role === "ramp") return mix(colours["ramp-low"], colours["ramp-high"], meta.at ?? 1);
  if (meta.role === "class") return colours[`c-${meta.name}`];
  const named = { accent: "accent", mean: "ink", member: "faint", theory: "theory", muted: "muted" };
  return colours[named[meta.role] ?? "accent"];
}

function painted(trace, colours) {
  const meta = trace.meta ?? {};
  const colour = colourOf(meta, colours);
  if (meta.role === "diverging") {
    const scale = [[0, colours.low], [0.5, colours.middle], [1, colours.high]];
    return { ...trace, colorscale: scale };
  }
  if (meta.role === "heat") {
    const scale = [[0, colours.middle], [0.5, colours["ramp-low"]], [1, colours["ramp-high"]]];
    return { ...trace, colorscale: scale, colorbar: { ...trace.colorbar, tickfont: { color: colours.muted, size: 11 } } };
  }
  if (meta.role === "sequential") {
    return {
      ...trace, // Ink has contrast at both ends.
      colorscale: [[0, colours.middle], [1, colours["ramp-low"]]],
      line: { ...trace.line, color: colours.faint },
      colorbar: { ...trace.colorbar, tickfont: { color: colours.muted, size: 11 } },
    };
  }
  if (meta.label) return { ...trace, textfont: { color: colour, size: 12 } };
  if (meta.role === "band") {
    return { ...trace, line: { ...trace.line, color: colour }, fillcolor: fade(colour, 0.16) };
  }
  const marker = { ...trace.marker, color: colour };
  if (trace.type === "bar") {
    if (meta.names) marker.color = meta.names.map((name) => colours[`c-${name}`] ?? colours.accent);
    if (marker.pattern) marker.pattern = { ...marker.pattern, fgcolor: colours.panel };
    return { ...trace, marker, outsidetextfont: { color: colours.ink }, insidetextfont: { color: colours.panel } };
  }
  const opacity = meta.role === "member" ? 0.55 : 1;
  return { ...trace, opacity, marker, line: { ...trace.line, color: colour } };
}

function paintedAxis(axis, colours) {
  return {
    gridcolor: colours.line,
    linecolor: colours.edge,
    tickcolor: colours.edge,
    zerolinecolor: colours.line,
    showline: true,
    ticks: "outside",
    ticklen: 4,
    ...axis,
    tickfont: { color: colours.muted, size: 11, ...axis.tickfont },
    title: { ...axis.title, font: { color: colours.muted, size: 12 } },
  };
}

/** Return figure data and layout with the colours of the theme. */
export function paint(figure, colours, background = "rgba(0,0,0,0)") {
  const layout = { ...figure.layout };
  for (const name of Object.keys(layout)) {
    if (/^[xy]axis\d*$/.test(name)) layout[name] = paintedAxis(layout[name], colours);
  }
  layout.shapes = (layout.shapes ?? []).map((shape) => (
    { ...shape, line: { ...shape.line, color: colours.edge } }
  ));
  return {
    data: figure.data.map((trace) => painted(trace, colours)),
    layout: {
      ...layout,
      autosize: true,
      paper_bgcolor: background,
      plot_bgcolor: background,
      font: { family: colours.sans, size: 12, color: colours.ink },
      legend: { ...layout.legend, bgcolor: fade(colours.panel, 0.8), font: { size: 11 } },
      hoverlabel: {
        bgcolor: colours.ink, bordercolor: colours.ink, align: "left",
        font: { color: colours.page, size: 12 },
      },
    },
  };
}
