// The drawing of the map of curves: projection, zoom, points on canvas 2D and the search for a near one.
// Matches have the colour and shape of their class, all other points are grey.

const REACH = 14; // pixels within which a pointer finds a point
const MAX_ZOOM = 200;
const MARGIN = 14;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** A map on a canvas. Points and corners are [u, v] in 0..1; pixels are CSS pixels. */
export class MapView {
  /** `readColours` returns the colours of `classes`, of the `rest` and of a `mark`. */
  constructor(canvas, shapes, readColours, zoom) {
    this.canvas = canvas;
    this.ink = canvas.getContext("2d");
    this.shapes = shapes.map((path) => new Path2D(path));
    this.readColours = readColours;
    this.points = null;
    this.polygon = [];
    this.isClosed = true;
    this.current = null; // the point in focus
    this.marked = null; // the point of the row in focus
    const [x, y, scale] = zoom.length === 3 && zoom.every(Number.isFinite) ? zoom : [0.5, 0.5, 1];
    Object.assign(this, { x, y, scale: clamp(scale, 1, MAX_ZOOM), isRequested: false });
    this.updateColours();
  }

  updateColours() {
    this.colours = this.readColours();
    this.redraw();
  }

  get width() { return this.canvas.clientWidth; }
  get height() { return this.canvas.clientHeight; }
  // At scale 1 the whole map fills the canvas.
  toLeft(u) { return ((u - this.x) * this.scale + 0.5) * (this.width - 2 * MARGIN) + MARGIN; }
  toTop(v) { return ((this.y - v) * this.scale + 0.5) * (this.height - 2 * MARGIN) + MARGIN; }
  toU(left) { return ((left - MARGIN) / (this.width - 2 * MARGIN) - 0.5) / this.scale + this.x; }
  toV(top) { return this.y - ((top - MARGIN) / (this.height - 2 * MARGIN) - 0.5) / this.scale; }
  pixel(i) { return [this.toLeft(this.points.u[i]), this.toTop(this.points.v[i])]; }

  /** Center and scale as `x:y:scale`, empty for the whole map. */
  get zoomText() {
    if (this.scale === 1) return "";
    return [this.x, this.y, this.scale].map((value) => Number(value.toPrecision(4))).join(":");
  }

  zoom(factor, left = this.width / 2, top = this.height / 2) {
    const [u, v] = [this.toU(left), this.toV(top)];
    this.scale = clamp(this.scale * factor, 1, MAX_ZOOM);
    this.center(this.x + u - this.toU(left), this.y + v - this.toV(top));
  }

  pan(dx, dy) {
    this.center(
      this.x - dx / this.scale / (this.width - 2 * MARGIN),
      this.y + dy / this.scale / (this.height - 2 * MARGIN),
    );
  }

  center(x, y) {
    [this.x, this.y] = this.scale === 1 ? [0.5, 0.5] : [clamp(x, 0, 1), clamp(y, 0, 1)];
    this.redraw();
  }

  /** Draw once before the next frame. */
  redraw() {
    if (this.isRequested) return;
    this.isRequested = true;
    requestAnimationFrame(() => { this.isRequested = false; this.draw(); });
  }

  draw() {
    const { canvas, ink, points } = this;
    const ratio = devicePixelRatio;
    if (canvas.width !== Math.round(this.width * ratio)) canvas.width = Math.round(this.width * ratio);
    if (canvas.height !== Math.round(this.height * ratio)) canvas.height = Math.round(this.height * ratio);
    ink.setTransform(1, 0, 0, 1, 0, 0);
    ink.clearRect(0, 0, canvas.width, canvas.height);
    if (!points) return;
    ink.fillStyle = this.colours.rest;
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (let i = 0; i < points.n; i += 1) {
      if (points.matching[i]) continue;
      const [left, top] = this.pixel(i);
      ink.fillRect(left - 1, top - 1, 2, 2);
    }
    this.drawMatches(Math.min(1, 0.3 + 0.12 * this.scale + 150 / (points.nMatching + 400)) * ratio);
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.drawPolygon();
    if (this.marked !== null) this.drawRing(this.marked, 9);
    if (this.current !== null) this.drawRing(this.current, 7);
  }

  drawMatches(size) {
    const { ink, points } = this;
    this.colours.classes.forEach((colour, curveClass) => {
      ink.fillStyle = colour;
      for (let i = 0; i < points.n; i += 1) {
        if (!points.matching[i] || points.curveClass[i] !== curveClass) continue;
        const [left, top] = this.pixel(i);
        ink.setTransform(size, 0, 0, size, left * devicePixelRatio, top * devicePixelRatio);
        ink.fill(this.shapes[curveClass] ?? this.shapes.at(-1));
      }
    });
  }

  drawPolygon() {
    const { ink } = this;
    if (!this.polygon.length) return;
    ink.beginPath();
    for (const [u, v] of this.polygon) ink.lineTo(this.toLeft(u), this.toTop(v));
    if (this.isClosed) ink.closePath();
    ink.setLineDash([5, 3]);
    this.stroke();
    ink.setLineDash([]);
  }

  drawRing(i, radius) {
    this.ink.beginPath();
    this.ink.arc(...this.pixel(i), radius, 0, 7);
    this.stroke();
  }

  stroke() {
    this.ink.lineWidth = 2;
    this.ink.strokeStyle = this.colours.mark;
    this.ink.stroke();
  }

  /** The point at a pixel, null if none is within reach; matches come first. */
  nearest(left, top) {
    const { points } = this;
    let [best, least] = [null, REACH ** 2];
    for (let i = 0; i < points.n; i += 1) {
      const [x, y] = this.pixel(i);
      const distance = (x - left) ** 2 + (y - top) ** 2 - (points.matching[i] ? 16 : 0);
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  }

  /** The next match in a direction; a detour sideways costs more than the way ahead. */
  nextMatch(from, dx, dy) {
    const { points } = this;
    const [x0, y0] = this.pixel(from);
    let [best, least] = [null, Infinity];
    for (let i = 0; i < points.n; i += 1) {
      if (!points.matching[i] || i === from) continue;
      const [left, top] = this.pixel(i);
      const [x, y] = [left - x0, top - y0];
      const ahead = x * dx + y * dy;
      const cost = ahead + 3 * Math.abs(x * dy - y * dx);
      if (ahead > 2 && cost < least) [best, least] = [i, cost];
    }
    return best;
  }
}
