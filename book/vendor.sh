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

sha256sum --check --quiet vendor.sha256
