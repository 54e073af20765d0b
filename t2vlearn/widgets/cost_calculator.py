"""A calculator of what training and generating cost, for any model and any machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import traitlets

from t2vlearn.costs import PUBLISHED, Plan
from t2vlearn.widgets.base import Widget, script


class CostCalculator(Widget):
    """FLOPs, time, energy and money of training and of one clip: a dial for each field of `Plan`, and presets.

    Args:
        plans: {name: preset}, shown before those of `PUBLISHED`; the first is chosen.
    """

    _esm = script("cost_calculator.js")
    plans: traitlets.Dict = traitlets.Dict().tag(sync=True, static=True)

    def __init__(self, plans: Mapping[str, Plan] | None = None):
        super().__init__(plans={name: asdict(plan) for name, plan in {**(plans or {}), **PUBLISHED}.items()})
