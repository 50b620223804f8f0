// What is shown, and what keys and buttons do.
const find = (id) => document.getElementById(id);
let screen = null;
let current = "quality"; // the scale that digits go to

function show(view) {
  for (const id of ["welcome", "rate", "done"]) find(id).hidden = id !== view;
  find("refused").hidden = !isRefused;
  scrollTo(0, 0);
  count();
}

function count() {
  const total = scores().length, given = total - numMissing();
  find("rater").textContent = rater;
  find("count").textContent = listener ? `${given} of ${total} scores` : "";
  find("bar").hidden = !listener;
  find("bar").max = total || 1;
  find("bar").value = given;
}

function go(index) {
  listener.at = Math.min(Math.max(index, 0), screens.length - 1);
  keep();
  screen = screens[listener.at];
  const { set, number, place, clips, scales } = screen, isSet = !place;
  find("rate").dataset.item = screen.item;
  find("where").textContent = `Set ${number} of ${sheet.sets.length} · ${isSet ? "the whole set" : `sound ${place} of ${set.clips.length}`}`;
  find("ask").textContent = isSet ? "These should all sound like" : "This should sound like";
  find("category").textContent = set.category;
  find("clips").replaceChildren(...(isSet ? clips.map(clipButton) : []));
  for (const scale of [...CLIP_SCALES, ...SET_SCALES]) find(scale).hidden = !scales.includes(scale);
  current = scales.find((scale) => !rating(screen.item, scale)) ?? scales[0];
  cue(clips);
  show("rate");
  refresh();
  find("play").focus({ preventScroll: true });
}

function clipButton(clip, index) {
  const entry = document.createElement("li"), button = document.createElement("button");
  button.type = "button";
  button.textContent = index + 1;
  button.setAttribute("aria-label", `Play sound ${index + 1}`);
  button.addEventListener("click", () => jump(index));
  entry.append(button);
  return entry;
}

function refresh() {
  const unheard = screen.clips.filter((clip) => !listener.heard[clip]).length;
  for (const scale of screen.scales) {
    const value = rating(screen.item, scale)?.value;
    find(scale).disabled = unheard > 0;
    find(scale).classList.toggle("current", scale === current);
    for (const step of find(scale).querySelectorAll("input")) step.checked = Number(step.value) === value;
  }
  find("hint").textContent = hint(unheard);
  find("next").textContent = listener.at + 1 === screens.length ? "Finish" : "Next";
  find("previous").disabled = listener.at === 0;
  find("rate").classList.toggle("rated", isRated(screen));
  drawPlayer();
  count();
}

function hint(unheard) {
  if (unheard === 0) return screen.place ? "" : "Play the set once more, or any sound of it.";
  if (screen.place) return "Play the sound, then give your scores.";
  return `${unheard} of the ${screen.clips.length} sounds not heard yet. Play the set, then give your score.`;
}

function drawPlayer() {
  const isPlaying = !audio.paused, what = screen.place ? "the sound" : "the set";
  find("play").classList.toggle("playing", isPlaying);
  find("play").setAttribute("aria-label", `${isPlaying ? "Pause" : "Play"} ${what}`);
  [...find("clips").children].forEach((entry, index) => {
    entry.classList.toggle("now", index === at && isPlaying);
    entry.classList.toggle("heard", Boolean(listener.heard[screen.clips[index]]));
  });
}

function sweep() {
  find("ring").style.strokeDashoffset = 100 - (audio.duration ? (100 * audio.currentTime) / audio.duration : 0);
  if (!audio.paused) requestAnimationFrame(sweep);
}

function score(scale, value) {
  if (find(scale).disabled) return; // the hint says what comes first
  rate(screen.item, scale, value);
  current = scale;
  refresh();
  find(scale).querySelector(`[value="${value}"]`).focus({ preventScroll: true });
}

function turnTo(scale) {
  current = scale;
  refresh();
  (find(scale).querySelector(":checked") ?? find(scale).querySelector("input")).focus({ preventScroll: true });
}

function finish() {
  audio.pause();
  const missing = numMissing(), some = `${missing} missing`;
  find("verdict").textContent = missing ? `${missing} of ${scores().length} scores are missing` : "All scores are given";
  find("advice").textContent = missing
    ? "You can download what there is: the file then says how many are missing."
    : "Thank you. Download the file and send it to whoever gave you this page.";
  find("missing").hidden = !missing;
  find("missing").textContent = "Go to the first missing";
  find("json").textContent = missing ? `Download JSON, ${some}` : "Download JSON";
  find("csv").textContent = missing ? `Download CSV, ${some}` : "Download CSV";
  find("json").classList.toggle("main", !missing);
  find("saved").textContent = "";
  show("done");
  find("verdict").focus({ preventScroll: true });
}

const next = () => (listener.at + 1 < screens.length ? go(listener.at + 1) : finish());
const previous = () => go(listener.at - 1);

const KEYS = {
  " ": () => toggle(),
  n: next, ArrowRight: next, p: previous, ArrowLeft: previous,
  ArrowDown: () => turnTo(screen.scales.at(-1)),
  ArrowUp: () => turnTo(screen.scales[0]),
};

document.addEventListener("keydown", (event) => {
  if (find("rate").hidden || event.ctrlKey || event.altKey || event.metaKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === " " && event.target.closest("button")) return; // the browser presses it
  const act = /^\d$/.test(key) ? () => score(current, Number(key) || 10) : Object.hasOwn(KEYS, key) && KEYS[key];
  if (!act) return;
  event.preventDefault();
  if (!event.repeat) act();
});
document.addEventListener("keyup", (event) => {
  if (event.key === " " && event.target.type === "radio") event.preventDefault(); // or it would be chosen
});

for (const kind of ["play", "pause", "ended", "playing"])
  audio.addEventListener(kind, () => { drawPlayer(); sweep(); });
audio.addEventListener("playing", () => {
  if (listener.heard[queue[at]]) return;
  listener.heard[queue[at]] = true;
  keep();
  refresh();
});

find("play").addEventListener("click", toggle);
find("next").addEventListener("click", next);
find("previous").addEventListener("click", previous);
find("finish").addEventListener("click", finish);
find("back").addEventListener("click", () => go(listener.at));
find("missing").addEventListener("click", () => go(screens.findIndex((one) => !isRated(one))));
find("other").addEventListener("click", () => { leaveSeat(); welcome(); });
find("json").addEventListener("click", () => saved(download("json", "application/json", asJson())));
find("csv").addEventListener("click", () => saved(download("csv", "text/csv", asCsv())));
find("scales").addEventListener("change", (event) => score(event.target.name, Number(event.target.value)));
find("scales").addEventListener("focusin", (event) => {
  if (event.target.name === current) return;
  current = event.target.name;
  refresh();
});
find("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  takeSeat(find("name").value.trim().replace(/\s+/g, " "));
  go(listener.at);
});
// The same listener did something in another tab.
addEventListener("storage", (event) => {
  if (!listener || event.key !== placeOf(rater) || !event.newValue) return;
  hearOf(JSON.parse(event.newValue));
  if (!find("rate").hidden) refresh();
});
addEventListener("beforeunload", (event) => {
  if (isRefused && listener) event.preventDefault();
});

function saved(name) {
  find("saved").textContent = `Saved as ${name}.`;
}

function welcome() {
  find("name").value = "";
  show("welcome");
  find("name").focus({ preventScroll: true });
}

const seated = stored(PLACE);
if (seated) {
  takeSeat(seated);
  go(listener.at);
} else welcome();
