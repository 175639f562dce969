"use strict";

// The worker of a page: opens the session, and passes messages on.
let session = null;

const ORDERS = {
  async open({about, chip, golden, image}) {
    const begin = performance.now();
    const [chipCode, goldenCode, words] = await Promise.all([chip, golden, image].map(inflate));
    const compiled = [chipCode, goldenCode].map((code) => WebAssembly.compile(code));
    const [chipModule, goldenModule] = await Promise.all(compiled);
    const parts = {about, chip: chipModule, golden: goldenModule, image: words};
    session = new Session(parts, (told) => postMessage(told));
    postMessage({kind: "ready", seconds: (performance.now() - begin) / 1000});
  },
  async play(what) { await session.play(what); },
  stop() { session.stop(); },
  slow({slow, pause}) { Object.assign(session, {slow, pause}); },
  flip() { session.flipping = true; },
};

onmessage = async ({data: {order, ...what}}) => {
  try {
    await ORDERS[order](what);
  } catch (error) {
    postMessage({kind: "failed", message: String(error.message ?? error)});
  }
};
