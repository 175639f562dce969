"use strict";

// What a reader sees and does. Text goes to the page as text alone, never as markup.
const MOST = {digits: 200, characters: 2000, tokens: 2000, seed: (1n << 64n) - 1n};

const element = (id) => document.getElementById(id);

function packed(id) {
  let bytes;
  try {
    bytes = atob(element(id).textContent);
  } catch {
    throw new Error(DAMAGED);
  }
  return Uint8Array.from(bytes, (c) => c.charCodeAt(0));
}

function say(text, wrong = false) {
  element("status").textContent = text;
  element("status").className = wrong ? "fail" : "";
}

function sayFailure(message) { say(`It does not work here: ${message}.`, true); }

const counted = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

class Page {
  constructor(about) {
    this.about = about;
    this.tokenizer = openTokenizer(about.tokenizer);
    this.view = viewOf(about, this.tokenizer);
    this.inside = new Inside(about);
    this.opened = this.playing = this.flipping = false;
    const scripts = document.querySelectorAll("script.worker");
    const source = Array.from(scripts, (script) => script.textContent);
    this.worker = new Worker(URL.createObjectURL(new Blob(source, {type: "text/javascript"})));
    const told = {
      ready: (data) => this.ready(data),
      row: (data) => this.gotRow(data),
      lanes: (data) => this.inside.lanes(data),
      flipped: (data) => this.flipped(data),
      fault: (data) => this.fault(data),
      done: (data) => this.done(data),
      failed: (data) => this.failed(data),
    };
    this.worker.onmessage = ({data}) => told[data.kind](data);
    this.worker.onerror = (event) => this.failed({message: event.message});
    const [chip, golden, image] = ["chip", "golden", "image"].map((id) => packed(id).buffer);
    this.worker.postMessage({order: "open", about, chip, golden, image}, [chip, golden, image]);
    element("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.play();
    });
    element("stop").addEventListener("click", () => {
      this.worker.postMessage({order: "stop"});
      say("The chip ends the token in progress.");
    });
    element("flip").addEventListener("click", () => {
      this.worker.postMessage({order: "flip"});
      this.flipping = true;
      this.enable();
      say("A bit of a weight will be flipped before the next token.");
    });
    for (const id of ["slow", "pause"]) element(id).addEventListener("input", () => this.setSlow());
    this.enable();
  }

  setSlow() {
    const slow = element("slow").checked;
    element("pace").hidden = element("lanes-part").hidden = !slow;
    element("milliseconds").textContent = element("pause").value;
    this.worker.postMessage({order: "slow", slow, pause: Number(element("pause").value)});
  }

  enable() {
    const [play, stop] = ["play", "stop"].map(element), focused = document.activeElement;
    play.disabled = !this.opened || this.playing;
    stop.disabled = !this.playing;
    element("slow").disabled = !this.opened;
    element("flip").disabled = !this.opened || this.flipping;
    // Who plays by keyboard goes on from the button that took the place of the pressed one.
    if (focused === play && this.playing) stop.focus();
    if (focused === stop && this.opened && !this.playing) play.focus();
  }

  ready({seconds}) {
    this.opened = true;
    // Milliseconds since the page was asked for.
    document.body.dataset.ready = Math.round(performance.now());
    say(`The chip is loaded (${seconds.toFixed(1)} s).`);
    this.enable();
    this.setSlow();
  }

  play() {
    if (!this.opened || this.playing) return;
    let asked;
    try {
      asked = this.view.asked(this.tokenizer);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      say(`Not played: ${error.message}.`, true);
      return;
    }
    this.playing = true;
    this.enable();
    this.view.begin(asked);
    this.inside.begin();
    say("The chip plays.");
    this.worker.postMessage({order: "play", ...asked.request});
  }

  // What comes from the worker.
  gotRow(row) {
    this.view.add(row);
    this.inside.add(row);
  }

  // There is no going on: the chip and the golden model may be anywhere.
  failed({message}) {
    this.opened = this.playing = false;
    this.enable();
    sayFailure(message);
  }

  flipped({word, bit}) { say(`Bit ${bit} of word ${word} of the weights is flipped.`); }

  fault({memory, segment, word, repeated}) {
    const name = segment ? this.about.model.segments[segment - 1].name : "embedding";
    element("faults").textContent =
      `Fault in ${memory} found, at segment ${name}: the chip gave no row.`
      + ` Word ${word} was written again${repeated ? ", and the token repeated" : ""}.`;
    this.flipping = false;
    this.enable();
  }

  done({compared, equal, values, stopped, faults}) {
    this.playing = false;
    this.enable();
    const told = this.view.end(stopped);
    // The last frame may not have come yet.
    this.inside.draw();
    const waiting = this.flipping ? "A bit waits for the next token, to be flipped before it." : "";
    const played = `${stopped ? "Stopped" : "Done"}: ${counted(compared, "token")} played.`;
    say([played, told, waiting].filter(Boolean).join(" "));
    Object.assign(document.body.dataset, {compared, equal, values, faults});
  }
}
