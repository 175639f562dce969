"use strict";

const DAMAGED = "this file is damaged, a part of it cannot be unpacked";

// The page carries its parts compressed by zlib, which ends with a checksum.
async function inflate(packed) {
  if (typeof DecompressionStream === "undefined")
    throw new Error("this browser is too old, it has no DecompressionStream");
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  try {
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new Error(DAMAGED);
  }
}
