/** The images on which guide and judge differ: first what the judge takes for another group, surest of the guide on top. */
const PAGE = 24;

class Opinions {
  constructor(data, sprites) {
    Object.assign(this, { data, sprites });
    this.pair = null;
    this.kind = document.querySelector("[data-crossed]:not([hidden])").dataset.crossed;
    byId("opinion-kind")?.addEventListener("change", (event) => this.turn(event.target.value));
    for (const button of document.querySelectorAll(".crossed button")) {
      button.addEventListener("click", () => this.choose(button));
    }
    byId("gallery-more").addEventListener("click", () => { this.shown += PAGE; this.draw(); });
    byId("gallery-all").addEventListener("click", () => this.choose(null));
    this.choose(null);
  }

  turn(kind) {
    this.kind = kind;
    for (const table of document.querySelectorAll("[data-crossed]")) table.hidden = table.dataset.crossed !== kind;
    this.choose(null);
  }

  choose(button) {
    for (const other of document.querySelectorAll(".crossed button")) other.setAttribute("aria-pressed", String(other === button));
    this.pair = button && [+button.dataset.asked, +button.dataset.read];
    this.total = button ? +button.textContent.replaceAll(",", "") : null;
    this.shown = PAGE / 2;
    this.draw();
  }

  matches() {
    const { askedGroup, readGroup, objective } = this.data[this.kind];
    const found = [...askedGroup.keys()].filter((row) => (this.pair
      ? askedGroup[row] === this.pair[0] && readGroup[row] === this.pair[1]
      : askedGroup[row] >= 0 && askedGroup[row] !== readGroup[row]));
    const unread = (row) => +(readGroup[row] < 0);
    return found.sort((one, other) => unread(one) - unread(other) || objective[other] - objective[one]);
  }

  draw() {
    const found = this.matches();
    const { names } = this.data;
    const title = this.pair
      ? `Made as ${words(names[this.pair[0]])}, ${this.pair[1] < 0 ? "not readable" : `read as ${words(names[this.pair[1]])}`}`
      : "All disagreements";
    const of = this.total !== null && this.total > found.length ? `${found.length} of ${this.total.toLocaleString("en")} are on this page` : `${found.length}`;
    byId("gallery-title").textContent = `${title} (${of})`;
    byId("gallery-all").hidden = !this.pair;
    byId("gallery-more").hidden = found.length <= this.shown;
    byId("gallery").replaceChildren(...found.slice(0, this.shown).map((row) => this.card(row)));
  }

  /** What the judge reads where it cannot tell everything. */
  partly(row) {
    const values = this.data.space.grouped.flatMap(({ values: known, audited }, at) => (audited ? [known[this.data[this.kind].read[at][row]]] : []));
    return values.some(Boolean) ? values.map((value) => value ?? "?").join(" · ") : "cannot tell";
  }

  card(row) {
    const { askedGroup, readGroup, objective } = this.data[this.kind];
    const { names } = this.data;
    const made = words(names[askedGroup[row]]);
    const read = readGroup[row] < 0 ? this.partly(row) : words(names[readGroup[row]]);
    const picture = this.sprites[this.kind]?.picture(row, `made as ${made}; judge: ${read}`);
    return element("li", {}, ...(picture ? [picture] : []),
      element("p", {}, "made as ", element("b", {}, made)),
      element("p", {}, "judge: ", element("b", {}, read)),
      element("p", {}, `objective ${number(objective[row])}`));
  }
}
