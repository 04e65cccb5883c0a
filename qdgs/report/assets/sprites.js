"use strict";

/** Elements by id and by tag, text never parsed as markup. */
const byId = (id) => document.getElementById(id);
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const words = (group) => group.replaceAll("/", " · ");
const number = (value) => (Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(3))).replace("-", "−");

/** Pictures packed into sheets; a sheet is decoded when its first picture is wanted. */
class Sprites {
  constructor(name, layout) {
    this.name = name;
    this.layout = layout;
    this.ready = new Map();
    this.loading = new Map();
  }

  sheetOf(picture) {
    return Math.floor(picture / this.layout.columns ** 2);
  }

  load(sheet) {
    if (!this.loading.has(sheet)) {
      const image = new Image();
      image.src = `data:image/webp;base64,${byId(`sheet-${this.name}-${sheet}`).textContent}`;
      this.loading.set(sheet, image.decode().then(() => this.ready.set(sheet, image)));
    }
    return this.loading.get(sheet);
  }

  loadAll() {
    return Promise.all(Array.from({ length: this.layout.sheets }, (_, sheet) => this.load(sheet)));
  }

  /** Draw a picture whose sheet is decoded; tell whether it was. */
  draw(context, picture, x, y, width, height) {
    const image = this.ready.get(this.sheetOf(picture));
    if (!image) return false;
    const { tile, columns } = this.layout;
    const place = picture % columns ** 2;
    const left = (place % columns) * tile;
    const top = Math.floor(place / columns) * tile;
    context.drawImage(image, left, top, tile, tile, x, y, width, height);
    return true;
  }

  /** A canvas that shows one picture, with an alternative text. */
  picture(index, text) {
    const { tile } = this.layout;
    const canvas = element("canvas", { width: 2 * tile, height: 2 * tile });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", text);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    this.load(this.sheetOf(index)).then(() => this.draw(context, index, 0, 0, canvas.width, canvas.height));
    return canvas;
  }
}
