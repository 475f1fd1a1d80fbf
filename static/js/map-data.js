// Points of the map from the server's binary columns; app/figures/curve_map.py describes them.
import { ask } from "./util.js";

const BLOCK = 65_536;
const FULL = BLOCK - 1;
const MATCHES = 128;

/** Fetch the points: index, u and v in 0..1, class and whether each matches. */
export async function readPoints(address) {
  const reply = await ask(address);
  const bytes = await reply.arrayBuffer();
  const length = new DataView(bytes).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  const { n, total } = header;
  let at = 4 + length;
  const column = (Kind, count) => {
    const values = new Kind(bytes, at, count);
    at += values.byteLength;
    return values;
  };
  const blocks = column(Uint16Array, Math.ceil(total / BLOCK));
  const low = column(Uint16Array, n);
  const [u, v] = [column(Uint16Array, n), column(Uint16Array, n)].map((one) => Float32Array.from(one, (share) => share / FULL));
  const marks = column(Uint8Array, n);
  const index = new Uint32Array(n);
  let i = 0;
  blocks.forEach((count, block) => {
    for (const end = i + count; i < end; i += 1) index[i] = block * BLOCK + low[i];
  });
  const matching = marks.map((mark) => mark >> 7);
  return {
    n, total, index, u, v, matching,
    bounds: header.bounds,
    curves: header.curves,
    kind: marks.map((mark) => mark & (MATCHES - 1)),
    nMatching: matching.reduce((sum, one) => sum + one, 0),
  };
}
