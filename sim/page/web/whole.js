"use strict";

// First of all scripts, and complete whatever comes of the file: tells if its end is missing.
addEventListener("DOMContentLoaded", () => {
  if (typeof Page === "undefined")
    (document.getElementById("status") ?? document.body).textContent =
      "This file is not whole: its end is missing.";
});
