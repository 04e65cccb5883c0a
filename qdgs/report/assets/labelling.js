/** Blind labelling: one image after another, its group and the judge's opinion unseen. */
const CANNOT_TELL = null;

class Labelling {
  constructor(data, sprites) {
    Object.assign(this, { data, sprites });
    this.key = `qdgs-labels-${data.dataset}`;
    this.answers = this.read();
    this.panel = byId("labelling");
    this.file = `labels-${data.run.replaceAll(/[^\w.-]+/g, "-")}.json`;
    byId("label-file").textContent = this.file;
    byId("label-start").textContent = this.answers.length ? `Go on labelling (${this.answers.length} done)` : "Start labelling";
    byId("label-start").addEventListener("click", () => this.start());
    byId("label-back").addEventListener("click", () => this.back());
    byId("label-save").addEventListener("click", () => this.save());
    byId("label-reset").addEventListener("click", () => this.reset());
    this.panel.addEventListener("keydown", (event) => this.press(event));
  }

  read() {
    try {
      const kept = JSON.parse(localStorage.getItem(this.key) ?? "[]");
      return Array.isArray(kept) ? kept.slice(0, this.data.id.length) : [];
    } catch {
      return [];
    }
  }

  keep() {
    try {
      localStorage.setItem(this.key, JSON.stringify(this.answers));
    } catch {
      /* without storage the clicks live as long as the page */
    }
  }

  start() {
    byId("label-start").hidden = true;
    this.panel.hidden = false;
    this.next();
    this.panel.focus();
  }

  next() {
    const done = this.answers.length;
    const { length } = this.data.id;
    this.given = {};
    byId("label-progress").textContent = done < length
      ? `${done} of ${length} offered images labelled${done < 100 ? "; intervals get useful from about 100 on" : ""}`
      : `all ${length} offered images labelled`;
    byId("label-bar").style.width = `${(100 * done) / length}%`;
    byId("label-back").disabled = done === 0;
    byId("label-save").disabled = done === 0;
    const picture = done < length ? [this.sprites.picture(done, `image ${done + 1}, to be labelled`)] : [];
    byId("label-picture").replaceChildren(...picture);
    byId("label-questions").replaceChildren(...(done < length ? this.data.questions.map((question, index) => this.question(question, index)) : []));
  }

  question({ text, answers }, index) {
    const buttons = [...answers, CANNOT_TELL].map((answer, place) => {
      const button = element("button", { type: "button" }, element("span", {}, answer === CANNOT_TELL ? "cannot tell, or none of these" : words(answer)));
      if (place < 9) button.append(element("kbd", {}, String(place + 1)));
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => this.answer(index, answer, button));
      return button;
    });
    return element("fieldset", { className: "question" }, element("legend", {}, text), ...buttons);
  }

  answer(index, answer, button) {
    this.given[index] = answer;
    for (const other of button.parentElement.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
    if (Object.keys(this.given).length < this.data.questions.length) return;
    this.answers.push(this.data.questions.map((_, at) => this.given[at]));
    this.keep();
    this.next();
    this.panel.focus({ preventScroll: true });
  }

  /** A digit answers the first question that is still open. */
  press(event) {
    if (event.key === "Backspace") this.back();
    else {
      const open = this.data.questions.findIndex((_, index) => !(index in this.given));
      const button = byId("label-questions").children[open]?.querySelectorAll("button")[+event.key - 1];
      if (!button) return;
      button.click();
    }
    event.preventDefault();
  }

  back() {
    this.answers.pop();
    this.keep();
    this.next();
  }

  reset() {
    if (!confirm("Throw away all labels given so far?")) return;
    this.answers = [];
    this.keep();
    this.next();
  }

  /** Labels as a file: image → measure → value, null where it cannot be told. */
  save() {
    const labels = this.answers.map((given, place) => {
      const values = {};
      this.data.questions.forEach(({ measures }, index) => {
        const parts = given[index] === CANNOT_TELL ? [] : given[index].split("/");
        measures.forEach((measure, at) => { values[measure] = parts[at] ?? null; });
      });
      return { id: this.data.id[place], values };
    });
    const file = { kind: "qdgs-labels", version: 1, dataset: this.data.dataset, labels };
    const link = element("a", { download: this.file, href: URL.createObjectURL(new Blob([JSON.stringify(file, null, 1)], { type: "application/json" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}
