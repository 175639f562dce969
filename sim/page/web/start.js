"use strict";

inflate(packed("manifest")).then((bytes) => new Page(JSON.parse(new TextDecoder().decode(bytes))));
