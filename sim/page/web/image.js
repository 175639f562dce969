"use strict";

// The memory image of a chip, as the page carries it: the words of each memory, whose shares have
// whole bytes each, the lowest first (mmfree/chip/image.py).
class Memory {
  // `about`: name, number, words, groups (shares of a word), bits (of a share), part_bits and
  // group_parts (of the load port). `bytes`: the words.
  constructor(about, bytes) {
    Object.assign(this, about);
    this.bytes = bytes;
    this.size = Math.ceil(this.bits / 8);
  }

  // `count` bits, at most 25, of a share of a word, from bit `first` on; 0 above the share.
  field(word, group, first, count) {
    const start = (word * this.groups + group) * this.size, from = start + (first >> 3);
    let value = 0;
    for (let byte = 3; byte >= 0; byte--) {
      const at = from + byte;
      value = (value << 8) | (at < start + this.size ? this.bytes[at] : 0);
    }
    return (value >>> (first & 7)) & ((1 << count) - 1);
  }

  // What a host sends to the load port to write a word: calls write(part, data).
  parts(word, write) {
    for (let group = 0; group < this.groups; group++)
      for (let part = 0; part < this.group_parts; part++)
        write(
          group * this.group_parts + part,
          this.field(word, group, part * this.part_bits, this.part_bits));
  }

  // Signed values of `bits` bits, the lowest field of each word.
  signed(bits, count) {
    const shift = 32 - bits;
    return Int32Array.from({length: count}, (_, word) =>
      (this.field(word, 0, 0, bits) << shift) >> shift);
  }
}

// The memories of an image, by name. `abouts` in the order in which `bytes` has them.
function openImage(abouts, bytes) {
  const memories = {};
  let start = 0;
  for (const about of abouts) {
    const size = about.words * about.groups * Math.ceil(about.bits / 8);
    memories[about.name] = new Memory(about, bytes.subarray(start, start + size));
    start += size;
  }
  if (start !== bytes.length) throw new Error(`an image of ${bytes.length} bytes, not ${start}`);
  return memories;
}

// The weights of a segment's matrices as a tape has them, five to a byte; also the word after them.
//
// `code`: group and bits of a weight code, and for each code of it the digits (weight + 1) of its
// weights as a number to the base 3, the first lowest. `array`: rows, columns, group_rows.
function decodeSegment(memory, code, array, segment, first) {
  const {rows, columns, group_rows: groupRows} = array, fanIn = segment.columns;
  const blocks = Math.ceil(segment.rows / rows), tiles = Math.ceil(fanIn / columns);
  const matrices = Array.from({length: segment.matrices}, () =>
    new Uint8Array(segment.rows * fanIn));
  const lanes = groupRows * columns;
  let word = first;
  for (let block = 0; block < blocks; block++)
    for (const matrix of matrices)
      for (let tile = 0; tile < tiles; tile++, word++)
        for (let group = 0; group < memory.groups; group++)
          for (let lane = 0; lane < lanes; lane += code.group) {
            const first = (lane / code.group) * code.bits;
            let digits = code.digits[memory.field(word, group, first, code.bits)];
            for (let n = lane; n < Math.min(lane + code.group, lanes); n++) {
              const row = block * rows + group * groupRows + Math.floor(n / columns);
              const column = tile * columns + (n % columns);
              if (row < segment.rows && column < fanIn) matrix[row * fanIn + column] = digits % 3;
              digits = Math.floor(digits / 3);
            }
          }
  return {matrices: matrices.map(packFive), next: word};
}

function packFive(digits) {
  const packed = new Uint8Array(Math.ceil(digits.length / 5));
  for (let byte = 0; byte < packed.length; byte++) {
    let value = 0;
    for (let n = 4; n >= 0; n--) {
      const at = 5 * byte + n;
      value = 3 * value + (at < digits.length ? digits[at] : 1);
    }
    packed[byte] = value;
  }
  return packed;
}

// The rows of the embedding, int8 [rows, width].
function decodeEmbedding(memory, rows, held, width, columns) {
  const out = new Int8Array(rows * width);
  for (let row = 0; row < rows; row++)
    for (let j = 0; j < width; j++) {
      const word = Math.floor(j / columns) * held + row;
      out[row * width + j] = memory.bytes[word * memory.size + (j % columns)];
    }
  return out;
}
