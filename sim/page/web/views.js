"use strict";

// What a model's rows are to a reader: columns of a sum, a text, or the answer of a task. `asked` is
// what a reader asks for, and `end` what is told at the end.
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
    this.wrong = 0;
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
    this.box = table.parentElement;
    this.box.scrollLeft = this.box.scrollWidth;
  }

  // The head's row at the position of b is a digit of the sum. The carry is what it has to be.
  add({row, position}) {
    if (position < 2 || position % 2) return;
    const column = position / 2 - 1, [a, b] = this.digits.map((digits) => digits[column] ?? 0);
    const sum = a + b + this.carries[column], right = row === sum % 10;
    this.carries.push(sum >= 10 ? 1 : 0);
    this.wrong += !right;
    const made = this.cells.sum[column];
    made.textContent = row;
    made.className = right ? "new" : "fail";
    const above = this.cells.carry[column + 1];
    if (sum >= 10 && above) above.textContent = "1";
    // Where the table is wider than the page, the column in progress stays in sight.
    if (above) {
      const seen = above.offsetLeft - above.parentElement.firstChild.offsetWidth;
      this.box.scrollLeft = Math.min(this.box.scrollLeft, seen);
    }
  }

  end(stopped) {
    const {sum} = this.cells, first = sum[sum.length - 1];
    // A sum is written without the 0 before it, if it is right.
    if (first.textContent === "0" && first.className === "new") first.textContent = "";
    if (this.wrong)
      return `The model is wrong in ${this.wrong} of ${counted(this.carries.length - 1, "digit")}.`;
    return stopped ? "" : "The sum is right.";
  }
}

// Text, coloured by how sure the model was.
class Story {
  // `bits`: of surprise, from which on a piece has each shade.
  constructor(tokenizer, bits) { Object.assign(this, {tokenizer, bits}); }

  asked(tokenizer) {
    const prompt = promptOf("a prompt");
    const number = (id, pattern, read, low, high, rule) => {
      const text = element(id).value.trim(), value = pattern.test(text) ? read(text) : null;
      if (value === null || value < low || value > high)
        throw new InputError(`${rule} from ${low} to ${high}, not ${shown(text)}`);
      return value;
    };
    const decimal = /^[0-9]*\.?[0-9]+$/, whole = /^[0-9]{1,20}$/;
    const heat = number("temperature", decimal, Number, 0, 3.98, "a temperature is");
    const seed = number("seed", whole, BigInt, 0n, MOST.seed, "a seed is a whole number");
    const limit = number(
      "tokens", whole, Number, 1, MOST.tokens, "the number of tokens is a whole one");
    const tokens = tokenizer.encode(prompt), temperature = Math.round(64 * heat);
    return {prompt, request: {tokens, temperature, seed, limit, stop: tokenizer.start}};
  }

  begin({prompt, request}) {
    this.first = request.tokens.length - 1;
    this.stream = new TextStream(this.tokenizer);
    this.surprise = this.written = 0;
    const text = element("text");
    text.replaceChildren();
    text.appendChild(document.createElement("b")).textContent = prompt;
  }

  add({row, position, probability}) {
    if (position < this.first || row === this.tokenizer.start) return;
    this.written++;
    this.surprise -= Math.log2(probability);
    const piece = this.stream.push(row);
    if (piece === "") return;
    const span = element("text").appendChild(document.createElement("span"));
    span.textContent = piece;
    span.className = `s${this.bits.filter((bits) => this.surprise >= bits).length}`;
    span.title = `${(100 * 2 ** -this.surprise).toFixed(0)} %`;
    this.surprise = 0;
  }

  end() {
    element("text").append(this.stream.end());
    return `The model wrote ${counted(this.written, "token")}.`;
  }
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

  end() { return ""; }
}

function viewOf(about, tokenizer) {
  if (about.tokenizer.kind === "addition") return new Columns();
  return tokenizer.feedsBack ? new Story(tokenizer, about.shades) : new Rows(tokenizer);
}
