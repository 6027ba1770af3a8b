// Parallel coordinates with a brush on every axis: drag along an axis to keep a range, click it to drop the range.
// Data only: a length, a header in JSON, then one float32 in [0, 1] for each axis and line.

const maps = new WeakMap();

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  let chart = maps.get(parentElement);
  if (!chart) {
    chart = new Parallel(parentElement);
    maps.set(parentElement, chart);
  }
  chart.send = setTriggerValue;
  if (data) chart.show(data);
  return () => {
    chart.close();
    maps.delete(parentElement);
  };
}

class Parallel {
  constructor(parent) {
    this.root = document.createElement("div");
    this.root.className = "parallel";
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "parallel coordinates");
    this.root.appendChild(this.canvas);
    parent.appendChild(this.root);
    this.stop = new AbortController();
    const on = (target, name, act) => target.addEventListener(name, act.bind(this), { signal: this.stop.signal });
    on(this.canvas, "mousedown", this.pressed);
    on(window, "mousemove", this.moved);
    on(window, "mouseup", this.released);
    on(this.root, "transitionend", this.redraw);
    this.sizes = new ResizeObserver(() => this.redraw());
    this.sizes.observe(this.root);
  }

  close() {
    this.stop.abort();
    this.sizes.disconnect();
    cancelAnimationFrame(this.frame);
    this.root.remove();
  }

  show(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = view.getUint32(0, true);
    this.data = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
    this.places = new Float32Array(bytes.slice(4 + length).buffer);
    this.drag = null;
    this.canvas.setAttribute("aria-label", this.data.alt);
    this.redraw();
  }

  redraw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    const { data } = this, width = this.root.clientWidth, height = data ? data.height : 0;
    if (!data || !width) return;
    const style = getComputedStyle(this.root), ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = `12px ${style.fontFamily}`;
    const n = data.axes.length;
    this.box = { x: 80, y: 34, w: width - 160, h: height - 50 };
    this.x = (axis) => this.box.x + (n > 1 ? (axis / (n - 1)) * this.box.w : this.box.w / 2);
    this.y = (part) => this.box.y + (1 - part) * this.box.h;
    for (const top of [0, 1]) {
      context.strokeStyle = top ? data.colour : style.color;
      context.globalAlpha = top ? 0.75 : Math.max(0.06, Math.min(0.4, 60 / data.n));
      context.lineWidth = top ? 1.4 : 1;
      context.setLineDash([]);
      for (let line = 0; line < data.n; line++) {
        if ((line >= data.first_top) !== Boolean(top)) continue;
        context.beginPath();
        for (let axis = 0; axis < n; axis++) {
          const y = this.y(this.places[axis * data.n + line]);
          if (axis) context.lineTo(this.x(axis), y);
          else context.moveTo(this.x(axis), y);
        }
        context.stroke();
      }
    }
    context.globalAlpha = 1;
    data.axes.forEach((axis, place) => this.drawAxis(context, axis, place, style));
    this.canvas.dataset.ready = data.key;
  }

  drawAxis(context, axis, place, style) {
    const x = this.x(place), { box } = this, last = place === this.data.axes.length - 1;
    context.strokeStyle = context.fillStyle = style.color;
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(x, box.y);
    context.lineTo(x, box.y + box.h);
    context.stroke();
    const words = (text, y, align) => {
      context.textAlign = align;
      context.lineWidth = 4;
      context.strokeStyle = style.backgroundColor;
      context.strokeText(text, align === "left" ? x + 8 : align === "right" ? x - 8 : x, y);
      context.fillText(text, align === "left" ? x + 8 : align === "right" ? x - 8 : x, y);
    };
    context.textBaseline = "middle";
    for (const [part, text] of axis.ticks) words(text, this.y(part), last ? "left" : "right");
    context.font = context.font.replace("12px", "bold 12px");
    context.textBaseline = "bottom";
    words(axis.label.length > 20 ? `${axis.label.slice(0, 19)}\u2026` : axis.label, box.y - 12, "center");
    context.font = context.font.replace("bold 12px", "12px");
    const range = this.drag && this.drag.axis === place ? this.dragged() : axis.range;
    if (!range) return;
    const top = this.y(range[1]), height = Math.max(this.y(range[0]) - top, 3);
    context.fillStyle = "rgba(230,159,0,0.35)";
    context.fillRect(x - 9, top, 18, height);
    context.strokeStyle = style.color;
    context.lineWidth = 1.5;
    context.strokeRect(x - 9, top, 18, height);
  }

  dragged() {
    const { from, to } = this.drag;
    return [Math.min(from, to), Math.max(from, to)];
  }

  place(event) {
    const at = this.canvas.getBoundingClientRect();
    const x = event.clientX - at.x, y = event.clientY - at.y;
    return { x, part: Math.max(0, Math.min(1, 1 - (y - this.box.y) / this.box.h)) };
  }

  pressed(event) {
    if (!this.data || event.button !== 0) return;
    const { x, part } = this.place(event);
    const axis = this.data.axes.findIndex((_, place) => Math.abs(this.x(place) - x) < 22);
    if (axis >= 0) this.drag = { axis, from: part, to: part };
  }

  moved(event) {
    if (!this.drag) return;
    this.drag.to = this.place(event).part;
    this.redraw();
  }

  released() {
    if (!this.drag) return;
    const axis = this.data.axes[this.drag.axis], range = this.dragged(), far = range[1] - range[0] > 0.01;
    this.drag = null;
    if (!far && !axis.range) return this.redraw();
    axis.range = far ? range : null;
    this.redraw();
    this.send("brush", { name: axis.name, range: far ? range : null });
  }
}
