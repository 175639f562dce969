"use strict";

// Text to token ids, and rows of the head to text: as mmfree/text has them, for the kinds of
// `openTokenizer`. Errors are for people, and say what would be right.
class InputError extends Error {}

const shown = (text) => JSON.stringify(text.length > 40 ? text.slice(0, 40) + "…" : text);

class Addition {
  constructor() { this.feedsBack = false; }

  encode(text) {
    const match = /^\s*([0-9]+) *\+ *([0-9]+)\s*$/.exec(text);
    if (!match) throw new InputError(`two decimal numbers such as 123+456, not ${shown(text)}`);
    const [a, b] = match.slice(1).map((number) => [...number].reverse().map(Number));
    const ids = [30];
    for (let column = 0; column <= Math.max(a.length, b.length); column++)
      ids.push(a[column] ?? 0, 10 + (b[column] ?? 0));
    return ids;
  }

  decode(rows) {
    const digits = rows.filter((_, n) => n >= 2 && n % 2 === 0).reverse().join("");
    return digits.replace(/^0+(?=.)/, "") || "0";
  }
}

class Parity {
  constructor() { this.feedsBack = false; }

  encode(text) {
    if (!/^\s*[01]+\s*$/.test(text)) throw new InputError(`bits such as 0110, not ${shown(text)}`);
    return [2, ...[...text.trim()].map(Number)];
  }

  decode(rows) { return rows.length ? String(rows[rows.length - 1]) : ""; }
}

class Modular {
  constructor() { this.feedsBack = false; }

  encode(text) {
    const match = /^\s*0*([0-9]{1,2}) *\+ *0*([0-9]{1,2})\s*$/.exec(text);
    const [a, b] = match ? match.slice(1).map(Number) : [97, 97];
    if (a >= 97 || b >= 97)
      throw new InputError(`two numbers below 97 such as 12+96, not ${shown(text)}`);
    return [a, 97 + b, 194];
  }

  decode(rows) { return rows.length ? String(rows[rows.length - 1]) : ""; }
}

const withoutSurrogates = (text) => {
  if (/\p{Surrogate}/u.test(text)) throw new InputError("the text holds half of a surrogate pair");
  return text;
};

class Bytes {
  constructor(about) {
    this.feedsBack = true;
    this.start = about.start;
  }

  encode(text) {
    if (text.includes("\0"))
      throw new InputError("the text holds a NUL character, which no text does");
    return [this.start, ...new TextEncoder().encode(withoutSurrogates(text))];
  }

  bytes(row) { return [row]; }
}

// A plain byte-level BPE (mmfree/text/byte_pairs): `tokens` names all ids, and in the names
// characters stand for bytes; `merges` are pairs of names, the most urgent first.
class BytePairs {
  constructor(about) {
    this.feedsBack = true;
    this.start = about.start;
    this.tokens = about.tokens;
    this.special = new Set(about.special);
    this.ids = new Map(about.tokens.map((name, id) => [name, id]));
    this.ranks = new Map(about.merges.map((pair, rank) => [pair, rank]));
    this.alphabet = about.alphabet;
    this.values = new Map([...about.alphabet].map((character, byte) => [character, byte]));
    this.known = new Map();
  }

  encode(text) {
    const ids = [this.start];
    for (const [piece] of withoutSurrogates(text).matchAll(PIECE)) ids.push(...this.ofPiece(piece));
    return ids;
  }

  ofPiece(piece) {
    let found = this.known.get(piece);
    if (!found) this.known.set(piece, (found = this.merged(piece)));
    return found;
  }

  // Of all pairs in a piece the first in the list of merges becomes one, again and again.
  merged(piece) {
    let parts = [...new TextEncoder().encode(piece)].map((byte) => this.alphabet[byte]);
    for (;;) {
      const rank = (part, n) => this.ranks.get(`${parts[n]} ${part}`) ?? Infinity;
      const ranks = parts.slice(1).map(rank);
      const best = Math.min(Infinity, ...ranks);
      if (best === Infinity) return parts.map((part) => this.ids.get(part));
      const joined = [];
      for (let n = 0; n < parts.length; n++)
        joined.push(ranks[n] === best ? parts[n] + parts[++n] : parts[n]);
      parts = joined;
    }
  }

  bytes(row) {
    const name = this.tokens[row] ?? "";
    if (this.special.has(row)) return [...new TextEncoder().encode(name)];
    return [...name].map((character) => this.values.get(character));
  }
}

// Contractions, words, numbers and other signs, each with the blank before it, and white space.
const PIECE =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

// Text of rows that come one after another, a piece where a character ends.
class TextStream {
  constructor(tokenizer) {
    this.tokenizer = tokenizer;
    this.decoder = new TextDecoder("utf-8");
  }

  push(row) {
    return this.decoder.decode(Uint8Array.from(this.tokenizer.bytes(row)), {stream: true});
  }

  end() { return this.decoder.decode(); }
}

const TOKENIZERS = {
  "addition": Addition,
  "parity": Parity,
  "modular-addition": Modular,
  "bytes": Bytes,
  "byte-pairs": BytePairs,
};

function openTokenizer(about) { return new TOKENIZERS[about.kind](about); }
