"use strict";

// What happens inside the chip: how much was compared, cycles by segment, state, operands of the
// lanes.
const COLOURS = ["paper", "ink", "green", "red", "line"];

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
    const [width, , layers] = model.settings;
    Object.assign(this, {width, layers, shift: model.settings[10]});
    element("state").width = width;
    element("state").height = layers * 9 - 1;
    element("lanes").width = about.design.columns * 10;
    element("lanes").height = (about.design.rows + 2) * 10;
  }

  begin() {
    this.last = null;
    element("faults").textContent = "";
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
    const {compared, equal, seconds, counters, segments, state} = this.last;
    element("verdict").textContent = `${equal} of ${compared} equal`;
    element("verdict").className = equal === compared ? "ok" : "fail";
    element("speed").textContent = `${(compared / seconds).toFixed(0)} tokens/s`;
    element("cycles").textContent = `${counters.cycles.toLocaleString("en")} cycles/token`;
    const most = Math.max(...segments);
    this.bars.forEach(({bar, count}, n) => {
      bar.style.width = `${(60 * segments[n]) / most}%`;
      count.textContent = segments[n].toLocaleString("en");
    });
    this.drawState(state);
  }

  drawState(state) {
    const canvas = element("state"), context = canvas.getContext("2d"), colours = this.colours();
    const words = this.width + 2 * this.shift;
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (let layer = 0; layer < this.layers; layer++) {
      const h = state.subarray(layer * words + this.shift, layer * words + this.shift + this.width);
      const most = h.reduce((best, value) => Math.max(best, Math.abs(value)), 1);
      h.forEach((value, channel) => {
        context.globalAlpha = Math.sqrt(Math.abs(value) / most);
        context.fillStyle = value > 0 ? colours.green : colours.red;
        context.fillRect(channel, 9 * layer, 1, 8);
      });
    }
    context.globalAlpha = 1;
  }

  lanes({x, w, segment, valid, cycle}) {
    const {rows, columns} = this.about.design, canvas = element("lanes");
    const context = canvas.getContext("2d"), colours = this.colours();
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (let c = 0; c < columns; c++) {
      context.globalAlpha = valid ? Math.sqrt(Math.abs(x[c]) / 127) : 0.05;
      context.fillStyle = x[c] > 0 ? colours.green : colours.red;
      context.fillRect(10 * c, 0, 9, 9);
      for (let r = 0; r < rows; r++) {
        const weight = w[r * columns + c];
        context.globalAlpha = weight ? 1 : 0.4;
        context.fillStyle = weight > 0 ? colours.green : weight < 0 ? colours.red : colours.line;
        context.fillRect(10 * c, 10 * (r + 2), 9, 9);
      }
    }
    context.globalAlpha = 1;
    const name = segment ? this.about.model.segments[segment - 1]?.name ?? "" : "embedding";
    element("cycle").textContent = `cycle ${cycle.toLocaleString("en")}, segment ${name}, `
      + (valid ? "a tile goes to the lanes" : "no tile in this cycle");
  }
}
