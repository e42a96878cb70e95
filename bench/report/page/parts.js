
// Pictures of classes and instances: their own key, and under each prediction what became of its instances.
document.querySelectorAll(".explorer").forEach((root) => {
  const data = JSON.parse(document.getElementById(`${root.dataset.source}-data`).textContent);
  const key = root.querySelector(".key"), tiles = root.querySelector(".tiles"), own = make("p", { class: "parts" });
  key.after(own);
  const told = new Map();
  for (const column of data.columns) {
    for (const shown of Object.values(column.pictures)) {
      (shown.words || []).forEach((words, m) => told.set(shown.answers[m], [words, column]));
    }
  }
  const label = () => {
    own.replaceChildren();
    let column = null;
    for (const tile of tiles.querySelectorAll(".tile")) {
      const overlay = tile.querySelector("img + img"), known = overlay && told.get(overlay.src);
      if (!known) continue;
      column = known[1];
      if (known[0]) tile.querySelector("figcaption").append(make("span", { class: "words" }, known[0]));
    }
    key.classList.toggle("aside", Boolean(column));
    if (!column) return;
    for (const [colour, name] of column.key) {
      if (colour) {
        const square = make("span");
        square.style.background = colour;
        own.append(square);
      }
      own.append(name);
    }
  };
  new MutationObserver(label).observe(tiles, { childList: true });
});
