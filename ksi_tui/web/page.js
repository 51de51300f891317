// What textual-serve's terminal leaves out: its font is there before it measures, keys reach it
// without a click, how the line ended is said, and one that broke is taken up again.
"use strict";

const LEFT = 1000, BROKE = 1006, GOING = 1001;
const AGAIN_MS = 2000;
const TITLE_BYTES = 1000; // it comes alone, and pictures are not searched for it

function say(words, button) {
  document.getElementById("words").textContent = words;
  document.getElementById("again").hidden = !button;
}

async function again() {
  try {
    const page = await fetch(location.href, { cache: "no-store" });
    if (page.ok) {
      location.reload();
      return;
    }
    if (page.status === 403) {
      say("the key in this address counts no more; open the one that ksi-tui web says", false);
      return;
    }
  } catch {
    // nobody is there yet
  }
  setTimeout(again, AGAIN_MS);
}

function ended(code, reason) {
  document.body.classList.add("-closed"); // what has no place on the page takes no focus
  if (code === BROKE || code === GOING) {
    say("the line broke; back as soon as ksi-tui web answers", false);
    setTimeout(again, AGAIN_MS);
  } else {
    say(reason || (code === LEFT ? "detached; the engine goes on" : `ended (${code})`), true);
    document.getElementById("again").focus();
  }
}

// The tab is named as the terminal's window would be: after the verdict.
function titled(data) {
  if (typeof data === "string" || data.byteLength > TITLE_BYTES) return;
  const named = /\x1b\][02];([^\x07\x1b]*)/.exec(new TextDecoder().decode(data));
  if (named) document.title = named[1];
}

const Plain = window.WebSocket;
window.WebSocket = class extends Plain {
  constructor(...given) {
    super(...given);
    this.addEventListener("open", () => {
      document.querySelector(".xterm-helper-textarea").focus();
    });
    this.addEventListener("message", (event) => titled(event.data));
    this.addEventListener("close", (event) => ended(event.code, event.reason));
  }

  send(data) { // the terminal sends whether or not anybody is there
    if (this.readyState === Plain.OPEN) super.send(data);
  }
};

// ctrl+v pastes what the browser's user copied: the terminal would send it on as a key.
window.addEventListener("keydown", (event) => {
  const plain = !event.shiftKey && !event.altKey && !event.metaKey;
  if (event.ctrlKey && plain && event.key === "v") event.stopImmediatePropagation();
}, true);

const begin = window.onload;
window.onload = async (event) => {
  document.getElementById("again").addEventListener("click", () => location.reload());
  const faces = ["16px", "bold 16px", "italic 16px"].map((face) => `${face} "Roboto Mono"`);
  await Promise.allSettled(faces.map((face) => document.fonts.load(face)));
  if (document.createElement("canvas").getContext("webgl2") === null) {
    say("this browser has no WebGL 2, which the terminal needs", false);
    return;
  }
  begin(event);
};
