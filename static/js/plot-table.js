// The numbers behind a figure, as rows for its table and its CSV file.

const SIGNS = { "&lt;": "<", "&gt;": ">", "&amp;": "&" };

/** Undo the escapes of corpus text in Plotly's labels. */
export const plain = (text) => String(text).replace(/&(lt|gt|amp);/g, (sign) => SIGNS[sign]);

const axisTitle = (axis, fallback) => plain(axis?.title?.text ?? fallback);

function barRows(trace) {
  return trace.x.map((value, i) => {
    const label = trace.customdata?.[i];
    const isPair = Array.isArray(label);
    return { id: isPair ? label[0] : undefined, cells: [plain(isPair ? label[1] : label), value] };
  });
}

const ARRAYS = { f4: Float32Array, u1: Uint8Array };

/** Rows of a matrix in base64, as plotly.py encodes numpy arrays. */
function matrix({ bdata, dtype, shape }) {
  const bytes = Uint8Array.from(atob(bdata), (character) => character.charCodeAt(0));
  const values = [...new ARRAYS[dtype](bytes.buffer)].map((value) => Number(value.toFixed(3)));
  const width = Number(String(shape).split(",")[1]);
  return Array.from({ length: values.length / width }, (_, i) => values.slice(i * width, (i + 1) * width));
}

/** Cells of a heat map; `meta` may name its rows and columns. */
function heatRows(trace, ...before) {
  const { rows, columns } = trace.meta ?? {};
  return matrix(trace.z).flatMap((row, i) => row.map((value, j) => (
    { cells: [...before, rows?.[i] ?? i + 1, columns?.[j] ?? j + 1, value] }
  )));
}

function lineRows(trace) {
  return trace.x.flatMap((x, i) => {
    if (x === null) return [];
    const label = typeof trace.customdata?.[i] === "string" ? ` · ${plain(trace.customdata[i])}` : "";
    return [{ cells: [plain(trace.name ?? "") + label, x, trace.y[i]] }];
  });
}

/** Return columns and rows of a figure. */
export function tableRows({ data, layout }) {
  const x = axisTitle(layout.xaxis, "x");
  const y = axisTitle(layout.yaxis, "y");
  const first = data[0] ?? { type: "scatter" };
  if (first.type === "bar" && first.orientation === "h") return { columns: ["name", x], rows: data.flatMap(barRows) };
  const maps = data.filter((trace) => trace.type === "heatmap");
  if (maps.length > 1) {
    return { columns: ["map", y, x, first.meta?.value ?? "value"], rows: maps.flatMap((map) => heatRows(map, map.name)) };
  }
  if (first.type === "heatmap" && first.z.bdata) {
    return { columns: [`${y} (row)`, `${x} (column)`, first.name ?? "value"], rows: heatRows(first) };
  }
  if (first.type === "contour" || first.type === "heatmap") {
    const rows = first.z.flatMap((row, i) => row.map((value, j) => ({ cells: [first.y[i], first.x[j], value] })));
    return { columns: [y, x, first.name], rows };
  }
  const lines = data.filter((trace) => !trace.meta?.label);
  return { columns: ["series", x, y], rows: lines.flatMap(lineRows) };
}

function quoted(value) {
  if (typeof value === "number" || value === null || value === undefined) return String(value ?? "");
  // A spreadsheet would evaluate text that starts like a formula.
  const safe = /^[=+\-@\t\r＝＋－＠]/.test(value) ? `'${value}` : value;
  return `"${safe.replaceAll('"', '""')}"`;
}

/** Return a figure's numbers as CSV. */
export function csv(figure) {
  const { columns, rows } = tableRows(figure);
  const lines = [columns, ...rows.map((row) => row.cells)];
  return lines.map((cells) => cells.map(quoted).join(",")).join("\r\n") + "\r\n";
}
