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
  // A notebook takes letters and arrows from what has the focus, unless that element itself says not to.
  if (/^(a|button|input|select|summary)$/.test(tag) || "tabindex" in attributes) node.setAttribute("data-lm-suppress-shortcuts", "");
  node.append(...children);
  return node;
}

/** The language of a text of this book, for an element's `lang`. */
export const tongue = (text) => (/\p{Script=Han}/u.test(text) ? "zh" : "en");
