"use strict";

// What a reader sees and does. Text goes to the page as text alone, never as markup.
const MOST = {digits: 200, characters: 2000, tokens: 2000};

const element = (id) => document.getElementById(id);
const packed = (id) => Uint8Array.from(atob(element(id).textContent), (c) => c.charCodeAt(0));

class Page {
  constructor(about) {
    this.about = about;
    this.tokenizer = openTokenizer(about.tokenizer);
    this.view = viewOf(about.tokenizer.kind, this.tokenizer);
    this.inside = new Inside(about);
    this.playing = false;
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
    element("stop").addEventListener("click", () => this.worker.postMessage({order: "stop"}));
    element("flip").addEventListener("click", () => {
      this.worker.postMessage({order: "flip"});
      if (!this.playing) this.say("A bit of a weight will be flipped before the next token.");
    });
    for (const id of ["slow", "pause"]) element(id).addEventListener("input", () => this.setSlow());
    this.enable();
  }

  setSlow() {
    const slow = element("slow").checked;
    element("pace").hidden = element("lanes-part").hidden = !slow;
    this.worker.postMessage({order: "slow", slow, pause: Number(element("pause").value)});
  }

  enable() {
    element("play").disabled = !this.opened || this.playing;
    element("stop").disabled = !this.playing;
  }

  say(text, wrong = false) {
    element("status").textContent = text;
    element("status").className = wrong ? "fail" : "";
  }

  ready({seconds}) {
    this.opened = true;
    // Milliseconds since the page was asked for.
    document.body.dataset.ready = Math.round(performance.now());
    this.say(`The chip is loaded (${seconds.toFixed(1)} s).`);
    this.enable();
    this.setSlow();
  }

  play() {
    let asked;
    try {
      asked = this.view.asked(this.tokenizer);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      this.say(`Not played: ${error.message}.`, true);
      return;
    }
    this.playing = true;
    this.enable();
    this.view.begin(asked);
    this.inside.begin();
    this.say("The chip plays.");
    this.worker.postMessage({order: "play", ...asked.request});
  }

  // What comes from the worker.
  gotRow(row) {
    this.view.add(row);
    this.inside.add(row);
  }

  failed({message}) {
    this.playing = false;
    this.enable();
    this.say(`It does not work here: ${message}`, true);
  }

  flipped({word, bit}) { this.say(`Bit ${bit} of word ${word} of the weights is flipped.`); }

  fault({memory, segment, word}) {
    const name = segment ? this.about.model.segments[segment - 1].name : "embedding";
    element("faults").textContent =
      `Fault in ${memory} found, at segment ${name}: no row was given.`
      + ` Word ${word} was written again, and the pass repeated.`;
  }

  done({compared, equal, seconds, stopped, faults}) {
    this.playing = false;
    this.enable();
    this.view.end();
    // The last frame may not have come yet.
    this.inside.draw();
    const rate = compared / seconds;
    this.say(`${stopped ? "Stopped" : "Done"}: ${compared} tokens, ${rate.toFixed(0)} per second.`);
    document.body.dataset.compared = compared;
    document.body.dataset.equal = equal;
    document.body.dataset.faults = faults;
  }
}
