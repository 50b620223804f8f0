// One sound at a time: a queue of clips, played from where it stands until its end.
const audio = new Audio();
let queue = [], at = 0;

function cue(clips) {
  audio.pause();
  queue = clips;
  point(0);
}

function point(index) {
  at = index;
  if (audio.src) URL.revokeObjectURL(audio.src);
  const text = document.getElementById(`sound-${queue[at]}`).textContent;
  audio.src = URL.createObjectURL(new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type: "audio/flac" }));
}

const start = () => audio.play().catch(() => {}); // paused or changed before it began
const toggle = () => (audio.paused ? start() : audio.pause());

function jump(index) {
  point(index);
  start();
}

// The next of the queue, or the first again, at rest.
audio.addEventListener("ended", () => {
  const isLast = at + 1 === queue.length;
  if (queue.length > 1) point(isLast ? 0 : at + 1);
  if (!isLast) start();
});
