"use strict";

// One chip and its golden model, and what is played on both: rows as they come, each compared.

// Cycles between two looks at what a reader wants: some milliseconds.
const SLICE = 4000;

// Gives other messages their turn. A timer would wait four milliseconds and more.
const nextTurn = (() => {
  const {port1, port2} = new MessageChannel(), waiting = [];
  port1.onmessage = () => waiting.shift()();
  return () => new Promise((resolve) => {
    waiting.push(resolve);
    port2.postMessage(0);
  });
})();

class Session {
  // `tell` is called with everything that happens.
  constructor({about, chip, golden, image}, tell) {
    this.about = about;
    this.tell = tell;
    this.memories = openImage(about.memories, image);
    this.chip = new Chip(chip, about);
    this.chip.load(this.memories);
    this.golden = new Golden(golden, about, this.memories);
    this.stopped = this.cancelled = this.slow = false;
    this.pause = 30;
    this.flips = 0;
    this.flipped = null;
  }

  // Plays tokens, and with `limit` goes on by itself after the last; `stop`: a row that ends it.
  //
  // Tokens up to the last are played at temperature 0, which draws nothing.
  async play({tokens, temperature = 0, seed = 0n, limit = 0, stop = null}) {
    this.stopped = this.cancelled = false;
    const registers = seedRegisters(seed);
    this.chip.seed(registers);
    this.golden.begin();
    this.golden.seed(registers);
    this.counts = {compared: 0, equal: 0, seconds: 0, cycles: 0, faults: 0};
    for (let n = 0; n < tokens.length && !this.stopped; n++) {
      const last = limit > 0 && n === tokens.length - 1;
      await this.request({
        token: tokens[n],
        begin: n === 0,
        position: n,
        temperature: last ? temperature : 0,
        limit: last ? limit : 1,
        stop: last ? stop : null,
      });
    }
    this.tell({kind: "done", ...this.counts, stopped: this.stopped});
  }

  // A request, and all its answers. After a fault the word is written again, and the rest repeated;
  // to flip a bit the request is ended early, and goes on as another one.
  async request({token, begin, position, temperature, limit, stop}) {
    const {chip, golden} = this;
    for (let fed = token, left = limit, first = begin, again = true; again;) {
      this.flip();
      this.cancelled = false;
      chip.send({token: fed, begin: first, temperature, limit: left, stop});
      for (again = false; ;) {
        await this.wait();
        const answer = chip.answer();
        if (answer.fault) {
          if (this.flipped === null) throw new Error(`a fault in ${answer.fault.memory}`);
          chip.take();
          this.counts.faults++;
          this.mend(answer.fault);
          again = !this.stopped;
          break;
        }
        const expected = golden.play(fed, temperature);
        this.counted(fed, answer.row, expected, position++);
        fed = answer.row;
        left--;
        first = false;
        chip.take();
        if (answer.last) {
          again = this.flips > 0 && left > 0 && answer.row !== stop && !this.stopped;
          break;
        }
        if (this.stopped || this.flips) this.cancel();
      }
    }
  }

  // The token in progress is the last of its request.
  cancel() {
    if (this.cancelled) return;
    this.chip.cancel();
    this.cancelled = true;
  }

  // Runs the clock up to the next answer, and looks up now and then.
  async wait() {
    for (let begin = performance.now(); ;) {
      if (this.slow) {
        this.chip.run(1);
        this.tell({kind: "lanes", ...this.lanes()});
        await new Promise((resolve) => setTimeout(resolve, this.pause));
        begin = performance.now();
      } else {
        this.chip.run(SLICE);
      }
      this.counts.seconds += (performance.now() - begin) / 1000;
      await nextTurn();
      if (this.chip.answered()) return;
      if (this.stopped) this.cancel();
      begin = performance.now();
    }
  }

  counted(token, row, expected, position) {
    const logits = this.golden.logits();
    this.counts.compared++;
    this.counts.equal += row === expected;
    const counters = this.chip.counters();
    this.counts.cycles += counters.cycles;
    this.tell({
      kind: "row",
      token,
      row,
      position,
      expected,
      probability: probabilityOf(logits, row, this.about.model.logit_fb),
      counters,
      segments: this.segments(),
      state: this.golden.state().slice(),
      ...this.counts,
    });
  }

  // Cycles of the segments since the last call; the embedding is the first.
  segments() {
    const count = this.about.model.segments.length + 1;
    const {memory, cycles_by_segment: address} = this.chip.exports;
    const view = new Uint32Array(memory.buffer, address(), count);
    const found = Array.from(view);
    view.fill(0);
    return found;
  }

  // What the array's lanes work on: activations of a tile [columns], weights [rows, columns].
  lanes() {
    const {rows, columns} = this.about.design, chip = this.chip;
    const weight = [0, 1, 0, -1];
    return {
      x: Int8Array.from({length: columns}, (_, c) => chip.field("tiles__x", 8 * c, 8)),
      w: Int8Array.from({length: rows * columns}, (_, n) => weight[chip.field("w", 2 * n, 2)]),
      segment: chip.get("segment"),
      valid: chip.get("tiles__beat") & 1,
      cycle: chip.cycles,
    };
  }

  // Changes a bit of a word of weights on the chip before the next pass, if somebody asked for it.
  flip() {
    if (!this.flips) return;
    this.flips--;
    const {weights} = this.memories, {number, part_bits: bits} = weights;
    const word = Math.floor(Math.random() * weights.words), bit = Math.floor(Math.random() * bits);
    this.chip.write(number, word, 0, weights.field(word, 0, 0, bits) ^ (1 << bit));
    this.chip.endLoad();
    this.flipped = word;
    this.tell({kind: "flipped", word, bit});
  }

  mend(fault) {
    this.chip.loadWord(this.memories.weights, this.flipped);
    this.tell({kind: "fault", ...fault, word: this.flipped});
    this.flipped = null;
  }

  stop() { this.stopped = true; }
}

// The share of a row in what the model expects, before any temperature.
function probabilityOf(logits, row, bits) {
  let sum = 0;
  for (let n = 0; n < logits.length; n++) sum += Math.exp((logits[n] - logits[row]) / 2 ** bits);
  return 1 / sum;
}
