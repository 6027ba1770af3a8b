// Small charts side by side over one vertical scale: bands, lines, dots and rings; hover, click, arrow keys and Enter.
// It gets data only: places are parts of a panel, in [0, 1], null where there is none; all words go in as text.

const charts = new WeakMap();
const TOP = 30, FOOT = 46, GAP = 26, RIGHT = 14;

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  let chart = charts.get(parentElement);
  if (!chart) {
    chart = new Panels(parentElement);
    charts.set(parentElement, chart);
  }
  chart.send = setTriggerValue;
  if (data) chart.show(data);
  return () => {
    chart.close();
    charts.delete(parentElement);
  };
}

class Panels {
  constructor(parent) {
    this.root = document.createElement("div");
    this.root.className = "panels";
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "charts");
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.live = document.createElement("div");
    this.live.className = "live";
    this.live.setAttribute("aria-live", "polite");
    this.root.append(this.canvas, this.tip, this.live);
    parent.appendChild(this.root);
    this.near = null;
    this.stop = new AbortController();
    const on = (target, name, act) => target.addEventListener(name, act.bind(this), { signal: this.stop.signal });
    on(this.canvas, "mousemove", this.moved);
    on(this.canvas, "mouseleave", () => this.point(null));
    on(this.canvas, "click", () => this.pick());
    on(this.canvas, "keydown", this.keyed);
    on(this.root, "transitionend", this.redraw);  // the theme's colours changed
    this.sizes = new ResizeObserver(() => this.redraw());
    this.sizes.observe(this.root);
  }

  close() {
    this.stop.abort();
    this.sizes.disconnect();
    cancelAnimationFrame(this.frame);
    this.root.remove();
  }

  show(data) {
    this.data = data;
    this.near = null;
    this.tip.hidden = true;
    this.canvas.setAttribute("aria-label", data.alt);
    this.redraw();
  }

  redraw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    const { data } = this, width = this.root.clientWidth;
    if (!data || !width) return;
    const style = getComputedStyle(this.root), ratio = window.devicePixelRatio || 1;
    const n = data.panels.length, columns = Math.min(n, data.columns), rows = Math.ceil(n / columns);
    const height = TOP + rows * data.height;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = `12px ${style.fontFamily}`;
    this.ink = style.color;
    this.paper = style.backgroundColor;
    const widest = Math.max(...data.ticks.map(([, text]) => context.measureText(text).width));
    const left = widest + 34, wide = (width - left - RIGHT - (columns - 1) * GAP) / columns;
    this.boxes = data.panels.map((_, place) => ({
      x: left + (place % columns) * (wide + GAP), y: TOP + Math.floor(place / columns) * data.height + 6,
      w: wide, h: data.height - FOOT - 6,
    }));
    this.drawLegend(context, left);
    data.panels.forEach((panel, place) => this.drawPanel(context, panel, this.boxes[place], place % columns === 0));
    for (let row = 0; row < rows; row++) this.drawName(context, this.boxes[row * columns]);
    if (this.near) this.ring(context, ...this.at(this.near), 5, this.ink);
    this.canvas.dataset.ready = data.key;
  }

  at({ panel, series, index }) {
    const box = this.boxes[panel], { x, y } = this.data.panels[panel].series[series];
    return [box.x + x[index] * box.w, box.y + (1 - y[index]) * box.h];
  }

  drawLegend(context, left) {
    let x = left;
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (const { kind, name, colour, dash } of this.data.legend) {
      context.fillStyle = context.strokeStyle = colour || this.ink;
      if (kind === "band") {
        context.fillRect(x, 8, 22, 12);
      } else if (kind === "ring") {
        this.ring(context, x + 11, 14, 6);
      } else if (kind === "dots") {
        this.dot(context, x + 11, 14, 3);
      } else {
        context.lineWidth = 2;
        context.setLineDash(dash || []);
        context.beginPath();
        context.moveTo(x, 14);
        context.lineTo(x + 22, 14);
        context.stroke();
        context.setLineDash([]);
        if (kind === "steps") this.dot(context, x + 11, 14, 4);
      }
      context.fillStyle = this.ink;
      context.fillText(name, x + 28, 14);
      x += 28 + context.measureText(name).width + 18;
    }
  }

  drawPanel(context, panel, box, first) {
    context.strokeStyle = "rgba(128,128,128,0.3)";
    context.lineWidth = 1;
    context.fillStyle = this.ink;
    context.textBaseline = "middle";
    context.textAlign = "right";
    context.beginPath();
    for (const [part, text] of this.data.ticks) {
      const y = Math.round(box.y + (1 - part) * box.h) + 0.5;
      context.moveTo(box.x, y);
      context.lineTo(box.x + box.w, y);
      if (first) context.fillText(text, box.x - 7, y);
    }
    context.stroke();
    context.textBaseline = "top";
    let free = -Infinity;  // a label is left out where it would touch the one before
    for (const [part, text] of panel.ticks) {
      const wide = context.measureText(text).width, middle = box.x + part * box.w;
      const from = Math.max(box.x - 16, Math.min(box.x + box.w + RIGHT - wide, middle - wide / 2));
      if (from < free) continue;
      context.textAlign = "left";
      context.fillText(text, from, box.y + box.h + 7);
      context.beginPath();
      context.moveTo(middle, box.y + box.h);
      context.lineTo(middle, box.y + box.h + 4);
      context.stroke();
      free = from + wide + 10;
    }
    context.textAlign = "center";
    context.font = context.font.replace("12px", "bold 12px");
    context.fillText(panel.name, box.x + box.w / 2, box.y + box.h + 24);
    context.font = context.font.replace("bold 12px", "12px");
    for (const series of panel.series) this.drawSeries(context, series, box);
  }

  drawName(context, box) {
    context.save();
    context.fillStyle = this.ink;
    context.translate(12, box.y + box.h / 2);
    context.rotate(-Math.PI / 2);
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = context.font.replace("12px", "bold 12px");
    context.fillText(this.data.name, 0, 0);
    context.restore();
  }

  drawSeries(context, { kind, x, y, low, high, colour, alpha, dash }, box) {
    const px = (part) => box.x + part * box.w, py = (part) => box.y + (1 - part) * box.h;
    context.save();
    context.fillStyle = context.strokeStyle = colour || this.ink;
    if (kind === "band") {
      for (const [from, to] of pieces(low)) {
        context.beginPath();
        for (let at = from; at < to; at++) context.lineTo(px(x[at]), py(high[at]));
        for (let at = to - 1; at >= from; at--) context.lineTo(px(x[at]), py(low[at]));
        context.closePath();
        context.fill();
      }
    } else if (kind === "line" || kind === "steps") {
      context.lineWidth = 2;
      context.setLineDash(dash || []);
      for (const [from, to] of pieces(y)) {
        context.beginPath();
        for (let at = from; at < to; at++) {
          if (kind === "steps" && at > from) context.lineTo(px(x[at]), py(y[at - 1]));
          context.lineTo(px(x[at]), py(y[at]));
        }
        context.stroke();
      }
      context.setLineDash([]);
    }
    if (kind === "dots" || ((kind === "line" || kind === "steps") && x.length * 7 < box.w)) {
      context.globalAlpha = alpha || 1;
      x.forEach((part, at) => { if (y[at] !== null) this.dot(context, px(part), py(y[at]), kind === "steps" ? 4 : 3); });
      context.globalAlpha = 1;
    }
    if (kind === "ring") x.forEach((part, at) => this.ring(context, px(part), py(y[at]), 6));
    context.restore();
  }

  dot(context, x, y, radius) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  }

  ring(context, x, y, radius, colour) {
    for (const [ink, width] of [[this.paper, 5], [colour || this.ink, 2]]) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.strokeStyle = ink;
      context.lineWidth = width;
      context.stroke();
    }
  }

  // -- what a reader does ----------------------------------------------------------------------------------------

  moved(event) {
    if (!this.boxes) return;
    const place = this.canvas.getBoundingClientRect(), x = event.clientX - place.x, y = event.clientY - place.y;
    let best = null, least = 24 ** 2;
    this.data.panels.forEach((panel, number) => {
      const box = this.boxes[number];
      if (x < box.x - 10 || x > box.x + box.w + 10 || y < box.y - 10 || y > box.y + box.h + 10) return;
      panel.series.forEach((series, index) => {
        if (!series.tips) return;
        for (let at = 0; at < series.x.length; at++) {
          if (series.y[at] === null) continue;
          const dx = box.x + series.x[at] * box.w - x, dy = box.y + (1 - series.y[at]) * box.h - y;
          const far = series.kind === "dots" ? dx * dx + dy * dy : dx * dx + 0.1 * dy * dy;
          if (far < least) [best, least] = [{ panel: number, series: index, index: at }, far];
        }
      });
    });
    this.point(best);
  }

  point(near) {
    const same = near && this.near && ["panel", "series", "index"].every((key) => near[key] === this.near[key]);
    if (same || (!near && !this.near)) return;
    this.near = near;
    this.tip.hidden = !near;
    if (near) {
      this.tip.textContent = this.words(near);
      const [x, y] = this.at(near), wide = this.tip.offsetWidth;
      this.tip.style.left = `${x + 14 + wide > this.root.clientWidth ? x - 12 - wide : x + 14}px`;
      this.tip.style.top = `${Math.max(0, y - 14)}px`;
    }
    this.redraw();
  }

  words({ panel, series, index }) { return this.data.panels[panel].series[series].tips[index]; }

  pick() {
    if (this.near) this.send("pick", { ...this.near });
  }

  // Left and right go from point to point, up and down from panel to panel.
  keyed(event) {
    const { panels } = this.data;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], leap = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step || leap) {
      let panel = this.near ? this.near.panel : 0;
      if (leap) panel = Math.max(0, Math.min(panels.length - 1, panel + leap));
      const series = this.near && !leap ? this.near.series : panels[panel].series.findIndex((one) => one.tips);
      if (series < 0) return;
      const { y } = panels[panel].series[series];
      let index = this.near && !leap ? this.near.index + step : 0;
      while (index >= 0 && index < y.length && y[index] === null) index += step || 1;
      if (index >= 0 && index < y.length) this.point({ panel, series, index });
      if (this.near) this.live.textContent = this.words(this.near);
    } else if (event.key === "Enter" || event.key === " ") {
      this.pick();
    } else {
      return;
    }
    event.preventDefault();
  }
}

// Half-open ranges of neighbouring values that are there.
function pieces(values) {
  const found = [];
  let from = 0;
  for (let at = 0; at <= values.length; at++) {
    if (at === values.length || values[at] === null) {
      if (at > from) found.push([from, at]);
      from = at + 1;
    }
  }
  return found;
}
