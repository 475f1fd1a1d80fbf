// Strokes on the sketch pad and their reduction to few knots. A point is [u, nats], u in 0..1.

const COLUMNS = 160;
const MIN_AREA = 0.0012; // of the pad; smaller triangles are tremor of the hand

/** Drop points until at most `max` remain, first the one that changes the line least. */
export function thin(points, max, top) {
  const remaining = [...points];
  const area = (i) => {
    const [a, b, c] = remaining.slice(i - 1, i + 2);
    return Math.abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])) / 2 / top;
  };
  while (remaining.length > 2) {
    let least = 1;
    for (let i = 2; i < remaining.length - 1; i += 1) if (area(i) < area(least)) least = i;
    if (remaining.length <= max && area(least) > MIN_AREA) break;
    remaining.splice(least, 1);
  }
  return remaining;
}

/** Start a stroke: one value per column, so a hand that moves back draws over. */
export function startStroke([u, nats]) {
  const values = new Array(COLUMNS + 1);
  let last = [Math.round(u * COLUMNS), nats];
  values[last[0]] = nats;
  return {
    to([nextU, nextNats]) {
      const column = Math.round(nextU * COLUMNS);
      const step = Math.sign(column - last[0]);
      for (let i = last[0]; step && i !== column; i += step) {
        const share = (i + step - last[0]) / (column - last[0]);
        values[i + step] = last[1] + share * (nextNats - last[1]);
      }
      values[column] = nextNats;
      last = [column, nextNats];
    },
    points: () => values.flatMap((value, i) => (value === undefined ? [] : [[i / COLUMNS, value]])),
  };
}
