// Turns every spectrogram into its player; without scripts the browser's own controls stay in their place.
document.documentElement.classList.add("js");
let current = null;
for (const clip of document.querySelectorAll(".clip")) {
  const audio = clip.querySelector("audio"), button = clip.querySelector(".play"), head = clip.querySelector(".head");
  const sweep = () => {
    if (audio.duration) head.style.left = `${(100 * audio.currentTime) / audio.duration}%`;
    if (!audio.paused) requestAnimationFrame(sweep);
  };
  button.addEventListener("click", () => {
    if (!audio.paused) return audio.pause();
    if (current && current !== audio) current.pause();
    current = audio;
    audio.currentTime = 0;
    audio.play().catch(() => {}); // paused again before it began
  });
  audio.addEventListener("play", () => { clip.classList.add("playing"); button.setAttribute("aria-pressed", "true"); sweep(); });
  for (const end of ["pause", "ended"])
    audio.addEventListener(end, () => { clip.classList.remove("playing"); button.setAttribute("aria-pressed", "false"); });
}
