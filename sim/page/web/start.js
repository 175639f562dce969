"use strict";

async function start() {
  const about = JSON.parse(new TextDecoder().decode(await inflate(packed("manifest"))));
  return new Page(about);
}

start().catch((error) => sayFailure(error.message));
