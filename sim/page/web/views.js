"use strict";

// What a model's rows are to a reader: columns of a sum, a text, or the answer of a task.
const cell = (row, text, name) => {
  const made = row.appendChild(document.createElement("td"));
  made.textContent = text;
  if (name) made.className = name;
  return made;
};

const promptOf = (what) => {
  const prompt = element("prompt").value;
  if (prompt.length > MOST.characters)
    throw new InputError(`${what} has at most ${MOST.characters} characters here`);
  return prompt;
};

// Addition: two numbers, and the sum from the last column to the first.
class Columns {
  asked(tokenizer) {
    const [a, b] = ["a", "b"].map((id) => element(id).value.trim());
    for (const number of [a, b]) {
      if (!/^[0-9]+$/.test(number))
        throw new InputError(`two numbers are asked for, not ${shown(number)}`);
      if (number.length > MOST.digits)
        throw new InputError(`numbers have at most ${MOST.digits} digits here`);
    }
    return {numbers: [a, b], request: {tokens: tokenizer.encode(`${a}+${b}`)}};
  }

  begin({numbers}) {
    this.digits = numbers.map((number) => [...number].reverse().map(Number));
    const count = Math.max(...this.digits.map((digits) => digits.length)) + 1;
    this.carries = [0];
    this.cells = {};
    const table = element("columns");
    table.replaceChildren();
    for (const name of ["carry", "a", "b", "sum"]) {
      const row = table.appendChild(document.createElement("tr"));
      row.className = name;
      const sign = {carry: "carry", a: "", b: "+", sum: "="}[name];
      row.appendChild(document.createElement("th")).textContent = sign;
      this.cells[name] = Array.from({length: count}, () => cell(row, "")).reverse();
    }
    ["a", "b"].forEach((name, n) =>
      this.digits[n].forEach((digit, column) => (this.cells[name][column].textContent = digit)));
  }

  // The head's row at the position of b is a digit of the sum; what is left over is the carry.
  add({row, position}) {
    if (position < 2 || position % 2) return;
    const column = position / 2 - 1, [a, b] = this.digits.map((digits) => digits[column] ?? 0);
    const carry = a + b + this.carries[column] - row;
    this.carries.push(carry === 10 ? 1 : 0);
    const made = this.cells.sum[column];
    made.textContent = row;
    made.className = carry === 0 || carry === 10 ? "new" : "fail";
    const above = this.cells.carry[column + 1];
    if (carry === 10 && above) above.textContent = "1";
  }

  end() {
    const first = this.cells.sum[this.cells.sum.length - 1];
    if (first.textContent === "0" && this.cells.sum.length > 1) first.textContent = "";
  }
}

// Text, coloured by how sure the model was.
class Story {
  constructor(tokenizer) { this.tokenizer = tokenizer; }

  asked(tokenizer) {
    const prompt = promptOf("a prompt");
    const number = (id, name, low, high) => {
      const text = element(id).value.trim(), value = Number(text);
      if (text === "" || !(value >= low && value <= high))
        throw new InputError(`${name} lies in ${low} to ${high}, not ${shown(text)}`);
      return value;
    };
    const temperature = Math.round(64 * number("temperature", "the temperature", 0, 3.98));
    const limit = Math.floor(number("tokens", "the number of tokens", 1, MOST.tokens));
    const seed = element("seed").value.trim();
    if (!/^[0-9]{1,19}$/.test(seed)) throw new InputError("a seed is a whole number");
    const tokens = tokenizer.encode(prompt);
    const {start: stop} = tokenizer;
    return {prompt, request: {tokens, temperature, seed: BigInt(seed), limit, stop}};
  }

  begin({prompt, request}) {
    this.first = request.tokens.length - 1;
    this.stream = new TextStream(this.tokenizer);
    this.surprise = 0;
    const text = element("text");
    text.replaceChildren();
    text.appendChild(document.createElement("b")).textContent = prompt;
  }

  add({row, position, probability}) {
    if (position < this.first || row === this.tokenizer.start) return;
    this.surprise -= Math.log2(probability);
    const piece = this.stream.push(row);
    if (piece === "") return;
    const span = element("text").appendChild(document.createElement("span"));
    span.textContent = piece;
    span.className = `s${[0.5, 1.5, 3, 5].filter((bits) => this.surprise >= bits).length}`;
    span.title = `${(100 * 2 ** -this.surprise).toFixed(0)} %`;
    this.surprise = 0;
  }

  end() { element("text").append(this.stream.end()); }
}

// The answer of another task.
class Rows {
  constructor(tokenizer) { this.tokenizer = tokenizer; }

  asked(tokenizer) {
    const prompt = promptOf("a problem");
    return {prompt, request: {tokens: tokenizer.encode(prompt)}};
  }

  begin({prompt}) {
    this.prompt = prompt.trim();
    this.rows = [];
    this.draw();
  }

  add({row}) {
    this.rows.push(row);
    this.draw();
  }

  draw() {
    element("text").textContent = `${this.prompt}  →  ${this.tokenizer.decode(this.rows)}`;
  }

  end() {}
}

function viewOf(kind, tokenizer) {
  if (kind === "addition") return new Columns();
  return tokenizer.feedsBack ? new Story(tokenizer) : new Rows(tokenizer);
}
