// What a listener has said: kept in the browser under the page's id, and written out as JSON or CSV.
const sheet = JSON.parse(document.getElementById("sheet").textContent);
const PLACE = `foleyray-listening-${sheet.page}`;
const CLIP_SCALES = ["quality", "fit"], SET_SCALES = ["diversity"];

let isRefused = false;
let rater = "";
let listener = null; // { at, heard: { item: true }, ratings: { item: { scale: { value, time } } } }
let screens = []; // { item, set, place, clips, scales } in this listener's order
const listeners = new Map(); // all who sat in this tab, should the browser refuse to keep anything

// A place for each listener, so that two listeners in two tabs never write over each other.
const placeOf = (name) => `${PLACE}/${name}`;

function stored(place) {
  try {
    return JSON.parse(localStorage.getItem(place));
  } catch {
    isRefused = true;
    return null;
  }
}

function store(place, value) {
  try {
    localStorage.setItem(place, JSON.stringify(value));
  } catch {
    isRefused = true;
  }
}

const keep = () => store(placeOf(rater), listener);

// Adds what the same listener did in another tab: heard stays heard, the later score stands.
function learn(other) {
  Object.assign(listener.heard, other.heard);
  for (const [item, scales] of Object.entries(other.ratings))
    for (const [scale, score] of Object.entries(scales)) {
      const own = (listener.ratings[item] ??= {});
      if (!own[scale] || own[scale].time < score.time) own[scale] = score;
    }
}

// The other tab may have written before it knew of a score here, and so over it: what it lacks is then written again.
function hearOf(other) {
  learn(other);
  const lacks = Object.entries(listener.ratings).some(([item, scales]) =>
    Object.entries(scales).some(([scale, score]) => other.ratings[item]?.[scale]?.time !== score.time));
  if (lacks || Object.keys(listener.heard).some((item) => !other.heard[item])) keep();
}

// Each listener has an order of their own, the same at every visit: tiredness then falls on no system in particular.
function takeSeat(name) {
  rater = name;
  const known = stored(placeOf(name));
  listener = listeners.get(name) ?? { at: known?.at ?? 0, heard: {}, ratings: {} };
  listeners.set(name, listener);
  if (known) learn(known);
  const draw = dice(`${sheet.page}/${rater}`);
  screens = shuffled(sheet.sets, draw).flatMap((set, at) => {
    const clips = shuffled(set.clips, draw);
    const screen = { set, number: at + 1 };
    const each = clips.map((clip, place) => ({ ...screen, item: clip, place: place + 1, clips: [clip], scales: CLIP_SCALES }));
    return [...each, { ...screen, item: set.id, place: 0, clips, scales: SET_SCALES }];
  });
  store(PLACE, rater);
  keep();
}

function leaveSeat() {
  rater = "";
  listener = null;
  screens = [];
  store(PLACE, rater);
}

// Numbers in [0, 1): the FNV-1a hash of a text drives a 32-bit xorshift (Marsaglia 2003).
function dice(text) {
  let state = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) state = Math.imul(state ^ byte, 0x01000193);
  state ||= 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

function shuffled(list, draw) {
  const mixed = [...list];
  for (let last = mixed.length - 1; last > 0; last--) {
    const other = Math.floor(draw() * (last + 1));
    [mixed[last], mixed[other]] = [mixed[other], mixed[last]];
  }
  return mixed;
}

function rate(item, scale, value) {
  listener.ratings[item] = { ...listener.ratings[item], [scale]: { value, time: new Date().toISOString() } };
  keep();
}

const rating = (item, scale) => listener.ratings[item]?.[scale];
const isRated = (screen) => screen.scales.every((scale) => rating(screen.item, scale));
const scores = () => screens.flatMap(({ item, scales }) => scales.map((scale) => ({ item, scale, ...rating(item, scale) })));
const numMissing = () => scores().filter((score) => !score.value).length;

function asJson() {
  const ratings = scores().filter((score) => score.value);
  return JSON.stringify({ page: sheet.page, rater, missing: numMissing(), ratings }, null, 1) + "\n";
}

// A missing score is a row without value. Names need no quotes: the form allows neither commas nor quotation marks.
function asCsv() {
  const rows = scores().map(({ item, scale, value = "", time = "" }) => [sheet.page, rater, item, scale, value, time]);
  return [["page", "rater", "item", "scale", "value", "time"], ...rows].map((row) => row.join(",") + "\r\n").join("");
}

function download(ending, type, content) {
  const who = rater.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/-$/, "");
  const name = `ratings-${who}${numMissing() ? `-${numMissing()}-missing` : ""}.${ending}`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return name;
}
