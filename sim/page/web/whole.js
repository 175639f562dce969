"use strict";

// First of all scripts, and complete whatever comes of the file: tells if others are missing.
addEventListener("DOMContentLoaded", () => {
  if (typeof Page === "undefined")
    (document.getElementById("status") ?? document.body).textContent =
      "This file is damaged, or its end is missing.";
});
