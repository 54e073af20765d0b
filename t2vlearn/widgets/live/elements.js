// What all widgets build their page from.

const SVG = "http://www.w3.org/2000/svg";

export const BUTTON =
  "font: inherit; padding: 0.25em 0.7em; color: inherit; background: transparent; border: 1px solid currentColor; border-radius: 0.3em";

/** Whether the reader's system asks for less motion. */
export const quiet = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/**
 * An element of HTML, or of SVG ("svg:rect"). true is an attribute without a value, false none at all. A style is set as a
 * property: a page may forbid (by its content-security policy) styles that are attributes.
 */
export function make(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") node.style.cssText = value;
    else if (value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}
