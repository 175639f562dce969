"use strict";

// One chip and its golden model, and what is played on both: of every token the row and the state
// are compared.

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
    this.stopped = this.cancelled = this.slow = this.flipping = false;
    this.pause = 30;
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
    this.counts = {compared: 0, equal: 0, values: 0, seconds: 0, faults: 0};
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
          if (this.flipped === null)
            throw new Error(`the chip found a fault in its ${answer.fault.memory}`);
          chip.take();
          this.counts.faults++;
          // Its cycles are no token's.
          this.segments();
          again = !this.stopped;
          this.mend(answer.fault, again);
          break;
        }
        const expected = golden.play(fed, temperature);
        this.counted(answer.row, expected, position++);
        fed = answer.row;
        left--;
        first = false;
        chip.take();
        if (answer.last) {
          again = this.flipping && left > 0 && answer.row !== stop && !this.stopped;
          break;
        }
      }
    }
  }

  // The token in progress is the last of its request.
  cancel() {
    if (this.cancelled) return;
    this.chip.cancel();
    this.cancelled = true;
  }

  // Runs the clock up to the next answer, and looks up now and then. If somebody pressed Stop, or
  // wants a bit flipped, the token in progress is the last, and is played at full speed.
  async wait() {
    while (!this.chip.answered()) {
      const last = this.stopped || this.flipping, slow = this.slow && !last;
      if (last) this.cancel();
      this.timed(() => this.chip.run(slow ? 1 : SLICE));
      if (slow) {
        this.tell({kind: "lanes", ...this.lanes()});
        await new Promise((resolve) => setTimeout(resolve, this.pause));
      } else {
        await nextTurn();
      }
    }
  }

  // What the chip takes is counted, and not the golden model, or what a reader waits for.
  timed(what) {
    const begin = performance.now(), found = what();
    this.counts.seconds += (performance.now() - begin) / 1000;
    return found;
  }

  counted(row, expected, position) {
    const {chip, golden, counts} = this;
    const {counters, state} = this.timed(() => ({counters: chip.counters(), state: chip.state()}));
    counts.compared++;
    counts.equal += row === expected && alike(state, golden.state());
    counts.values += 1 + state.length;
    this.tell({
      kind: "row",
      row,
      position,
      probability: probabilityOf(golden.logits(), row, this.about.model.logit_fb),
      counters,
      segments: this.segments(),
      state,
      ...counts,
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
    if (!this.flipping) return;
    this.flipping = false;
    const {weights} = this.memories, {number, part_bits: bits} = weights;
    const word = Math.floor(Math.random() * weights.words), bit = Math.floor(Math.random() * bits);
    this.chip.write(number, word, 0, weights.field(word, 0, 0, bits) ^ (1 << bit));
    this.chip.endLoad();
    this.flipped = word;
    this.tell({kind: "flipped", word, bit});
  }

  // `repeated`: whether the token is played once more.
  mend(fault, repeated) {
    this.chip.loadWord(this.memories.weights, this.flipped);
    this.tell({kind: "fault", ...fault, word: this.flipped, repeated});
    this.flipped = null;
  }

  stop() { this.stopped = true; }
}

const alike = (found, due) =>
  found.length === due.length && found.every((value, n) => value === due[n]);

// The share of a row in what the model expects, before any temperature.
function probabilityOf(logits, row, bits) {
  let sum = 0;
  for (let n = 0; n < logits.length; n++) sum += Math.exp((logits[n] - logits[row]) / 2 ** bits);
  return 1 / sum;
}
