// Points of the map of curves from the server's binary columns; app/figures/curve_map.py defines the format.
import { ask } from "./util.js";

const BLOCK = 65_536;
const FULL = BLOCK - 1;
const MATCHES = 128;

/** Fetch the points: index, u and v in 0..1, code of the class, and whether each matches. */
export async function readPoints(address) {
  const reply = await ask(address);
  const bytes = await reply.arrayBuffer();
  const length = new DataView(bytes).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  const { n, total, bounds, curves } = header;
  let offset = 4 + length;
  const column = (Type, count) => {
    const values = new Type(bytes, offset, count);
    offset += values.byteLength;
    return values;
  };
  const counts = column(Uint16Array, Math.ceil(total / BLOCK));
  const low = column(Uint16Array, n);
  const [u, v] = [column(Uint16Array, n), column(Uint16Array, n)].map((shares) => Float32Array.from(shares, (share) => share / FULL));
  const flags = column(Uint8Array, n);
  const index = new Uint32Array(n);
  let i = 0;
  counts.forEach((count, block) => {
    for (const end = i + count; i < end; i += 1) index[i] = block * BLOCK + low[i];
  });
  const matching = flags.map((flag) => flag >> 7);
  return {
    n, total, bounds, curves, index, u, v, matching,
    curveClass: flags.map((flag) => flag & (MATCHES - 1)),
    nMatching: matching.reduce((sum, match) => sum + match, 0),
  };
}
