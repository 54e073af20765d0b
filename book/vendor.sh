#!/usr/bin/env bash
# Fetches what the pages need from npm, so that they need no other host: pinned, and checked against book/vendor.sha256.
# The files are in the repository: run this only to change a version (then renew the sums: sha256sum _vendor/*/* > vendor.sha256).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# MathJax draws formulas as SVG, from one file without fonts.
npm pack --silent --pack-destination "$work" mathjax@3.2.2 >/dev/null
tar -xzf "$work"/mathjax-3.2.2.tgz -C "$work"
install -D -m 644 -t _vendor/mathjax "$work"/package/es5/tex-svg.js "$work"/package/LICENSE
rm -r "$work"/package

# onnxruntime-web runs the model in the page, on one thread. (Its license, MIT, is named in package.json.)
npm pack --silent --pack-destination "$work" onnxruntime-web@1.30.0 >/dev/null
tar -xzf "$work"/onnxruntime-web-1.30.0.tgz -C "$work"
install -D -m 644 -t _vendor/ort "$work"/package/package.json \
  "$work"/package/dist/{ort.wasm.min.mjs,ort-wasm-simd-threaded.mjs,ort-wasm-simd-threaded.wasm}

sha256sum --check --quiet vendor.sha256
