// The map of a run's surface: cells, axes, colour bar, marks; wheel and box zoom; arrow keys and Enter.
// It gets data only, as bytes: a length, a header in JSON, then arrays. All words go in as text, never as markup.

const NBSP = "\u00a0", MINUS = "\u2212";
const STATES = ["value", "missing", "failed", "undefined", "skipped", "locked", "excluded"];
const WORDS = ["", "not run yet", "failed", "ran, but undefined", "not promoted", "locked", "excluded"];
const maps = new WeakMap();

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  let map = maps.get(parentElement);
  if (!map) {
    map = new PlaneMap(parentElement);
    maps.set(parentElement, map);
  }
  map.send = setTriggerValue;
  if (data) map.show(unpack(data));
  return () => {
    map.close();
    maps.delete(parentElement);
  };
}

function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const types = { f4: Float32Array, u2: Uint16Array, u4: Uint32Array, u1: Uint8Array };
  const arrays = {};
  for (const [name, type, offset, count] of header.arrays) {
    const size = types[type].BYTES_PER_ELEMENT * count;
    arrays[name] = new types[type](bytes.slice(4 + length + offset, 4 + length + offset + size).buffer);
  }
  return { ...header, ...arrays };
}

function element(tag, parent, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}

class PlaneMap {
  constructor(parent) {
    this.parent = parent;
    this.root = element("div", null, "plane");
    this.head = element("div", this.root, "head");
    this.legend = element("div", this.head, "legend");
    this.buttons = element("div", this.head, "buttons");
    this.whole = element("button", this.buttons, "", "Whole map");
    this.save = element("button", this.buttons, "", "PNG");
    this.save.title = "Save the map as a picture";
    this.stage = element("div", this.root, "stage");
    this.base = element("canvas", this.stage, "base");
    this.over = element("canvas", this.stage, "over");
    this.tip = element("div", this.stage, "tip");
    this.live = element("div", this.root, "live");
    this.live.setAttribute("aria-live", "polite");
    this.over.tabIndex = 0;
    this.over.setAttribute("role", "application");
    this.over.setAttribute("aria-roledescription", "heat map");
    parent.appendChild(this.root);
    this.hover = this.cursor = this.box = null;
    this.stop = new AbortController();
    this.listen();
  }

  listen() {
    const on = (target, name, act, more = {}) =>
      target.addEventListener(name, act.bind(this), { signal: this.stop.signal, ...more });
    on(this.over, "mousemove", this.moved);
    on(this.over, "mouseleave", () => { this.hover = null; this.tip.hidden = true; this.redraw(); });
    on(this.over, "mousedown", this.pressed);
    on(window, "mouseup", this.released);
    on(this.over, "wheel", this.wheeled, { passive: false });
    on(this.over, "dblclick", this.toWhole);
    on(this.over, "keydown", this.keyed);
    on(this.over, "blur", () => { this.cursor = null; this.redraw(); });
    on(this.whole, "click", this.toWhole);
    on(this.save, "click", this.download);
    on(this.root, "transitionend", this.redraw);  // the theme's colours changed
    this.sizes = new ResizeObserver(() => this.redraw());
    this.sizes.observe(this.stage);
  }

  close() {
    this.stop.abort();
    this.sizes.disconnect();
    clearTimeout(this.pending);
    cancelAnimationFrame(this.frame);
    this.root.remove();
  }

  show(data) {
    this.data = data;
    this.view = { x0: 0, x1: data.nx, y0: 0, y1: data.ny };
    this.colours = table(data.stops);
    this.picture = null;
    if (this.cursor && (this.cursor.x >= data.nx || this.cursor.y >= data.ny)) this.cursor = null;
    this.stage.style.height = `${data.height}px`;
    this.over.setAttribute("aria-label", data.alt);
    this.over.dataset.nx = data.nx;
    this.over.dataset.ny = data.ny;
    this.whole.hidden = !data.zoomed;
    this.hover = null;
    this.tip.hidden = true;
    this.fillLegend();
    this.redraw();
  }

  fillLegend() {
    this.legend.replaceChildren();
    for (const mark of this.data.marks) {
      const entry = element("span", this.legend, "entry");
      const sign = this.swatch(entry);
      drawMark(sign, mark.kind, 8, 8, 5, true);
      element("span", entry, "", mark.away ? `${mark.kind} (outside)` : mark.kind);
    }
    if (this.data.outline && this.data.outline.length) {
      const entry = element("span", this.legend, "entry");
      const sign = this.swatch(entry);
      outlined(sign, () => { sign.beginPath(); sign.rect(3, 3, 10, 10); }, [3, 2], true);
      element("span", entry, "", "plateau's reach");
    }
    for (const [state, words] of this.data.legend) {
      const entry = element("span", this.legend, "entry");
      const sign = this.swatch(entry);
      if (STATES[state] !== "excluded") {
        sign.fillStyle = pattern(sign, state);
        sign.fillRect(1, 1, 14, 14);
      }
      sign.strokeStyle = "#9a9a9a";
      sign.strokeRect(1.5, 1.5, 13, 13);
      element("span", entry, "", words);
    }
  }

  swatch(entry) {
    const canvas = element("canvas", entry, "swatch");
    const ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.height = 16 * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    return context;
  }

  redraw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    const data = this.data, width = this.stage.clientWidth;
    if (!data || !width) return;
    const style = getComputedStyle(this.root);
    this.ink = style.color;
    this.paper = style.backgroundColor;
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.base, this.over]) {
      const wide = Math.round(width * ratio), high = Math.round(data.height * ratio);
      if (canvas.width !== wide || canvas.height !== high) {
        canvas.width = wide;
        canvas.height = high;
        canvas.style.width = `${width}px`;
        canvas.style.height = `${data.height}px`;
      }
    }
    const base = this.base.getContext("2d"), over = this.over.getContext("2d");
    for (const context of [base, over]) {
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, data.height);
      context.font = `12px ${style.fontFamily}`;
    }
    this.measure(base, width);
    this.drawCells(base);
    this.drawAxes(base);
    this.drawBar(base);
    this.drawOver(over);
    this.over.dataset.plot = [this.plot.x, this.plot.y, this.plot.w, this.plot.h].join(",");
    this.over.dataset.ready = data.key;
  }

  // Where the cells lie: room for the labels of y, the colour bar and the names of the axes.
  measure(context, width) {
    const data = this.data;
    const widest = (texts) => texts.reduce((most, text) => Math.max(most, context.measureText(text).width), 0);
    this.left = Math.min(widest(data.y.labels.map((text) => clip(text))), 150) + 34;
    const right = 14 + 10 + 6 + widest(data.ticks.map(([, text]) => text)) + 24;
    this.plot = { x: this.left, y: 8, w: Math.max(width - this.left - right, 40), h: data.height - 8 - 46 };
  }

  px(u) { return this.plot.x + ((u - this.view.x0) / (this.view.x1 - this.view.x0)) * this.plot.w; }
  py(u) { return this.plot.y + this.plot.h - ((u - this.view.y0) / (this.view.y1 - this.view.y0)) * this.plot.h; }

  drawCells(context) {
    const { data, plot } = this;
    if (!this.picture) this.picture = this.paint();
    context.save();
    context.beginPath();
    context.rect(plot.x, plot.y, plot.w, plot.h);
    context.clip();
    context.imageSmoothingEnabled = false;
    const x = this.px(0), y = this.py(data.ny);
    if (data.states) this.drawStates(context);
    context.drawImage(this.picture, x, y, this.px(data.nx) - x, this.py(0) - y);
    const gap = Math.min(this.px(1) - x, this.py(0) - this.py(1));
    if (gap >= 9) {
      context.strokeStyle = this.paper;
      context.lineWidth = 1;
      context.beginPath();
      for (let column = 1; column < data.nx; column++) {
        context.moveTo(Math.round(this.px(column)) + 0.5, y);
        context.lineTo(Math.round(this.px(column)) + 0.5, this.py(0));
      }
      for (let row = 1; row < data.ny; row++) {
        context.moveTo(x, Math.round(this.py(row)) + 0.5);
        context.lineTo(this.px(data.nx), Math.round(this.py(row)) + 0.5);
      }
      context.stroke();
    }
    context.restore();
    context.strokeStyle = "rgba(128,128,128,0.6)";
    context.lineWidth = 1;
    context.strokeRect(plot.x - 0.5, plot.y - 0.5, plot.w + 1, plot.h + 1);
  }

  // Values only; a cell without one stays transparent, so that its state shows through.
  paint() {
    const { nx, ny, value, states, limits } = this.data;
    const canvas = document.createElement("canvas");
    canvas.width = nx;
    canvas.height = ny;
    const context = canvas.getContext("2d");
    const image = context.createImageData(nx, ny);
    const scale = 255 / (limits[1] - limits[0]);
    for (let row = 0; row < ny; row++) {
      for (let column = 0; column < nx; column++) {
        const cell = row * nx + column;
        if (states && states[cell]) continue;
        const level = 3 * Math.max(0, Math.min(255, Math.round((value[cell] - limits[0]) * scale)));
        const at = 4 * ((ny - 1 - row) * nx + column);
        image.data[at] = this.colours[level];
        image.data[at + 1] = this.colours[level + 1];
        image.data[at + 2] = this.colours[level + 2];
        image.data[at + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
    return canvas;
  }

  drawStates(context) {
    const { nx, ny, states } = this.data;
    const fills = STATES.map((_, state) => (state && STATES[state] !== "excluded" ? pattern(context, state) : null));
    for (let row = 0; row < ny; row++) {
      const y = Math.floor(this.py(row + 1)), height = Math.ceil(this.py(row)) - y;
      for (let column = 0; column < nx; ) {
        const state = states[row * nx + column];
        let end = column + 1;
        while (end < nx && states[row * nx + end] === state) end++;
        if (fills[state]) {
          const x = Math.floor(this.px(column));
          context.fillStyle = fills[state];
          context.fillRect(x, y, Math.ceil(this.px(end)) - x, height);
        }
        column = end;
      }
    }
  }

  drawAxes(context) {
    const { data, plot, view } = this;
    context.fillStyle = context.strokeStyle = this.ink;
    context.textBaseline = "top";
    context.textAlign = "center";
    const widest = data.x.labels.reduce((most, text) => Math.max(most, context.measureText(clip(text)).width), 0);
    const cellWidth = plot.w / (view.x1 - view.x0), cellHeight = plot.h / (view.y1 - view.y0);
    const everyX = step((widest + 14) / cellWidth), everyY = step(18 / cellHeight);
    context.beginPath();
    for (let column = round(data.x.labels, everyX); column < data.nx; column += everyX) {
      const x = this.px(column + 0.5);
      if (x < plot.x || x > plot.x + plot.w) continue;
      context.fillText(clip(data.x.labels[column]), x, plot.y + plot.h + 8);
      context.moveTo(x, plot.y + plot.h);
      context.lineTo(x, plot.y + plot.h + 4);
    }
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (let row = round(data.y.labels, everyY); row < data.ny; row += everyY) {
      const y = this.py(row + 0.5);
      if (y < plot.y || y > plot.y + plot.h) continue;
      context.fillText(clip(data.y.labels[row]), plot.x - 8, y);
      context.moveTo(plot.x - 4, y);
      context.lineTo(plot.x, y);
    }
    context.lineWidth = 1;
    context.stroke();
    context.textAlign = "center";
    context.textBaseline = "bottom";
    context.font = context.font.replace("12px", "bold 12px");
    context.fillText(data.x.name, plot.x + plot.w / 2, data.height - 4);
    context.save();
    context.translate(15, plot.y + plot.h / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(data.y.name, 0, 0);
    context.restore();
    context.font = context.font.replace("bold 12px", "12px");
  }

  drawBar(context) {
    const { data, plot } = this;
    const x = plot.x + plot.w + 14, step = plot.h / 256;
    for (let level = 0; level < 256; level++) {
      const [red, green, blue] = this.colours.slice(3 * level, 3 * level + 3);
      context.fillStyle = `rgb(${red},${green},${blue})`;
      context.fillRect(x, plot.y + plot.h - (level + 1) * step, 10, step + 1);
    }
    context.strokeStyle = "rgba(128,128,128,0.6)";
    context.strokeRect(x - 0.5, plot.y - 0.5, 11, plot.h + 1);
    context.fillStyle = this.ink;
    context.textAlign = "left";
    let widest = 0;
    data.ticks.forEach(([part, text], place) => {
      context.textBaseline = place === 0 ? "bottom" : place === data.ticks.length - 1 ? "top" : "middle";
      context.fillText(text, x + 16, plot.y + plot.h * (1 - part));
      widest = Math.max(widest, context.measureText(text).width);
    });
    context.save();
    context.translate(x + 16 + widest + 7, plot.y + plot.h / 2);
    context.rotate(Math.PI / 2);
    context.textAlign = "center";
    context.textBaseline = "bottom";
    context.fillText(data.title, 0, 0);
    context.restore();
  }

  drawOver(context) {
    const { data, plot } = this;
    context.save();
    context.beginPath();
    context.rect(plot.x - 1, plot.y - 1, plot.w + 2, plot.h + 2);
    context.clip();
    if (data.outline && data.outline.length) {
      outlined(context, () => { context.beginPath(); this.trace(context, data.outline); }, [5, 3]);
    }
    context.restore();
    const inside = (mark) => mark.x + 0.5 >= this.view.x0 && mark.x + 0.5 <= this.view.x1
      && mark.y + 0.5 >= this.view.y0 && mark.y + 0.5 <= this.view.y1;
    for (const mark of data.marks) {
      if (mark.away || !inside(mark)) continue;
      const radius = Math.max(6, Math.min(9, (this.px(1) - this.px(0)) * 0.45));
      drawMark(context, mark.kind, this.px(mark.x + 0.5), this.py(mark.y + 0.5), radius);
    }
    for (const cell of [this.hover, this.cursor]) {
      if (!cell) continue;
      const x = this.px(cell.x), y = this.py(cell.y + 1);
      const w = Math.max(this.px(cell.x + 1) - x, 4), h = Math.max(this.py(cell.y) - y, 4);
      outlined(context, () => { context.beginPath(); context.rect(x, y, w, h); }, [], false, cell === this.cursor ? 1 : 0);
    }
    if (this.box && this.box.far) {
      const { x0, y0, x1, y1 } = this.box;
      context.fillStyle = "rgba(128,128,128,0.25)";
      context.fillRect(x0, y0, x1 - x0, y1 - y0);
      outlined(context, () => { context.beginPath(); context.rect(x0, y0, x1 - x0, y1 - y0); }, [4, 3]);
    }
  }

  // The border of a set of cells: each side of a cell whose neighbour is not in the set.
  trace(context, cells) {
    const { nx, ny } = this.data, held = new Set(cells);
    for (const cell of cells) {
      const column = cell % nx, row = Math.floor(cell / nx);
      const x0 = this.px(column), x1 = this.px(column + 1), y0 = this.py(row), y1 = this.py(row + 1);
      const side = (open, ax, ay, bx, by) => { if (open) { context.moveTo(ax, ay); context.lineTo(bx, by); } };
      side(column === 0 || !held.has(cell - 1), x0, y0, x0, y1);
      side(column === nx - 1 || !held.has(cell + 1), x1, y0, x1, y1);
      side(row === 0 || !held.has(cell - nx), x0, y0, x1, y0);
      side(row === ny - 1 || !held.has(cell + nx), x0, y1, x1, y1);
    }
  }

  // -- what a reader does ----------------------------------------------------------------------------------------

  cellAt(event) {
    const box = this.over.getBoundingClientRect(), { plot, view, data } = this;
    const x = event.clientX - box.x, y = event.clientY - box.y;
    if (!plot || x < plot.x || y < plot.y || x >= plot.x + plot.w || y >= plot.y + plot.h) return null;
    const column = Math.floor(view.x0 + ((x - plot.x) / plot.w) * (view.x1 - view.x0));
    const row = Math.floor(view.y0 + ((plot.y + plot.h - y) / plot.h) * (view.y1 - view.y0));
    return column >= 0 && row >= 0 && column < data.nx && row < data.ny ? { x: column, y: row } : null;
  }

  moved(event) {
    if (this.box) {
      const at = this.place(event);
      Object.assign(this.box, { x1: at.x, y1: at.y });
      this.box.far = this.box.far || Math.hypot(at.x - this.box.x0, at.y - this.box.y0) > 5;
      if (this.box.far) { this.hover = null; this.tip.hidden = true; }
      this.redraw();
      return;
    }
    const cell = this.cellAt(event);
    if (cell?.x !== this.hover?.x || cell?.y !== this.hover?.y) {
      this.hover = cell;
      this.redraw();
    }
    this.tell(cell, event);
  }

  place(event) {
    const box = this.over.getBoundingClientRect(), { plot } = this;
    return {
      x: Math.max(plot.x, Math.min(plot.x + plot.w, event.clientX - box.x)),
      y: Math.max(plot.y, Math.min(plot.y + plot.h, event.clientY - box.y)),
    };
  }

  tell(cell, event) {
    this.tip.hidden = !cell;
    if (!cell) return;
    this.tip.replaceChildren(...this.lines(cell).map((text) => element("div", null, "", text)));
    const box = this.stage.getBoundingClientRect();
    const x = event.clientX - box.x, y = event.clientY - box.y;
    const left = x + 16 + this.tip.offsetWidth > box.width ? x - 12 - this.tip.offsetWidth : x + 16;
    this.tip.style.left = `${Math.max(left, 0)}px`;
    this.tip.style.top = `${Math.max(0, Math.min(y + 12, box.height - this.tip.offsetHeight))}px`;
  }

  lines({ x, y }) {
    const { data } = this, cell = y * data.nx + x, state = data.states ? data.states[cell] : 0;
    const label = (axis, at) =>
      axis.first && axis.first[at] !== axis.last[at] ? `${axis.first[at]} to ${axis.last[at]}` : axis.labels[at];
    const found = [`${data.x.name} ${label(data.x, x)}`];
    if (data.y.name) found.push(`${data.y.name} ${label(data.y, y)}`);
    found.push(state ? WORDS[state] : `${data.title} ${written(data.value[cell], data.format)}`);
    const planned = data.planned ? data.planned[cell] : data.behind;
    const done = planned - (data.short ? data.short[cell] : 0);
    if (STATES[state] !== "excluded") {
      found.push(`${written(done, COUNT)} of ${written(planned, COUNT)} ${planned === 1 ? "trial" : "trials"}`);
    }
    return found;
  }

  pressed(event) {
    if (event.button !== 0 || !this.cellAt(event)) return;
    const at = this.place(event);
    this.box = { x0: at.x, y0: at.y, x1: at.x, y1: at.y, far: false };
  }

  released(event) {
    const box = this.box;
    if (!box) return;
    this.box = null;
    if (!box.far) {
      const cell = this.cellAt(event);
      if (cell) this.pick(cell);
      return;
    }
    const { plot, view } = this;
    const u = (x) => view.x0 + ((x - plot.x) / plot.w) * (view.x1 - view.x0);
    const v = (y) => view.y0 + ((plot.y + plot.h - y) / plot.h) * (view.y1 - view.y0);
    this.zoom({
      x0: Math.floor(u(Math.min(box.x0, box.x1))), x1: Math.ceil(u(Math.max(box.x0, box.x1))),
      y0: Math.floor(v(Math.max(box.y0, box.y1))), y1: Math.ceil(v(Math.min(box.y0, box.y1))),
    }, 0);
  }

  wheeled(event) {
    const cell = this.cellAt(event);
    const out = event.deltaY > 0;
    if (!cell || (out && !this.data.zoomed && this.isWhole())) return;  // then the page scrolls
    event.preventDefault();
    const at = this.place(event), { plot, view } = this;
    const factor = out ? 1.4 : 1 / 1.4;
    const u = view.x0 + ((at.x - plot.x) / plot.w) * (view.x1 - view.x0);
    const v = view.y0 + ((plot.y + plot.h - at.y) / plot.h) * (view.y1 - view.y0);
    this.zoom({
      x0: u - (u - view.x0) * factor, x1: u + (view.x1 - u) * factor,
      y0: v - (v - view.y0) * factor, y1: v + (view.y1 - v) * factor,
    }, 220);
  }

  isWhole() {
    const { view, data } = this;
    return view.x0 <= 0 && view.y0 <= 0 && view.x1 >= data.nx && view.y1 >= data.ny;
  }

  // Show at once what is here, and ask the server for the window in units of the axes' indices.
  zoom(view, wait) {
    const { data } = this;
    const x = this.indices(data.x, view.x0, view.x1), y = this.indices(data.y, view.y0, view.y1);
    if (x[1] - x[0] < Math.min(2, data.x.n) || y[1] - y[0] < Math.min(2, data.y.n)) return;
    this.view = { x0: square(data.x, x[0]), x1: square(data.x, x[1]), y0: square(data.y, y[0]), y1: square(data.y, y[1]) };
    if (wait) this.view = view;
    this.tip.hidden = true;
    this.redraw();
    clearTimeout(this.pending);
    this.pending = setTimeout(() => this.send("window", { x, y }), wait);
  }

  indices(axis, from, to) {
    const start = Math.floor(index(axis, from) + 1e-9), stop = Math.ceil(index(axis, to) - 1e-9);
    return [Math.max(0, start), Math.min(axis.n, stop)];
  }

  toWhole() {
    if (this.data.zoomed || !this.isWhole()) {
      clearTimeout(this.pending);
      this.view = { x0: 0, x1: this.data.nx, y0: 0, y1: this.data.ny };
      this.redraw();
      this.send("window", { whole: true });
    }
  }

  pick(cell, open = false) {
    const { data } = this;
    this.send(open ? "open" : "pick", { x: data.x.edges[cell.x], y: data.y.edges[cell.y] });
  }

  keyed(event) {
    const { data } = this;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const selected = data.marks.find((mark) => mark.kind === "selected" && !mark.away);
    const best = data.marks.find((mark) => mark.kind === "best" && !mark.away);
    if (moves[event.key]) {
      const from = this.cursor;
      const [dx, dy] = moves[event.key];
      const start = selected || best || { x: 0, y: 0 };
      const at = from ? { x: from.x + dx, y: from.y + dy } : { x: start.x, y: start.y };
      this.cursor = { x: Math.max(0, Math.min(data.nx - 1, at.x)), y: Math.max(0, Math.min(data.ny - 1, at.y)) };
      this.live.textContent = this.lines(this.cursor).join(", ");
      this.redraw();
    } else if (event.key === "Enter" || event.key === " ") {
      const cell = this.cursor || selected;
      if (!cell) return;
      const again = selected && selected.x === cell.x && selected.y === cell.y;
      this.pick(cell, event.key === "Enter" && again);
    } else if (event.key === "+" || event.key === "-" || event.key === "=") {
      const factor = event.key === "-" ? 1.4 : 1 / 1.4, { view } = this;
      const u = this.cursor ? this.cursor.x + 0.5 : (view.x0 + view.x1) / 2;
      const v = this.cursor ? this.cursor.y + 0.5 : (view.y0 + view.y1) / 2;
      this.zoom({
        x0: u - (u - view.x0) * factor, x1: u + (view.x1 - u) * factor,
        y0: v - (v - view.y0) * factor, y1: v + (view.y1 - v) * factor,
      }, 220);
    } else if (event.key === "0" || event.key === "Escape") {
      this.toWhole();
    } else {
      return;
    }
    event.preventDefault();
  }

  download() {
    const ratio = window.devicePixelRatio || 1, width = this.base.width, head = Math.round(58 * ratio);
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = this.base.height + head;
    const context = canvas.getContext("2d");
    context.fillStyle = this.paper;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(this.base, 0, head);
    context.drawImage(this.over, 0, head);
    context.scale(ratio, ratio);
    context.fillStyle = this.ink;
    context.textBaseline = "top";
    context.font = `bold 14px ${getComputedStyle(this.root).fontFamily}`;
    context.fillText(this.data.caption, 12, 10);
    context.font = `12px ${getComputedStyle(this.root).fontFamily}`;
    const words = { best: "ring: best", plateau: "square: plateau", selected: "cross: selected" };
    const marks = this.data.marks.filter((mark) => !mark.away).map((mark) => words[mark.kind]);
    context.fillText([...marks, ...this.data.legend.map(([, text]) => text)].join("   "), 12, 34);
    canvas.toBlob((blob) => {
      const link = element("a", null);
      link.href = URL.createObjectURL(blob);
      link.download = this.data.file;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }
}

const COUNT = { scale: 1, decimals: 0, sign: false, suffix: "" };

// As `app.format.measure` writes it.
function written(value, format) {
  if (Number.isNaN(value)) return "undefined";
  const number = value * format.scale;
  const size = Math.abs(number);
  let decimals = format.whole && Number.isInteger(number) ? 0 : format.decimals;
  if (format.fine && size > 1e-9 && size < 0.995) decimals = Math.min(1 - Math.floor(Math.log10(size)), 3);
  const [whole, part] = size.toFixed(decimals).split(".");
  const text = whole.replace(/\B(?=(\d{3})+(?!\d))/g, NBSP) + (part ? `.${part}` : "");
  const zero = /^[0.]+$/.test(text);
  return (number < 0 && !zero ? MINUS : format.sign && !zero ? "+" : "") + text + format.suffix;
}

function clip(text) {
  return text.length > 22 ? `${text.slice(0, 21)}\u2026` : text;
}

// The next of 1, 2, 5, 10, ... that is no smaller.
function step(least) {
  for (let power = 1; ; power *= 10) for (const digit of [1, 2, 5]) if (digit * power >= least) return digit * power;
}

// The first label to write where only one in so many is: a round number, if there is one.
function round(labels, every) {
  return every === 1 ? 0 : Math.max(0, labels.slice(0, every).findIndex((text) => Number(text) % every === 0));
}

// From squares to indices of the axis's values, and back; beyond the ends by the mean width of a square.
function index(axis, u) {
  const last = axis.edges.length - 1, mean = (axis.edges[last] - axis.edges[0]) / last;
  if (u <= 0) return axis.edges[0] + u * mean;
  if (u >= last) return axis.edges[last] + (u - last) * mean;
  const at = Math.floor(u);
  return axis.edges[at] + (u - at) * (axis.edges[at + 1] - axis.edges[at]);
}

function square(axis, value) {
  const last = axis.edges.length - 1, mean = (axis.edges[last] - axis.edges[0]) / last;
  if (value <= axis.edges[0]) return (value - axis.edges[0]) / mean;
  if (value >= axis.edges[last]) return last + (value - axis.edges[last]) / mean;
  let at = 0;
  while (axis.edges[at + 1] <= value) at++;
  return at + (value - axis.edges[at]) / (axis.edges[at + 1] - axis.edges[at]);
}

function table(stops) {
  const colours = new Uint8ClampedArray(768);
  for (let level = 0; level < 256; level++) {
    const at = (level / 255) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2), part = at - low;
    for (let band = 0; band < 3; band++) {
      colours[3 * level + band] = stops[low][band] + part * (stops[low + 1][band] - stops[low][band]);
    }
  }
  return colours;
}

// States are told apart by texture too: colour is never the only sign.
function pattern(context, state) {
  const tile = document.createElement("canvas");
  const size = 8, ratio = 2;
  tile.width = tile.height = size * ratio;
  const pen = tile.getContext("2d");
  pen.scale(ratio, ratio);
  const looks = {
    missing: ["#9a9a9a", null], failed: ["#000000", "#8c8c8c"], undefined: ["#cbb9dd", "#5d4180"],
    skipped: ["#dccf9f", "#7a6b2f"], locked: ["#5f7186", "#c9d4e0"],
  };
  const [ground, line] = looks[STATES[state]];
  pen.fillStyle = ground;
  pen.fillRect(0, 0, size, size);
  pen.strokeStyle = pen.fillStyle = line || ground;
  pen.lineWidth = 1;
  pen.beginPath();
  if (STATES[state] === "failed") {
    pen.moveTo(2, 2); pen.lineTo(6, 6); pen.moveTo(6, 2); pen.lineTo(2, 6);
  } else if (STATES[state] === "skipped") {
    pen.moveTo(-1, 1); pen.lineTo(1, -1); pen.moveTo(-1, 9); pen.lineTo(9, -1); pen.moveTo(7, 9); pen.lineTo(9, 7);
  } else if (STATES[state] === "locked") {
    pen.moveTo(0, 4); pen.lineTo(8, 4);
  }
  pen.stroke();
  if (STATES[state] === "undefined") { pen.fillRect(2, 2, 1.5, 1.5); pen.fillRect(6, 6, 1.5, 1.5); }
  const made = context.createPattern(tile, "repeat");
  made.setTransform(new DOMMatrix().scale(1 / ratio));
  return made;
}

// A line drawn twice, white under dark: a single one vanishes on a cell of its own colour.
function outlined(context, path, dash = [], small = false, more = 0) {
  context.save();
  context.lineJoin = "round";
  path();
  context.strokeStyle = "white";
  context.lineWidth = (small ? 3 : 4) + more;
  context.stroke();
  path();
  context.setLineDash(dash);
  context.strokeStyle = "black";
  context.lineWidth = 1.5 + more;
  context.stroke();
  context.restore();
}

function drawMark(context, kind, x, y, radius, small = false) {
  const paths = {
    best: () => context.arc(x, y, radius, 0, 2 * Math.PI),
    plateau: () => context.rect(x - radius, y - radius, 2 * radius, 2 * radius),
    selected: () => {
      context.moveTo(x - radius, y); context.lineTo(x + radius, y);
      context.moveTo(x, y - radius); context.lineTo(x, y + radius);
    },
    pinned: () => {
      context.moveTo(x - radius, y + radius); context.lineTo(x, y - radius); context.lineTo(x + radius, y + radius);
      context.closePath();
    },
  };
  context.save();
  for (const [ink, width] of [["white", small ? 4 : 5], ["black", 2]]) {
    context.beginPath();
    paths[kind]();
    context.strokeStyle = ink;
    context.lineWidth = width;
    context.stroke();
  }
  context.restore();
}
