"use strict";

// The worker of a page: opens the session, and passes messages on.
let session = null;

const ORDERS = {
  async open({about, chip, golden, image}) {
    const begin = performance.now();
    const [chipCode, goldenCode, words] = await Promise.all([chip, golden, image].map(inflate));
    const [chipModule, goldenModule] = await Promise.all([chipCode, goldenCode].map((code) => WebAssembly.compile(code)));
    session = new Session({about, chip: chipModule, golden: goldenModule, image: words}, (told) => postMessage(told));
    postMessage({kind: "ready", seconds: (performance.now() - begin) / 1000});
  },
  async play(what) { await session.play(what); },
  stop() { session.stop(); },
  slow({slow, pause}) { Object.assign(session, {slow, pause}); },
  flip() { session.flips++; },
};

onmessage = async ({data: {order, ...what}}) => {
  try {
    await ORDERS[order](what);
  } catch (error) {
    postMessage({kind: "failed", message: String(error.message ?? error)});
  }
};
