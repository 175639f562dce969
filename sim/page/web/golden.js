"use strict";

// The golden model of a tape: what every row of the chip is compared with.
class Golden {
  // `code`: a WebAssembly.Module of sim/page/golden_module.py. `about`: the model and the design
  // whose image it is. `memories`: the image, of which its weights, rows and tables are.
  constructor(code, about, memories) {
    const {model, design} = about;
    this.model = model;
    this.exports = new WebAssembly.Instance(code).exports;
    this.exports.create(this.put(Int32Array.from(Object.values(model.settings))));
    const {hidden_size: width, vocab_size: rows, head_size: head} = model.settings;
    this.head = head;
    this.exports.set_embedding(this.put(
      decodeEmbedding(memories.embedding, rows, design.embedding_rows, width, design.columns)));
    const tables = memories.tables.signed(16, 512);
    // The chip addresses a table by the low bits of an index, which begins at -128.
    const table = (first) =>
      this.put(Int16Array.from({length: 256}, (_, n) => tables[first + ((n + 128) & 255)]));
    const {reciprocal_root: root} = memories;
    const roots = Int16Array.from({length: 256}, (_, n) => root.field(n, 0, 0, 8));
    this.exports.set_tables(table(0), table(256), this.put(roots));
    let word = 0;
    model.segments.forEach((segment, number) => {
      const {matrices, next} = decodeSegment(memories.weights, about.code, design, segment, word);
      // After a segment's words comes its check word.
      word = next + 1;
      matrices.forEach((codes, index) => {
        const [multiplier, base] = segment.constants[index];
        const count = segment.rows * segment.columns;
        if (this.exports.set_matrix(number, index, this.put(codes), count, multiplier, base))
          throw new Error(`segment ${number}: no weights`);
      });
    });
    model.biases.forEach((bias, layer) =>
      this.exports.set_bias(layer, this.put(Int16Array.from(bias))));
    const noise = memories.gumbel.signed(14, memories.gumbel.words);
    this.exports.set_noise(this.put(noise), model.logit_fb);
  }

  // The address of a copy.
  put(values) {
    const address = this.exports.allocate(values.byteLength);
    new Uint8Array(this.exports.memory.buffer, address, values.byteLength).set(
      new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return address;
  }

  begin() { this.exports.begin(); }

  seed({a, b}) { this.exports.seed(a, b); }

  // Plays a token; returns the row chosen at a temperature in 64ths.
  play(token, temperature = 0) { return this.exports.play(token, temperature); }

  logits() {
    return new Int32Array(this.exports.memory.buffer, this.exports.last_logits(), this.head);
  }

  // [layers, words of a layer], one layer after another.
  state() {
    const {hidden_size: width, num_layers: layers, token_shift: shift} = this.model.settings;
    const words = layers * (width + 2 * shift);
    return new Int16Array(this.exports.memory.buffer, this.exports.state_words(), words);
  }
}

// The two registers of the noise, of a seed in 0..2^64-1 (docs/arithmetic.md, 14).
function seedRegisters(seed) {
  const word = (1n << 64n) - 1n;
  const mix = (steps) => {
    let value = (steps * 0x9e3779b97f4a7c15n) & word;
    value = ((value ^ (value >> 30n)) * 0xbf58476d1ce4e5b9n) & word;
    value = ((value ^ (value >> 27n)) * 0x94d049bb133111ebn) & word;
    return value ^ (value >> 31n);
  };
  return {a: mix(seed + 1n) || 1n, b: (mix(seed + 2n) & (word >> 1n)) || 1n};
}
