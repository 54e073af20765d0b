"""The command line: generate, story, train, evaluate, info, export.

Nothing heavy is imported before a command needs it, so that help comes at once.
"""

from t2vlearn.cli import generate, train, weights  # each adds its commands; help lists them in this order
from t2vlearn.cli.base import app, main
