"use strict";

// The chip, as its host sees it: ports by name, a clock, and what a host does with them
// (sim/cosim/driver.py does the same in a simulator).
class Chip {
  // `code`: a WebAssembly.Module of sim/page/chip_module.py. `about`: its ports and their fields.
  constructor(code, about) {
    this.about = about;
    this.exports = new WebAssembly.Instance(code).exports;
    this.exports.start();
    this.ports = {};
    about.ports.forEach(([name, bits], index) => {
      this.ports[name] = this.view(this.exports.pin(index), bits);
    });
    // Cycles since the reset.
    this.cycles = 0;
    this.set("rst", 1);
    this.edge(2);
    this.set("rst", 0);
    this.cycles = 0;
  }

  view(address, bits) {
    const buffer = this.exports.memory.buffer;
    if (bits <= 8) return new Uint8Array(buffer, address, 1);
    if (bits <= 16) return new Uint16Array(buffer, address, 1);
    if (bits <= 32) return new Uint32Array(buffer, address, 1);
    // Two words, or more, are always at a multiple of four.
    return new Uint32Array(buffer, address, Math.ceil(bits / 32));
  }

  get(name) { return this.ports[name][0]; }

  set(name, value) { this.ports[name][0] = value; }

  // A field of a port, at most 32 bits, without its sign.
  field(name, offset, bits) {
    const words = this.ports[name], wide = words.BYTES_PER_ELEMENT === 4;
    if (!wide) return (words[0] >>> offset) & (2 ** bits - 1);
    const at = offset >> 5, shift = offset & 31;
    const low = (words[at] >>> shift) % 2 ** bits, over = shift + bits - 32;
    return over > 0 ? low + (words[at + 1] % 2 ** over) * 2 ** (32 - shift) : low;
  }

  // Sets every field of a port; `values` as BigInt or numbers, 0 where none is given.
  setFields(name, values) {
    let all = 0n;
    for (const [field, [offset, bits]] of Object.entries(this.about.fields[name])) {
      const value = BigInt(values[field] ?? 0);
      if (value < 0n || value >> BigInt(bits)) throw new Error(`${name}.${field}: ${value}`);
      all |= value << BigInt(offset);
    }
    const words = this.ports[name], width = 8 * words.BYTES_PER_ELEMENT;
    for (let word = 0; word < words.length; word++)
      words[word] = Number((all >> BigInt(width * word)) & ((1n << BigInt(width)) - 1n));
  }

  fieldOf(name, field) { return this.field(name, ...this.about.fields[name][field]); }

  // Rising edges, after inputs have changed.
  edge(count = 1) {
    for (let n = 0; n < count; n++) this.exports.edge();
    this.cycles += count;
  }

  // Writes all memories.
  load(memories) {
    for (const memory of Object.values(memories))
      for (let word = 0; word < memory.words; word++)
        memory.parts(word, (part, data) => this.write(memory.number, word, part, data));
    this.endLoad();
  }

  // Writes one word.
  loadWord(memory, word) {
    memory.parts(word, (part, data) => this.write(memory.number, word, part, data));
    this.endLoad();
  }

  // One part of a word; `endLoad` follows the last.
  write(number, word, part, data) {
    this.set("load__memory", number);
    this.set("load__word", word);
    this.set("load__part", part);
    this.set("load__data", data);
    this.set("load__enable", 1);
    this.edge();
  }

  endLoad() {
    this.set("load__enable", 0);
    // Two cycles after a write it is known whether it was refused.
    this.edge(2);
    if (this.get("load__refused")) throw new Error("the chip refused a word of its image");
  }

  seed(registers) {
    this.setFields("seed__registers", registers);
    this.set("seed__enable", 1);
    this.edge();
    this.set("seed__enable", 0);
    this.edge();
  }

  // Asks for one token, or for `limit` tokens, each fed back.
  send({token, begin, temperature = 0, limit = 1, stop = null}) {
    const most = 64;
    for (let n = 0; !this.get("request__ready"); n++) {
      if (n === most) throw new Error("the chip is not ready for a request");
      this.edge();
    }
    this.setFields("request__payload", {
      "token.id": token,
      "token.begin": begin ? 1 : 0,
      temperature,
      limit,
      stop: stop ?? 0,
      stops: stop === null ? 0 : 1,
    });
    this.set("request__valid", 1);
    this.edge();
    this.set("request__valid", 0);
    this.edge();
  }

  // Lets the clock run until there is an answer, for at most `cycles`; returns whether there is.
  run(cycles) {
    this.cycles += this.exports.run(cycles);
    return this.answered();
  }

  answered() { return Boolean(this.get("result__valid") || this.get("fault__valid")); }

  // The answer: {row, last}, or a fault: {memory, segment}.
  answer() {
    if (this.get("fault__valid")) {
      const memory = this.about.faults[this.fieldOf("fault__payload", "memory")];
      return {fault: {memory, segment: this.fieldOf("fault__payload", "segment")}};
    }
    const [row, last] = ["row", "last"].map((field) => this.fieldOf("result__payload", field));
    return {row, last: Boolean(last)};
  }

  take() {
    this.set("result__ready", 1);
    this.set("fault__ready", 1);
    this.edge();
    this.set("result__ready", 0);
    this.set("fault__ready", 0);
    this.edge();
  }

  cancel() {
    this.set("cancel", 1);
    this.edge();
    this.set("cancel", 0);
    this.edge();
  }

  // The state after the last token, until its answer is taken: one layer after another.
  //
  // Words of P values through the read port; a word comes two cycles after its address.
  state() {
    const {state_words: words, state_places: places} = this.about.model;
    const {buffer, byteOffset} = this.ports.state__data, width = this.about.design.post_width;
    const data = new Int16Array(buffer, byteOffset, width);
    const found = new Int16Array(words * width);
    for (let word = 0; word <= words; word++) {
      this.set("state__address", Math.min(word, words - 1));
      this.edge();
      if (word) found.set(data, (word - 1) * width);
    }
    return Int16Array.from(places, (place) => found[place]);
  }

  // The counters of the last token, by name: they are there some cycles after its answer.
  counters() {
    this.edge(this.about.settle);
    const names = Object.keys(this.about.fields.counters);
    return Object.fromEntries(names.map((name) => [name, this.fieldOf("counters", name)]));
  }
}
