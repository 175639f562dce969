"use strict";

// What happens inside the chip: how much was compared, cycles by segment, state, operands of the
// lanes.
const COLOURS = ["green", "red", "line"];

// Of a chip on a small FPGA, in Hz.
const CLOCK = 100e6;

class Inside {
  constructor(about) {
    this.about = about;
    this.drawn = true;
    const {model} = about, list = element("segments");
    const names = ["embedding", ...model.segments.map((segment) => segment.name)];
    this.bars = names.map((name) => {
      const row = list.appendChild(document.createElement("li"));
      row.appendChild(document.createElement("span")).textContent = name;
      const bar = row.appendChild(document.createElement("i"));
      return {bar, count: row.appendChild(document.createElement("span"))};
    });
    const {hidden_size: width, num_layers: layers, token_shift: shift} = model.settings;
    Object.assign(this, {width, layers, shift});
    element("state").width = width;
    element("state").height = layers * 9 - 1;
    element("lanes").width = about.design.columns * 10;
    element("lanes").style.maxWidth = `${about.design.columns * 40}px`;
    element("lanes").height = (about.design.rows + 2) * 10;
  }

  begin() {
    this.last = null;
    for (const id of ["faults", "values", "speed", "cycles", "at-a-clock"])
      element(id).textContent = "";
    element("cycle").textContent = "Shown while the chip plays.";
    element("verdict").textContent = "0 of 0 equal";
    element("verdict").className = "";
    for (const {bar, count} of this.bars) {
      bar.style.width = 0;
      count.textContent = "";
    }
    for (const id of ["state", "lanes"]) this.clear(element(id));
  }

  clear(canvas) {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    return context;
  }

  add(row) {
    this.last = row;
    if (!this.drawn) return;
    this.drawn = false;
    requestAnimationFrame(() => this.draw());
  }

  colours() {
    const style = getComputedStyle(document.body);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    return Object.fromEntries(COLOURS.map((name) => [name, colour(name)]));
  }

  draw() {
    this.drawn = true;
    if (!this.last) return;
    const {compared, equal, values, seconds, counters, segments, state} = this.last;
    element("verdict").textContent = `${equal} of ${compared} equal`;
    element("verdict").className = equal === compared ? "ok" : "fail";
    element("values").textContent = `: ${values.toLocaleString("en")} values`;
    element("speed").textContent = `${(compared / seconds).toFixed(0)} tokens/s`;
    element("cycles").textContent = `${counters.cycles.toLocaleString("en")} cycles/token`;
    const fast = Math.round(CLOCK / counters.cycles).toLocaleString("en");
    element("at-a-clock").textContent = `${fast} tokens/s at 100 MHz`;
    const most = Math.max(...segments);
    this.bars.forEach(({bar, count}, n) => {
      bar.style.width = `${(60 * segments[n]) / most}%`;
      count.textContent = segments[n].toLocaleString("en");
    });
    this.drawState(state);
  }

  drawState(state) {
    const context = this.clear(element("state")), colours = this.colours();
    const words = this.width + 2 * this.shift;
    for (let layer = 0; layer < this.layers; layer++) {
      const h = state.subarray(layer * words + this.shift, layer * words + this.shift + this.width);
      const most = h.reduce((best, value) => Math.max(best, Math.abs(value)), 1);
      h.forEach((value, channel) => {
        context.globalAlpha = Math.sqrt(Math.abs(value) / most);
        context.fillStyle = value > 0 ? colours.green : colours.red;
        // From the middle of the strip upwards or downwards.
        context.fillRect(channel, 9 * layer + (value > 0 ? 0 : 4), 1, 4);
      });
    }
    context.globalAlpha = 1;
  }

  // At most one picture for each of the screen's.
  lanes(operands) {
    const waiting = this.operands;
    this.operands = operands;
    if (!waiting) requestAnimationFrame(() => this.drawLanes());
  }

  drawLanes() {
    const {x, w, segment, valid, cycle} = this.operands;
    this.operands = null;
    const {rows, columns} = this.about.design;
    const context = this.clear(element("lanes")), colours = this.colours();
    for (let c = 0; c < columns; c++) {
      context.globalAlpha = valid ? Math.sqrt(Math.abs(x[c]) / 127) : 0.05;
      context.fillStyle = x[c] > 0 ? colours.green : colours.red;
      context.fillRect(10 * c, x[c] > 0 ? 0 : 5, 9, 5);
      context.globalAlpha = 1;
      for (let r = 0; r < rows; r++)
        this.drawSign(context, colours, 10 * c, 10 * (r + 2), w[r * columns + c]);
    }
    const name = segment ? this.about.model.segments[segment - 1]?.name ?? "" : "embedding";
    element("cycle").textContent = `cycle ${cycle.toLocaleString("en")}, segment ${name}, `
      + (valid ? "a tile goes to the lanes" : "no tile in this cycle");
  }

  // A plus, a minus, or a dot for 0.
  drawSign(context, colours, left, top, weight) {
    context.fillStyle = weight > 0 ? colours.green : weight < 0 ? colours.red : colours.line;
    if (weight) context.fillRect(left, top + 3, 9, 3);
    else context.fillRect(left + 3, top + 3, 3, 3);
    if (weight > 0) context.fillRect(left + 3, top, 3, 9);
  }
}
